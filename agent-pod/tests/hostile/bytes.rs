//! Bytes that callers and model servers make a pod hold: bodies, messages, keys, histories, replies, connections.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Answer, beginning, connect, exchange, post};
use crate::frames::{frame, handshake, raw, says};
use crate::manifests::{MEMORY, TOOLS, agent, one_agent};
use crate::model::{END, EVENTS, Gate, JSON, Model, hello, token};
use crate::pod::{Pod, slow, until};

/// The default of `maxBodyBytes`.
pub(crate) const BODY_MAX: usize = 10 << 20;

/// A body of just under 10 MiB with many small values in it.
pub(crate) fn swollen(before: &str, value: &str, after: &str) -> String {
    let times = (BODY_MAX - before.len() - after.len() - value.len() - 16) / (value.len() + 1);
    format!("{before}{}{value}{after}", format!("{value},").repeat(times))
}

/// What swells most when it is read: numbers, texts, lists, maps, keys.
pub(crate) fn swelling() -> Vec<(&'static str, String)> {
    let values = ["0", "\"\"", "[]", "{}", "null", "[[]]", "1.5e3", "{\"a\":0}"];
    let run = values.map(|value| ("/v1/agents/a/run", swollen("{\"query\":\"x\",\"context\":{\"a\":[", value, "]}}")));
    let zeros = [
        (
            "/v1/chat/completions",
            swollen("{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"metadata\":[", "0", "]}"),
        ),
        (
            "/v1/chat/completions",
            swollen("{\"model\":\"a\",\"messages\":[", "{\"role\":\"user\",\"content\":\"x\"}", "]}"),
        ),
        (
            "/v1/chat/completions",
            swollen(
                "{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":[",
                "{\"type\":\"text\",\"text\":\"x\"}",
                "]}]}",
            ),
        ),
        (
            "/v1/chat/completions",
            swollen("{\"model\":\"a\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"stop\":[", "\"a\"", "]}"),
        ),
        (
            "/v1/tools/execute",
            swollen(
                "{\"agent\":\"a\",\"tool\":\"json_transform\",\"arguments\":{\"template\":\"x\",\"data\":[",
                "0",
                "]}}",
            ),
        ),
        ("/v1/agents/a/run", swollen("{\"query\":\"x\",\"images\":[", "\"\"", "]}")),
        ("/v1/agents/a/run", swollen("{\"query\":\"x\",\"unknown\":[", "0", "]}")),
        ("/v1/agents/a/run", swollen("{\"query\":\"x\",\"context\":{", "\"a\":0", "}}")),
        ("/v1/agents/a/run", swollen("[", "0", "]")),
    ];
    run.into_iter().chain(zeros).collect()
}

/// Whether a pod's answer to a heavy request is one that it may give.
fn fine(answer: &Answer) -> bool {
    answer.is_documented() && !matches!(answer.status, 500 | 502)
}

#[test]
fn bodies_that_swell_when_they_are_read_do_not_end_the_pod() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), &format!("{TOOLS}{MEMORY}")));
    for (path, body) in swelling() {
        let begun = Instant::now();
        let answer = pod.send(path, &body);
        assert!(fine(&answer), "{path} {}: {answer:?}", beginning(&body));
        assert!(begun.elapsed() < slow(Duration::from_secs(5)), "{path} {}: {:?}", beginning(&body), begun.elapsed());
        let keyed = exchange(pod.api, &post(path, "Idempotency-Key: k\r\n", body.as_bytes()));
        assert!(fine(&keyed), "{path} {} with a key: {keyed:?}", beginning(&body));
    }
    pod.survives();
}

#[test]
fn such_bodies_at_the_same_time_do_not_end_it_either() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), &format!("{TOOLS}{MEMORY}")));
    let bodies = swelling();
    scope(|threads| {
        for (path, body) in &bodies {
            let pod = &pod;
            threads.spawn(move || {
                let answer = pod.send(path, body);
                assert!(fine(&answer), "{path}: {answer:?}");
            });
        }
    });
    pod.survives();
}

#[test]
fn messages_of_sockets_that_swell_do_not_end_it() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), MEMORY));
    let body = swollen("{\"query\":\"x\",\"context\":{\"a\":[", "0", "]}}");
    scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                let told = says(&mut handshake(&pod, "a"), &body);
                assert!(told.contains("\"done\"") || told.contains("\"error\""), "{told}");
            });
        }
    });
    pod.survives();
}

