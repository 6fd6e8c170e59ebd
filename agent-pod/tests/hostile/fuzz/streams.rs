//! Any bytes of a model server, however they are cut, end the run as the same bytes at once do.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{fuzz, words};
use crate::manifests::{TOOLS, agent, one_agent, provider};
use crate::model::{EVENTS, JSON, Model, hello};
use crate::pod::{Pod, slow};

const WORDS: &[&str] = &[
    "data: ",
    "\n",
    "\n\n",
    "\r\n",
    ": comment\n",
    "event: x\n",
    "id: 1\n",
    "{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}",
    "[DONE]",
    "{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}",
    "{\"error\":{\"message\":\"no\"}}",
    "{\"choices\":[]}",
    "null",
    "{\"message\":{\"content\":\"x\"},\"done\":false}",
    "{\"done\":true}",
    "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"t\",\"arguments\":\"{}\"}}]}}]}",
    "é",
    "\u{feff}",
];

#[test]
fn streams() {
    let said: Arc<Mutex<(Vec<u8>, usize)>> = Arc::default();
    let saying = Arc::clone(&said);
    let model = Model::start(move |request, out| {
        let asked = request.to_string();
        if asked.contains("well") && asked.contains("You are o") {
            return write!(out, "{JSON}{}", json!({"message": {"content": "hello"}, "done": true}));
        } else if asked.contains("well") {
            return hello(out);
        }
        let (bytes, cut) = saying.lock().unwrap().clone();
        let head = if bytes.starts_with(b"{") { JSON } else { EVENTS };
        write!(out, "{head}")?;
        out.set_nodelay(true)?;
        bytes.chunks(cut).try_for_each(|piece| out.write_all(piece))
    });
    // Failures must not set the provider aside: a success comes between them.
    let more = "  circuitBreaker: {failureThreshold: 100}\n  retry: {maxAttempts: 1}\n---\n";
    let other = provider(&model.base())
        .replace("name: p}", "name: o}")
        .replace("openai_compat", "ollama")
        .replace("---\n", more);
    let both = one_agent(&model.url(), TOOLS).replacen("---\n", more, 1) + &other;
    let pod = Pod::serve(&(both + &agent("o", "You are o.", TOOLS).replace("name: p}", "name: o}")));
    fuzz("streams", words(WORDS, 16), |bytes| {
        for name in ["a", "o"] {
            let mut first = None;
            for cut in [usize::MAX, 7] {
                *said.lock().unwrap() = (bytes.to_vec(), cut.min(bytes.len().max(1)));
                let begun = Instant::now();
                let answer = pod.run(name, &json!({"query": "x"}));
                if !answer.is_documented() || begun.elapsed() > slow(Duration::from_secs(5)) {
                    return Err(format!("{answer:?} after {:?}: {}", begun.elapsed(), String::from_utf8_lossy(bytes)));
                }
                let told = (answer.status, answer.code(), answer.json()["answer"].clone());
                let before = first.get_or_insert_with(|| told.clone());
                if *before != told {
                    return Err(format!("{before:?} at once, {told:?} in pieces: {}", String::from_utf8_lossy(bytes)));
                }
            }
            pod.run(name, &json!({"query": "Are you well?"}));
        }
        Ok(())
    });
    pod.survives();
}
