//! What operators meet: signals, files that are being rewritten, logs that nobody reads.

use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{connect, post, read_all};
use crate::frames::handshake;
use crate::manifests::{agent, one_agent};
use crate::model::{EVENTS, Gate, Model, hello, token};
use crate::pod::{Pod, slow, until};

/// A server that stops in the midst of an answer to `slow` until the gate opens.
fn halting() -> (Gate, Model) {
    let gate = Gate::default();
    let behind = gate.clone();
    let model = Model::start(move |request, out| {
        if request.to_string().contains("slow") {
            write!(out, "{EVENTS}{}", token("begun"))?;
            behind.pass();
            return Ok(());
        }
        hello(out)
    });
    (gate, model)
}

#[test]
fn whoever_outlives_the_drain_is_told_so() {
    let (_gate, model) = halting();
    let mut pod = Pod::serve(&one_agent(&model.url(), "  runtime: {drainTimeout: 500ms}\n"));
    let ask = |body: Value| {
        let mut stream = connect(pod.api);
        stream.write_all(&post("/v1/agents/a/run", "", body.to_string().as_bytes())).unwrap();
        stream
    };
    let mut whole = ask(json!({"query": "slow"}));
    let mut events = ask(json!({"query": "slow", "stream": true}));
    let mut socket = handshake(&pod, "a");
    socket.send(tokio_tungstenite::tungstenite::Message::text("{\"query\":\"slow\"}")).unwrap();
    until("three runs", || pod.state()["inFlight"] == 3);
    pod.signal("TERM");
    let told = scope(|threads| {
        let whole = threads.spawn(|| String::from_utf8_lossy(&read_all(&mut whole)).into_owned());
        let events = threads.spawn(|| String::from_utf8_lossy(&read_all(&mut events)).into_owned());
        let mut frames = String::new();
        while let Ok(message) = socket.read() {
            frames.push_str(&format!("{message:?}\n"));
        }
        (whole.join().unwrap(), events.join().unwrap(), frames)
    });
    assert!(told.0.starts_with("HTTP/1.1 503") && told.0.contains("\"draining\""), "{}", told.0);
    assert!(told.1.contains("event: error") && told.1.contains("\"draining\""), "{}", told.1);
    assert!(told.2.contains("1012") || told.2.contains("Restart"), "{}", told.2);
    assert_eq!(pod.ended(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (_gate, model) = halting();
    let mut pod = Pod::serve(&one_agent(&model.url(), "  runtime: {drainTimeout: 50m}\n"));
    let mut stream = connect(pod.api);
    stream.write_all(&post("/v1/agents/a/run", "", b"{\"query\":\"slow\"}")).unwrap();
    until("a run", || pod.state()["inFlight"] == 1);
    pod.signal("INT");
    until("the drain", || pod.state()["draining"] == true);
    let begun = Instant::now();
    pod.signal("INT");
    pod.ended();
    assert!(begun.elapsed() < slow(Duration::from_secs(2)), "{:?}", begun.elapsed());
}

#[test]
fn signals_are_heard_while_all_are_busy() {
    let model = Model::polite();
    let rules = "  guardrails: {input: [{type: pii_detection}]}\n  runtime: {drainTimeout: 1s}\n";
    let mut pod = Pod::serve(&one_agent(&model.url(), rules));
    let text = json!({"query": "1 ".repeat(400_000)}).to_string();
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = connect(pod.api);
            drop(stream.write_all(&post("/v1/agents/a/run", "", text.as_bytes())));
            stream
        })
        .collect();
    let begun = Instant::now();
    pod.signal("TERM");
    pod.ended();
    assert!(begun.elapsed() < slow(Duration::from_secs(4)), "{:?}", begun.elapsed());
    drop(streams);
}

