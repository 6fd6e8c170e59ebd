//! Fuzzing of whatever strangers write: templates, patterns, schemas, bodies, model streams, and texts for the redactor.
//!
//! Each target first replays its corpus (`corpus/<target>`), then tries what proptest makes of it: mutated bytes, and what a
//! small grammar puts together. The same cases each time; `PROPTEST_CASES` asks for more. What was found once is a corpus file.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

mod bodies;
mod patterns;
mod schemas;
mod streams;
mod templates;
mod texts;

/// The corpus of a target, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/corpus").join(target);
    let read =
        |entry: fs::DirEntry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap());
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect();
    entries.sort();
    assert!(entries.len() >= 10, "the corpus of {target} is here");
    entries
}

/// What is tried, shown as a text.
#[derive(Clone)]
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Replays the corpus, then what is made of it and of the grammar.
fn fuzz(target: &str, grammar: impl Strategy<Value = String> + 'static, check: impl Fn(&[u8]) -> Result<(), String>) {
    fuzz_some(target, 1, grammar, check);
}

/// The same for a target whose cases cost so many times as much.
fn fuzz_some(
    target: &str,
    cost: u32,
    grammar: impl Strategy<Value = String> + 'static,
    check: impl Fn(&[u8]) -> Result<(), String>,
) {
    let begun = Instant::now();
    let corpus = corpus(target);
    for (name, bytes) in &corpus {
        check(bytes).unwrap_or_else(|why| panic!("corpus/{target}/{name}: {why}"));
    }
    let entries: Vec<_> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let files = entries.len();
    let inputs = prop_oneof![2 => mutated(entries), 1 => grammar.prop_map(String::into_bytes)].prop_map(Input);
    // A pod that has ended stays so: there is nothing to shrink with.
    let settings =
        Config { failure_persistence: None, rng_seed: RngSeed::Fixed(9), max_shrink_iters: 0, ..Config::default() };
    let cases = settings.cases.div_ceil(cost);
    let settings = Config { cases, ..settings };
    let tried = TestRunner::new(settings).run(&inputs, |Input(bytes)| check(&bytes).map_err(TestCaseError::fail));
    if let Err(error) = tried {
        panic!("{error}");
    }
    println!("{target}: {files} files, {cases} cases, {:?}", begun.elapsed());
}

/// An entry with a few of its bytes changed, removed, repeated, or taken from another.
fn mutated(entries: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = (0..5_u8, any::<Index>(), any::<Index>(), any::<u8>());
    let picked = (any::<Index>(), any::<Index>(), prop::collection::vec(change, 1..6));
    picked.prop_map(move |(first, second, changes)| {
        let (mut bytes, other) = (first.get(&entries).clone(), second.get(&entries));
        for (kind, from, to, byte) in changes {
            if bytes.is_empty() {
                bytes.push(byte);
            }
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let (from, to) = (from.min(to), from.max(to));
            match kind {
                0 => bytes[from] = byte,
                1 => drop(bytes.drain(from..to)),
                2 => {
                    let piece = bytes[from..to.min(from + 64)].repeat(1 + usize::from(byte) / 8);
                    drop(bytes.splice(from..from, piece));
                }
                3 => {
                    let end = other.len().min(from + 256);
                    drop(bytes.splice(from..from, other.get(from..end).unwrap_or_default().iter().copied()));
                }
                _ => bytes.truncate(to),
            }
        }
        bytes
    })
}

/// Words in any order.
fn words(of: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(of), 0..most).prop_map(|words| words.concat())
}
