//! Any pattern of an author compiles or is refused, soon, with its path.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{fuzz_some, words};
use crate::manifests::one_agent;
use crate::pod::{program, slow};

const WORDS: &[&str] = &[
    "a",
    "\\w",
    "\\d",
    "\\p{L}",
    ".",
    "[a-z]",
    "[^é]",
    "(",
    ")",
    "(?:",
    "(?i)",
    "|",
    "*",
    "+",
    "?",
    "{1,256}",
    "{0,16}",
    "{2,}",
    "^",
    "$",
    "\\b",
    "\\x{10FFFF}",
    "[[:alpha:]&&[^a]]",
    "secret",
    "(?x)",
    "\\1",
    "(?=a)",
];

#[test]
fn patterns() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.yaml");
    fuzz_some("patterns", 4, words(WORDS, 24), |bytes| {
        let pattern = serde_json::to_string(&String::from_utf8_lossy(bytes)).unwrap();
        let rules = format!("  guardrails: {{input: [{{type: content_filter, patterns: [{pattern}]}}]}}\n");
        fs::write(&file, one_agent("http://127.0.0.1:9/v1", &rules)).unwrap();
        let begun = Instant::now();
        let checked = Command::new(program()).arg("validate").arg(&file).output().unwrap();
        let told = String::from_utf8_lossy(&checked.stderr).into_owned() + &String::from_utf8_lossy(&checked.stdout);
        match checked.status.code() {
            Some(0) => {}
            Some(1) if told.contains("guardrails") => {}
            other => return Err(format!("{other:?} of {pattern}: {told}")),
        }
        if begun.elapsed() > slow(Duration::from_secs(2)) {
            return Err(format!("{pattern} took {:?}", begun.elapsed()));
        }
        Ok(())
    });
}
