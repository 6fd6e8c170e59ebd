//! Any schema of a caller or an author is refused, or arguments and answers are held against it, soon.

use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{fuzz, words};
use crate::manifests::one_agent;
use crate::model::{END, EVENTS, Model, token};
use crate::pod::{Pod, slow};

const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"type\":\"object\"",
    "\"properties\":{\"a\":",
    "\"allOf\":[",
    "\"anyOf\":[",
    "\"not\":",
    "\"$ref\":\"#\"",
    "\"$ref\":\"#/$defs/a\"",
    "\"$defs\":{\"a\":",
    "\"items\":",
    "\"pattern\":\"(a+)+$\"",
    "\"enum\":[1]",
    "\"const\":1",
    "\"if\":",
    "\"then\":",
    "\"required\":[\"a\"]",
    "\"uniqueItems\":true",
    "\"$id\":\"x\"",
    "\"$anchor\":\"y\"",
    "\"maximum\":1e308",
    "true",
    "false",
    "{}",
    "1",
];

#[test]
fn schemas() {
    let answer = "{\"a\":[1,{\"b\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaa!\"},null],\"city\":\"x\"}";
    let model = Model::start(move |_, out| out.write_all(format!("{EVENTS}{}{END}", token(answer)).as_bytes()));
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    fuzz("schemas", words(WORDS, 24), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        // What is no JSON is a case of `bodies`.
        let schema = if serde_json::from_slice::<Value>(bytes).is_ok() { &text } else { "{\"$ref\":\"#/$defs/none\"}" };
        let asked = "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]";
        let bodies = [
            format!(
                "{asked},\"tools\":[{{\"type\":\"function\",\"function\":{{\"name\":\"t\",\"parameters\":{schema}}}}}]}}"
            ),
            format!(
                "{asked},\"response_format\":{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"n\",\"schema\":{schema}}}}}}}"
            ),
        ];
        for body in bodies {
            let begun = Instant::now();
            let answer = pod.send("/v1/chat/completions", &body);
            if !answer.is_documented() || begun.elapsed() > slow(Duration::from_secs(2)) {
                return Err(format!("{answer:?} after {:?}: {body}", begun.elapsed()));
            }
        }
        Ok(())
    });
    pod.survives();
}