#[test]
fn a_file_that_is_truncated_while_it_is_rewritten_keeps_its_agent() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    let file = pod.folder.path().join("b.yaml");
    fs::write(&file, agent("b", "You are b.", "")).unwrap();
    until("agent b", || pod.run("b", &json!({"query": "x"})).status == 200);
    let text = fs::read(&file).unwrap();
    for _ in 0..20 {
        fs::write(&file, "").unwrap();
        sleep(Duration::from_millis(30));
        assert_eq!(pod.run("b", &json!({"query": "x"})).status, 200, "while its file is empty");
        fs::write(&file, &text[..text.len() / 2]).unwrap();
        sleep(Duration::from_millis(30));
        assert_eq!(pod.run("b", &json!({"query": "x"})).status, 200, "while its file is half there");
        fs::write(&file, &text).unwrap();
    }
    pod.survives();
}

#[test]
fn a_folder_with_too_many_files_says_so() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    for i in 0..2_000 {
        fs::write(pod.folder.path().join(format!("z{i}.yaml")), "").unwrap();
    }
    until("a word about it", || {
        let state = pod.state();
        state["rejected"].is_object() || state.to_string().contains("files")
    });
    pod.survives();
}

#[test]
fn logs_that_nobody_reads_hold_up_nobody() {
    let model = Model::polite();
    let pod = Pod::serve_unread(&one_agent(&model.url(), ""));
    let begun = Instant::now();
    for _ in 0..400 {
        let answer = pod.run("a", &json!({"query": "x"}));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert!(begun.elapsed() < slow(Duration::from_secs(10)), "{:?}", begun.elapsed());
    pod.survives();
}

#[test]
fn a_store_whose_file_is_deleted_is_reported() {
    let model = Model::polite();
    let data = tempfile::tempdir().unwrap();
    let manifests = one_agent(&model.url(), "  memory: {conversational: {backend: sqlite}}\n");
    let pod = Pod::serve_with(&manifests, &["--data-dir", data.path().to_str().unwrap()]);
    let ask = || pod.run("a", &json!({"query": "x", "sessionId": "s"}));
    assert_eq!(ask().json()["degraded"], json!([]));
    for entry in fs::read_dir(data.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    let answer = ask();
    let kept = data.path().join("memory.db").exists();
    assert!(kept || answer.json()["degraded"] == json!(["memory"]), "the turn is lost, and nobody says so: {answer:?}");
    pod.survives();
}

#[test]
fn addresses_behind_numbers_are_redacted() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), "  guardrails: {input: [{type: pii_detection}]}\n"));
    for text in ["200 2001:db8::8a2e:370:7334", "at 10 2001:db8::1 it was", "7 1080:0:0:0:8:800:200c:417a"] {
        assert_eq!(pod.run("a", &json!({"query": text})).status, 200);
        let told = model.asked().last().unwrap().to_string();
        assert!(told.contains("[REDACTED_IP_ADDRESS]"), "{text}: {told}");
    }
    pod.survives();
}

#[test]
fn a_key_that_is_rotated_fails_no_run() {
    let key = Arc::new(Mutex::new("key-0".to_owned()));
    let model = Model::keyed(&key);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: KEY}\n";
    let manifests =
        one_agent(&model.url(), "").replacen("---\n", "  auth: {secretKeyRef: {name: s, key: k}}\n---\n", 1);
    let pod = Pod::serve(&(manifests + &secret.replace("KEY", "key-none")));
    // The file of the Secret stands alone, as a mounted one does.
    let all = pod.folder.path().join("all.yaml");
    let without = fs::read_to_string(&all).unwrap().replace(&secret.replace("KEY", "key-none"), "");
    let draft = pod.folder.path().join(".draft");
    let rotate = |name: &str| {
        fs::write(&draft, secret.replace("KEY", name)).unwrap();
        fs::rename(&draft, pod.folder.path().join("secret.yaml")).unwrap();
        *key.lock().unwrap() = name.to_owned();
    };
    rotate("key-0");
    fs::write(&all, without).unwrap();
    until("the first key", || pod.run("a", &json!({"query": "x"})).status == 200);
    rotate("key-1");
    let answer = pod.run("a", &json!({"query": "x"}));
    assert_eq!(answer.status, 200, "{answer:?}");
    pod.survives();
}

#[test]
fn validate_says_what_serve_refuses() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("all.yaml"), one_agent("http://127.0.0.1:9/v1", "")).unwrap();
    let checked = Command::new(crate::pod::program()).arg("validate").arg(folder.path()).output().unwrap();
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
}