#[test]
fn callers_who_share_a_key_wait_without_their_bodies() {
    let gate = Gate::default();
    let behind = gate.clone();
    let model = Model::start(move |request, out| {
        if !request.to_string().contains("well") {
            behind.pass();
        }
        hello(out)
    });
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    let body = format!("{{\"query\":\"x\",\"context\":{{\"a\":[{}0]}}}}", "0,".repeat(100_000));
    let done = AtomicUsize::new(0);
    scope(|threads| {
        for _ in 0..60 {
            threads.spawn(|| {
                let answer = exchange(pod.api, &post("/v1/agents/a/run", "Idempotency-Key: k\r\n", body.as_bytes()));
                assert!(fine(&answer), "{answer:?}");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        // One runs and eight wait for its answer.
        until("the others are turned away", || done.load(Ordering::Relaxed) >= 51);
        assert_eq!(model.open(), 1);
        gate.open();
    });
    pod.survives();
}

/// So many of something, all begun at once.
fn at_once<T: Send>(count: usize, begin: impl Fn() -> T + Sync) -> Vec<T> {
    scope(|threads| {
        let begun: Vec<_> = (0..count).map(|_| threads.spawn(&begin)).collect();
        begun.into_iter().map(|begun| begun.join().unwrap()).collect()
    })
}

/// Connections that have sent all of a body but its last byte.
pub(crate) fn withheld(pod: &Pod, count: usize) -> Vec<TcpStream> {
    let body = format!("{{\"query\":\"{}\"", "y".repeat(BODY_MAX - 100));
    let request = post("/v1/agents/a/run", "", format!("{body}}}").as_bytes());
    let open = || {
        let mut stream = connect(pod.api);
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        drop(stream.write_all(&request[..request.len() - 1]));
        stream
    };
    at_once(count, open)
}

#[test]
fn bodies_whose_last_byte_never_comes_do_not_pile_up() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    let streams = withheld(&pod, 40);
    drop(streams);
    pod.survives();
}

/// Sockets with a message that is never finished.
pub(crate) fn unfinished(pod: &Pod, count: usize) -> Vec<TcpStream> {
    let length = u64::try_from(BODY_MAX - 100).unwrap();
    let payload = vec![b' '; BODY_MAX - 101];
    let open = || {
        let mut socket = handshake(pod, "a");
        socket.get_mut().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        raw(&mut socket, &frame(0x81, length, &payload));
        socket.get_mut().try_clone().unwrap()
    };
    at_once(count, open)
}

#[test]
fn messages_that_are_never_finished_do_not_pile_up() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    let sockets = unfinished(&pod, 40);
    drop(sockets);
    pod.survives();
}

#[test]
fn fragments_and_pings_by_the_hundred_thousand_are_no_load() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    let mut socket = handshake(&pod, "a");
    let mut flood = frame(0x01, 1, b"{");
    flood.extend(frame(0x00, 1, b" ").repeat(100_000));
    raw(&mut socket, &flood);
    let mut pinged = handshake(&pod, "a");
    let ping = frame(0x89, 1, b"x").repeat(100_000);
    pinged.get_mut().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    raw(&mut pinged, &ping);
    pod.survives();
}

#[test]
fn large_images_in_one_conversation_are_bounded() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), MEMORY));
    let image = format!("data:image/png;base64,{}", "A".repeat(9 << 20));
    for _ in 0..7 {
        let answer = pod.run("a", &json!({"query": "x", "sessionId": "s", "images": [image]}));
        assert!(fine(&answer), "{answer:?}");
    }
    pod.survives();
}

#[test]
fn conversations_of_many_sessions_are_bounded_by_bytes() {
    let model = Model::polite();
    let pod = Pod::serve(&one_agent(&model.url(), MEMORY));
    let text = "y".repeat(4 << 20);
    for session in 0..30 {
        let answer = pod.run("a", &json!({"query": text, "sessionId": format!("s{session}")}));
        assert!(fine(&answer), "{answer:?}");
    }
    pod.survives();
}

