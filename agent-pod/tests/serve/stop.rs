//! SIGTERM: nothing that runs is lost, and whoever waits too long is told.

use futures::{SinkExt as _, StreamExt as _};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{DEADLINE, Folder, Pod};
use crate::model_server::ModelServer;

#[tokio::test]
async fn a_run_in_flight_ends_and_then_the_process() {
    let (model, folder) = (ModelServer::gated().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "a whole answer", "");
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "support").await;
    let asked = tokio::runtime::Handle::current().spawn(pod.ask("support", &json!({"query": "hi"})).send());
    pod.await_state("the run", |state| state["inFlight"] == 1).await;
    pod.terminate().await;
    pod.await_state("the drain", |state| state["draining"] == true).await;
    assert!(!pod.ready().await, "not ready at once, while runs end");
    model.open_gate();
    let answer: Value = asked.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["answer"], "a whole answer");
    let (code, log) = pod.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("\"run ended\"") && log.contains("\"stopped\""), "{log}");
}

/// Runs of every door that outlive the drain: each caller is told in the way of its door.
#[tokio::test]
async fn who_waits_longer_than_the_drain_is_told() {
    let (model, folder) = (ModelServer::gated().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "never", "  runtime: {drainTimeout: 200ms, maxConcurrentRuns: 4}\n");
    let pod = Pod::on_folder(&folder, &[]).await;
    let spawn = |request: reqwest::RequestBuilder| {
        tokio::runtime::Handle::current().spawn(async move {
            let response = request.send().await.unwrap();
            let (status, retry) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
            (status, retry, response.text().await.unwrap())
        })
    };
    let plain = spawn(pod.ask("support", &json!({"query": "hi"})));
    let events = spawn(pod.ask("support", &json!({"query": "hi", "stream": true})));
    let chat = json!({"model": "support", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let chat = spawn(pod.http.post(format!("{}/v1/chat/completions", pod.api)).json(&chat));
    let url = format!("{}/v1/ws/agent/support", pod.api.replace("http", "ws"));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    socket.send(Message::text(json!({"query": "hi"}).to_string())).await.unwrap();
    pod.await_state("the runs", |state| state["inFlight"] == 4).await;
    let queued = spawn(pod.ask("support", &json!({"query": "hi"})));
    pod.await_state("the one that waits", |state| state["queued"] == 1).await;
    // One whose body never comes waits for no run.
    let mut withheld = TcpStream::connect(pod.api.strip_prefix("http://").unwrap()).await.unwrap();
    let head = "POST /v1/agents/support/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n";
    withheld.write_all(head.as_bytes()).await.unwrap();
    pod.terminate().await;

    for answer in [plain, queued] {
        let (status, retry, text) = answer.await.unwrap();
        assert_eq!((status, retry), (503, true), "{text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&body["error"]["code"], &body["error"]["retryable"]), (&json!("draining"), &json!(true)));
    }
    let (status, _, text) = events.await.unwrap();
    assert_eq!(status, 200);
    assert!(text.contains("event: token") && text.trim_end().rsplit("event: ").next().unwrap().starts_with("error"));
    assert!(text.contains("\"code\":\"draining\""), "{text}");
    let (status, _, text) = chat.await.unwrap();
    assert_eq!(status, 200);
    let last: Value = serde_json::from_str(text.trim_end().rsplit("data: ").next().unwrap()).unwrap();
    assert_eq!((&last["error"]["code"], &last["error"]["type"]), (&json!("draining"), &json!("api_error")), "{text}");
    let mut last = Value::Null;
    let close = loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => last = serde_json::from_str(&text).unwrap(),
            Message::Close(frame) => break frame.unwrap(),
            other @ (Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {
                panic!("{other:?}")
            }
        }
    };
    assert_eq!((&last["type"], &last["error"]["code"]), (&json!("error"), &json!("draining")));
    assert_eq!(u16::from(close.code), 1012);
    let mut answer = String::new();
    withheld.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("draining"), "{answer}");

    let (code, log) = pod.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("cut off") && log.contains("\"stopped\""), "{log}");
    assert_eq!(log.matches("\"outcome\":\"draining\"").count(), 4, "booked as what they are: {log}");
}

#[rstest]
#[case::ctrl_c_twice("INT", "INT", 130)]
#[case::sigterm_after_ctrl_c("INT", "TERM", 143)]
#[case::ctrl_c_after_sigterm("TERM", "INT", 130)]
#[tokio::test]
async fn whoever_insists_need_not_wait_for_the_drain(#[case] first: &str, #[case] second: &str, #[case] code: i32) {
    let (model, folder) = (ModelServer::gated().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "never", "  runtime: {drainTimeout: 10m}\n");
    let pod = Pod::on_folder(&folder, &[]).await;
    let asked = tokio::runtime::Handle::current().spawn(pod.ask("support", &json!({"query": "hi"})).send());
    pod.await_state("the run", |state| state["inFlight"] == 1).await;
    pod.signal(first).await;
    pod.await_state("the drain", |state| state["draining"] == true).await;
    pod.signal(second).await;
    let (ended, log) = pod.ended().await;
    assert_eq!(ended, Some(code), "{log}");
    assert!(log.contains("told to stop once more"), "{log}");
    drop(asked.await);
}

/// The connection of an answer that is under way ends with it; HTTP/2 says the same by GOAWAY.
#[tokio::test]
async fn a_connection_ends_with_the_answer_that_it_waits_for() {
    let (model, folder) = (ModelServer::gated().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "a whole answer", "");
    let pod = Pod::on_folder(&folder, &[]).await;
    let asked = tokio::runtime::Handle::current().spawn(pod.ask("support", &json!({"query": "hi"})).send());
    pod.await_state("the run", |state| state["inFlight"] == 1).await;
    pod.terminate().await;
    pod.await_state("the drain", |state| state["draining"] == true).await;
    let end = Instant::now() + DEADLINE;
    while TcpStream::connect(pod.api.strip_prefix("http://").unwrap()).await.is_ok() {
        assert!(Instant::now() < end, "the door never closed");
    }
    model.open_gate();
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.headers()["connection"], "close");
    assert_eq!(pod.ended().await.0, Some(0));
}

#[tokio::test]
async fn logs_are_json_and_hold_no_secret() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "  auth: {secretKeyRef: {name: s, key: k}}\n");
    folder.agent("support", "hello", "");
    folder.write("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: canary-value}\n");
    let arguments = ["--manifests", folder.path().to_str().unwrap(), "--log", "trace"];
    let pod = Pod::start(&arguments, &[]).await;
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "support").await;
    pod.await_answer("support", "hello").await;
    let state = pod.state().await.to_string();
    pod.terminate().await;
    let (_, log) = pod.ended().await;
    assert!(log.lines().count() > 5 && !log.contains("canary-value"), "a secret is in the log");
    assert!(!state.contains("canary-value"));
}
