//! Any text is redacted alike in every chunking, and only once.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{fuzz, words};
use crate::manifests::{PII, one_agent};
use crate::model::{END, EVENTS, Model, token};
use crate::pod::{Pod, slow};

const WORDS: &[&str] = &[
    "1",
    "12",
    "078-05-1120",
    "4111 1111 1111 1111",
    "DE89 3704 0044 0532 0130 00",
    "2001:db8::1",
    "127.0.0.1",
    "ada@example.com",
    "+49 30 1234567",
    "555-123-4567",
    "call ",
    "ssn ",
    " ",
    "-",
    ".",
    ":",
    "(",
    ")",
    "@",
    "\\",
    "\\u0040",
    "\u{200b}",
    "\u{ff11}",
    "e\u{301}",
    "\u{1f600}",
    "\n",
    "word",
    "_",
];

/// What the model server was last asked by the user.
fn seen(model: &Model) -> String {
    let asked = model.asked();
    let messages = asked.last().unwrap()["messages"].as_array().cloned().unwrap_or_default();
    messages.last().map(|message| message["content"].as_str().unwrap_or_default().to_owned()).unwrap_or_default()
}

/// The text with a space at least every hundred characters: where more than 256 characters of values touch is a known limit.
fn broken(text: &str) -> String {
    let mut run = 0;
    let spaced = text.chars().flat_map(|c| {
        run = if c.is_whitespace() || run == 100 { 0 } else { run + 1 };
        [(run == 100).then_some(' '), Some(c)]
    });
    spaced.flatten().collect()
}

#[test]
fn texts() {
    let unscreened = std::sync::Arc::new(std::sync::Mutex::new((String::new(), 1_usize)));
    let said = std::sync::Arc::clone(&unscreened);
    let model = Model::start(move |_, out| {
        let (text, cut) = said.lock().unwrap().clone();
        write!(out, "{EVENTS}")?;
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(cut) {
            out.write_all(token(&piece.iter().collect::<String>()).as_bytes())?;
        }
        out.write_all(END.as_bytes())
    });
    let pod = Pod::serve(&one_agent(&model.url(), PII));
    fuzz("texts", words(WORDS, 40), |bytes| {
        let text: String = String::from_utf8_lossy(bytes).chars().take(4_000).collect();
        let text = broken(&text);
        if text.trim().is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let mut answers = Vec::new();
        for cut in [4_000, 3] {
            *unscreened.lock().unwrap() = (text.clone(), cut);
            let answer = pod.run("a", &json!({"query": text}));
            if answer.status != 200 {
                return Err(format!("{answer:?}: {text}"));
            }
            answers.push(answer.json()["answer"].as_str().unwrap_or_default().to_owned());
        }
        let question = seen(&model);
        if answers[0] != answers[1] {
            return Err(format!("in one piece {:?}, in threes {:?}, of {text:?}", answers[0], answers[1]));
        }
        if !question.trim().is_empty() {
            pod.run("a", &json!({"query": question}));
            let again = seen(&model);
            if again != question {
                return Err(format!("{question:?} becomes {again:?}, of {text:?}"));
            }
        }
        if begun.elapsed() > slow(Duration::from_secs(3)) {
            return Err(format!("{:?} for {text:?}", begun.elapsed()));
        }
        Ok(())
    });
    pod.survives();
}