#[test]
fn answers_that_are_kept_for_their_keys_are_bounded_by_bytes() {
    let model = Model::start(|_, out| {
        out.write_all(format!("{EVENTS}{}{END}", token(&"y".repeat(60_000)).repeat(16)).as_bytes())
    });
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    for key in 0..100 {
        let keyed = format!("Idempotency-Key: k{key}\r\n");
        let answer = exchange(pod.api, &post("/v1/agents/a/run", &keyed, b"{\"query\":\"x\"}"));
        assert!(fine(&answer), "{}", answer.status);
    }
    pod.survives();
}

#[test]
fn replies_of_a_model_server_that_swell_do_not_end_it() {
    let swell = |value: &str| {
        format!(
            "{{\"choices\":[{{\"message\":{{\"content\":\"x\"}},\"finish_reason\":\"stop\"}}],\"extra\":[{}{value}]}}",
            format!("{value},").repeat((14 << 20) / (value.len() + 1))
        )
    };
    for value in ["0", "{}", "\"\""] {
        let reply = swell(value);
        let model = Model::start(move |request, out| match request.to_string().contains("well") {
            true => hello(out),
            false => out.write_all(format!("{JSON}{reply}").as_bytes()),
        });
        let pod = Pod::serve(&one_agent(&model.url(), ""));
        scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    let answer = pod.run("a", &json!({"query": "x"}));
                    assert!(answer.is_documented(), "{answer:?}");
                });
            }
        });
        sleep(Duration::from_millis(10));
        // Its faults may have opened the breaker, which closes with time: another agent shows that the pod serves.
        std::fs::write(pod.folder.path().join("all.yaml"), one_agent(&Model::polite().url(), "")).unwrap();
        pod.survives();
    }
}

#[test]
fn long_answers_of_many_runs_are_bounded() {
    let model = Model::start(|request, out| {
        if request.to_string().contains("well") {
            return hello(out);
        }
        write!(out, "{EVENTS}")?;
        for _ in 0..40 {
            out.write_all(token(&"ab ".repeat(30_000)).as_bytes())?;
        }
        out.write_all(END.as_bytes())
    });
    let pod = Pod::serve(&one_agent(&model.url(), ""));
    scope(|threads| {
        for stream in [false, true].repeat(6) {
            let pod = &pod;
            threads.spawn(move || {
                let answer = pod.run("a", &json!({"query": "x", "stream": stream}));
                assert!(answer.is_documented(), "{}", answer.status);
            });
        }
    });
    pod.survives();
}

#[test]
fn an_embedder_that_stands_still_is_asked_no_more_than_there_are_runs() {
    let still = Gate::default();
    let behind = still.clone();
    let embedder = Model::start(move |_, _| {
        behind.pass();
        Ok(())
    });
    let model = Model::polite();
    let memory = format!(
        "  memory: {{semantic: {{backend: embedded, embeddings: {{provider: openai_compat, model: e, endpoint: \"{}\", dimension: 3}}}}}}\n  runtime: {{maxConcurrentRuns: 4}}\n",
        embedder.url()
    );
    let data = tempfile::tempdir().unwrap();
    let manifests = one_agent(&model.url(), &memory);
    let pod = Pod::serve_with(&manifests, &["--data-dir", data.path().to_str().unwrap()]);
    scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..8 {
                    drop(pod.run("a", &json!({"query": "remember this"})));
                    assert!(embedder.open() <= 16, "{} calls to the embedder are open", embedder.open());
                }
            });
        }
    });
    pod.survives();
    still.open();
}

/// Connections that say nothing.
pub(crate) fn silent(pod: &Pod, count: usize) -> Vec<TcpStream> {
    (0..count).map_while(|_| TcpStream::connect_timeout(&pod.api, Duration::from_millis(200)).ok()).collect()
}

#[test]
fn silent_connections_do_not_take_the_descriptors_of_the_admin_port() {
    let model = Model::polite();
    let limited = one_agent(&model.url(), "") + &agent("b", "You are b.", "");
    let pod = Pod::serve_limited(&limited, 256);
    let streams = silent(&pod, 600);
    for _ in 0..40 {
        sleep(Duration::from_millis(50));
        assert_eq!(pod.state()["draining"], false);
    }
    drop(streams);
    pod.survives();
}
