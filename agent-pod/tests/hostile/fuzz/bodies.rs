//! Any bytes at any door get a documented answer.

use std::time::{Duration, Instant};

use super::{fuzz, words};
use crate::client::exchange;
use crate::client::post;
use crate::manifests::{MEMORY, PII, TOOLS, one_agent};
use crate::model::Model;
use crate::pod::{Pod, slow};

const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"query\":\"x\"",
    "\"sessionId\":\"s\"",
    "\"context\":{\"a\":1}",
    "\"images\":[]",
    "\"stream\":true",
    "\"handoff\":{",
    "\"model\":\"a\"",
    "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]",
    "\"agent\":\"a\"",
    "\"tool\":\"calculator\"",
    "\"arguments\":{\"expression\":\"1+1\"}",
    "\"tools\":[",
    "\"stop\":[\"a\"]",
    "\"max_tokens\":1",
    "null",
    "1e999",
    "-0",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "\u{feff}",
    "\n",
];

#[test]
fn bodies() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), &format!("{TOOLS}{MEMORY}{PII}")));
    fuzz("bodies", words(WORDS, 16), |bytes| {
        for path in ["/v1/agents/a/run", "/v1/chat/completions", "/v1/tools/execute"] {
            let begun = Instant::now();
            let answer = exchange(pod.api, &post(path, "X-Request-Timeout-Ms: 2000\r\n", bytes));
            if !answer.is_documented() || begun.elapsed() > slow(Duration::from_secs(3)) {
                return Err(format!(
                    "{path}: {answer:?} after {:?}: {}",
                    begun.elapsed(),
                    String::from_utf8_lossy(bytes)
                ));
            }
        }
        Ok(())
    });
    pod.survives();
}
