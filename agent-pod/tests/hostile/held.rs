//! What is put together from pieces, what has been answered and is not read, and what agents ask of agents.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{connect, exchange, post};
use crate::frames::{handshake, says};
use crate::manifests::{agent, one_agent, provider};
use crate::model::{END, EVENTS, Gate, Model, hello, token};
use crate::pod::{Pod, slow, until};

/// So many runs at once, each with a reply that begins like this and does not go on.
fn begun_by_many(count: usize, beginning: String) {
    let gate = Gate::default();
    let behind = gate.clone();
    let model = Model::start(move |request, out| {
        if request.to_string().contains("well") {
            return hello(out);
        }
        out.write_all(EVENTS.as_bytes())?;
        out.write_all(beginning.as_bytes())?;
        behind.pass();
        Ok(())
    });
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    let answered = AtomicUsize::new(0);
    scope(|threads| {
        for _ in 0..count {
            threads.spawn(|| {
                let answer = pod.run("a", &json!({"query": "x"}));
                assert!(answer.is_documented(), "{answer:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            });
        }
        // Some have what they need and wait for the rest of their reply.
        until("those without memory to be told", || answered.load(Ordering::Relaxed) > count / 2);
        gate.open();
    });
    std::fs::write(pod.folder.path().join("all.yaml"), one_agent(&Model::polite().url(), "")).unwrap();
    pod.survives();
}

#[test]
fn halves_of_events_do_not_pile_up() {
    begun_by_many(160, format!("data: {}", "x".repeat(1_000_000)));
}

#[test]
fn pieces_of_arguments_do_not_pile_up() {
    let piece = |arguments: &str| {
        let function = json!({"name": "t", "arguments": arguments});
        let calls = json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": function}]}}]});
        format!("data: {calls}\n\n")
    };
    begun_by_many(200, piece(&"7".repeat(60_000)).repeat(15));
}

#[test]
fn results_of_tools_of_many_runs_do_not_pile_up() {
    let service = Model::start(|_, out| {
        let length = 1_000_000;
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
        out.write_all(&b"y".repeat(length))
    });
    let model = Model::start(|request, out| {
        let messages = request["messages"].as_array().cloned().unwrap_or_default();
        if request.to_string().contains("well") || messages.iter().any(|message| message["role"] == "tool") {
            return hello(out);
        }
        let calls: Vec<Value> = (0..16)
            .map(|index| json!({"index": index, "id": format!("c{index}"), "function": {"name": "w", "arguments": "{}"}}))
            .collect();
        write!(out, "{EVENTS}data: {}\n\n", json!({"choices": [{"delta": {"tool_calls": calls}}]}))?;
        write!(out, "data: {}\n\ndata: [DONE]\n\n", json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}))
    });
    let tool = format!("  tools: [{{name: w, type: webhook, webhook: {{url: \"{}\"}}}}]\n", service.base());
    let pod = Pod::serve(&one_agent(&model.url(), &tool));
    let body = json!({"query": "x"}).to_string();
    scope(|threads| {
        for _ in 0..120 {
            threads.spawn(|| {
                let timed = post("/v1/agents/a/run", "X-Request-Timeout-Ms: 10000\r\n", body.as_bytes());
                let answer = exchange(pod.api, &timed);
                assert!(answer.is_documented(), "{answer:?}");
            });
        }
    });
    pod.survives();
}

/// Each asks the next one 64 times at once, which does the same.
#[test]
fn agents_that_ask_each_other_are_bounded_as_one_call() {
    let model = Model::start(|request, out| {
        let messages = request["messages"].as_array().cloned().unwrap_or_default();
        let Some(tool) = request["tools"][0]["function"]["name"].as_str() else { return hello(out) };
        if request.to_string().contains("well") || messages.iter().any(|message| message["role"] == "tool") {
            return hello(out);
        }
        let arguments = json!({"query": "q".repeat(9_000)}).to_string();
        let calls: Vec<Value> = (0..64)
            .map(|index| json!({"index": index, "id": format!("c{index}"), "function": {"name": tool, "arguments": arguments}}))
            .collect();
        write!(out, "{EVENTS}data: {}\n\n", json!({"choices": [{"delta": {"tool_calls": calls}}]}))?;
        write!(out, "data: {}\n\ndata: [DONE]\n\n", json!({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}))
    });
    let asks =
        |next: &str| format!("  tools: [{{name: {next}, type: agent, agent: {{agentRef: {{name: {next}}}}}}}]\n");
    let manifests = provider(&model.url())
        + &agent("a", "You are a.", &asks("b"))
        + &agent("b", "You are b.", &asks("c"))
        + &agent("c", "You are c.", &asks("d"))
        + &agent("d", "You are d.", "");
    let pod = Pod::serve(&manifests);
    let answer = pod.run("a", &json!({"query": "x"}));
    assert!(answer.is_documented(), "{answer:?}");
    assert!(model.asked().len() < 600, "{} calls of models", model.asked().len());
    pod.survives();
}

/// Reads until this text has come.
fn read_until(stream: &mut TcpStream, text: &str) -> bool {
    let (mut seen, mut buffer) = (Vec::new(), vec![0; 65_536]);
    while !String::from_utf8_lossy(&seen).contains(text) {
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => {
                let kept = seen.len().saturating_sub(text.len());
                seen.drain(..kept);
                seen.extend_from_slice(&buffer[..read]);
            }
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

#[test]
fn ends_of_streams_that_nobody_reads_do_not_pile_up() {
    let model = Model::start(|request, out| {
        if request.to_string().contains("well") {
            return hello(out);
        }
        out.write_all(format!("{EVENTS}{}{END}", token(&"ab ".repeat(20_000)).repeat(60)).as_bytes())
    });
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    let body = json!({"query": "x", "stream": true}).to_string();
    let mut unread = Vec::new();
    let mut refused = 0;
    while unread.len() < 25 && refused < 3 {
        let mut stream = connect(pod.api);
        stream.write_all(&post("/v1/agents/a/run", "", body.as_bytes())).unwrap();
        refused += usize::from(!read_until(&mut stream, "\"type\":\"done\""));
        unread.push(stream);
    }
    assert!(unread.len() > refused, "none has come to its end");
    drop(unread);
    pod.survives();
}

#[test]
fn idle_sockets_give_way() {
    let model = Model::polite();
    let pod = Pod::serve_with(&one_agent(&model.url(), ""), &["--max-connections", "20"]);
    let mut sockets: Vec<_> = (0..20).map(|_| handshake(&pod, "a")).collect();
    // The last one has asked something, and so has been idle for less long than the others.
    assert!(says(sockets.last_mut().unwrap(), "{\"query\": \"x\"}").contains("done"));
    for _ in 0..5 {
        let begun = Instant::now();
        assert_eq!(pod.run("a", &json!({"query": "x"})).status, 200);
        assert!(begun.elapsed() < slow(Duration::from_secs(2)), "{:?}", begun.elapsed());
    }
    assert!(says(sockets.last_mut().unwrap(), "{\"query\": \"x\"}").contains("done"));
    pod.survives();
}

#[test]
fn small_bodies_that_stand_still_give_way() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    let request = post("/v1/agents/a/run", "", format!("{{\"query\":\"{}\"}}", "y".repeat(60_000)).as_bytes());
    let still: Vec<_> = (0..1_500)
        .map_while(|_| {
            let mut stream = TcpStream::connect_timeout(&pod.api, Duration::from_secs(1)).ok()?;
            drop(stream.write_all(&request[..request.len() - 1]));
            Some(stream)
        })
        .collect();
    let begun = Instant::now();
    until("an answer", || pod.run("a", &json!({"query": "x"})).status == 200);
    assert!(begun.elapsed() < slow(Duration::from_secs(20)), "{:?}", begun.elapsed());
    drop(still);
    pod.survives();
}

#[test]
fn heads_of_calls_whose_bodies_never_come_do_not_pile_up() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    let field = format!("X-Padding: {}\r\n", "p".repeat(7_000)).repeat(4);
    let head = format!(
        "POST /v1/agents/a/run HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{field}Content-Length: 65000\r\n\r\n"
    );
    let part = [head.as_bytes(), &b" ".repeat(60_000)].concat();
    let still: Vec<_> = (0..1_500)
        .map_while(|_| {
            let mut stream = TcpStream::connect_timeout(&pod.api, Duration::from_secs(1)).ok()?;
            stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            drop(stream.write_all(&part));
            Some(stream)
        })
        .collect();
    drop(still);
    pod.survives();
}
