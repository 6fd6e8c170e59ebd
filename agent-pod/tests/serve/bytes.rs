//! A pod of 256 MiB, by what its pool of bytes then has, under everything that would make it hold more.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{DEADLINE, Folder, Pod};
use crate::model_server::ModelServer;

const MIB: usize = 1024 * 1024;

/// The memory of the container that the pool is made for.
const LIMIT_KIB: u64 = 256 * 1024;

/// A quarter of the limit, as a container would have it.
const POOL: [(&str, &str); 1] = [("ASTROMESH_MEMORY_POOL", "64")];

async fn pod(url: &str, more: &str) -> (Pod, Folder) {
    let folder = Folder::new();
    folder.provider(url, "");
    folder.agent("support", "fine", more);
    (Pod::on_folder(&folder, &POOL).await, folder)
}

/// The most memory that the process ever had, in KiB.
fn peak_kib(pod: &Pod) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pod.child.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

fn assert_within_limit(pod: &Pod) {
    let peak = peak_kib(pod);
    assert!(peak < LIMIT_KIB, "{peak} KiB at the most, of {LIMIT_KIB}");
}

fn zeros(bytes: usize) -> String {
    format!("[{}0]", "0,".repeat(bytes / 2))
}

async fn post(pod: &Pod, path: &str, body: String, key: Option<&str>) -> (u16, Value) {
    let request = pod.http.post(format!("{}{path}", pod.api)).header("content-type", "application/json").body(body);
    let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// A connection on which everything has been sent that there is room for.
async fn withheld(address: SocketAddr, head: String, bytes: usize) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    drop(stream.write_all(head.as_bytes()).await);
    let piece = vec![b' '; 64 * 1024];
    for _piece in 0..bytes / piece.len() {
        if stream.write_all(&piece).await.is_err() {
            break;
        }
    }
    // Until the pod has had enough of it.
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
}

fn address(pod: &Pod) -> SocketAddr {
    pod.api.trim_start_matches("http://").parse().unwrap()
}

async fn alive(pod: &Pod) {
    let asked = pod.http.get(format!("{}/livez", pod.admin)).send();
    assert!(timeout(Duration::from_secs(1), asked).await.unwrap().unwrap().status().is_success());
}

/// Asks again as long as the pod has no memory for it.
async fn answered_in_the_end(pod: &Pod, query: &str) {
    let end = Instant::now() + 2 * DEADLINE;
    loop {
        let answer = pod.ask("support", &json!({"query": query})).send().await.unwrap();
        match answer.status().as_u16() {
            200 => return,
            429 => assert!(answer.headers().contains_key("retry-after")),
            other => panic!("{other}: {}", answer.text().await.unwrap()),
        }
        assert!(Instant::now() < end, "it was never let in");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn ten_mebibytes_of_zeros_are_refused_at_every_door() {
    let model = ModelServer::start().await;
    let (pod, _folder) = pod(&model.url, "  expose: {openai: true}\n").await;
    let zeros = zeros(10 * MIB - 200);
    let run = format!(r#"{{"query": "q", "context": {{"a": {zeros}}}}}"#);
    let chat =
        format!(r#"{{"model": "support", "messages": [{{"role": "user", "content": "q"}}], "metadata": {zeros}}}"#);
    let tool = format!(r#"{{"agent": "support", "tool": "t", "arguments": {{"a": {zeros}}}}}"#);
    for (path, body) in [("/v1/agents/support/run", run), ("/v1/chat/completions", chat), ("/v1/tools/execute", tool)] {
        for key in [None, Some("k")] {
            let (status, answer) = post(&pod, path, body.clone(), key).await;
            assert_eq!((status, &answer["error"]["code"]), (413, &json!("body_too_large")), "{path} {answer}");
        }
    }
    assert_within_limit(&pod);
    answered_in_the_end(&pod, "hi").await;
}

#[tokio::test]
async fn forty_bodies_that_lack_a_byte_keep_nobody_out() {
    let model = ModelServer::start().await;
    let (pod, _folder) = pod(&model.url, "").await;
    let mut senders = JoinSet::new();
    for _connection in 0..40 {
        let head = format!(
            "POST /v1/agents/support/run HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            10 * MIB
        );
        senders.spawn(withheld(address(&pod), head, 10 * MIB - 1));
    }
    for _round in 0..10 {
        alive(&pod).await;
        answered_in_the_end(&pod, "small").await;
    }
    answered_in_the_end(&pod, &"large ".repeat(MIB / 6)).await;
    alive(&pod).await;
    assert_within_limit(&pod);
}

#[tokio::test]
async fn forty_sockets_with_unfinished_messages_keep_nobody_out() {
    let model = ModelServer::start().await;
    let (pod, _folder) = pod(&model.url, "").await;
    let mut senders = JoinSet::new();
    for _socket in 0..40 {
        let head = "GET /v1/ws/agent/support HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_owned();
        senders.spawn(unfinished(address(&pod), head, 10 * MIB - 1));
    }
    for _round in 0..10 {
        alive(&pod).await;
        answered_in_the_end(&pod, "small").await;
    }
    answered_in_the_end(&pod, &"large ".repeat(MIB / 6)).await;
    assert_within_limit(&pod);
}

/// Begins a text frame of so many bytes, by a mask that changes nothing, and sends all but the end of it.
async fn unfinished(address: SocketAddr, handshake: String, length: usize) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    drop(stream.write_all(handshake.as_bytes()).await);
    let mut answer = [0; 1024];
    drop(stream.read(&mut answer).await);
    let mut frame = vec![0x81, 0x80 | 127];
    frame.extend_from_slice(&u64::try_from(length).unwrap().to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    drop(stream.write_all(&frame).await);
    let piece = vec![b'x'; 64 * 1024];
    for _piece in 0..length / piece.len() {
        if stream.write_all(&piece).await.is_err() {
            break;
        }
    }
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
}

#[tokio::test]
async fn sixty_callers_with_one_key_wait_within_the_limit() {
    let model = ModelServer::gated().await;
    let (pod, _folder) = pod(&model.url, "").await;
    let body = format!(r#"{{"query": "q", "context": {{"a": {}}}}}"#, zeros(200 * 1024));
    let calls = join_all((0..60).map(|_| post(&pod, "/v1/agents/support/run", body.clone(), Some("k"))));
    let opening = async {
        while model.asked().is_empty() {
            alive(&pod).await;
            sleep(Duration::from_millis(20)).await;
        }
        model.open_gate();
    };
    let (ends, ()) = timeout(3 * DEADLINE, futures::future::join(calls, opening)).await.unwrap();
    assert!(ends.iter().any(|(status, _)| *status == 200));
    for (status, answer) in &ends {
        assert!([200, 409, 429].contains(status), "{status} {answer}");
    }
    assert_eq!(model.asked().len(), 1, "it is carried out once");
    assert_within_limit(&pod);
}

#[tokio::test]
async fn turns_with_large_images_leave_room() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.write(
        "provider.yaml",
        &format!(
            "apiVersion: astromesh.io/v1alpha1\nkind: Provider\nmetadata: {{name: echo}}\nspec:\n  type: openai_compat\n  endpoint: {}\n  models: [{{name: m, capabilities: [vision]}}]\n",
            model.url
        ),
    );
    folder.agent("support", "fine", "  memory: {conversational: {backend: in_memory}}\n");
    let pod = Pod::on_folder(&folder, &POOL).await;
    let image = format!("data:image/png;base64,{}", "A".repeat(9 * MIB));
    for turn in 0..7 {
        let body = json!({"query": format!("What is it? {turn}"), "sessionId": "s", "images": [image]}).to_string();
        let (status, answer) = post(&pod, "/v1/agents/support/run", body, None).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["degraded"], json!([]), "{answer}");
    }
    assert_within_limit(&pod);
    let last = model.asked().pop().unwrap().body;
    let earlier: Vec<_> =
        last["messages"].as_array().unwrap().iter().map(|message| message["content"].to_string()).collect();
    assert!(earlier.iter().any(|text| text.contains("too large to be kept")), "the words of the turns are kept");
}

#[tokio::test]
async fn a_reply_of_zeros_fails_its_run_and_nothing_else() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let reply = || async {
        let body = format!(r#"{{"choices": [{{"message": {{"content": "hi"}}}}], "x": {}}}"#, zeros(14 * MIB));
        Response::builder().header("content-type", "application/json").body(Body::from(body)).unwrap()
    };
    let routes = axum::Router::new().route("/v1/chat/completions", axum::routing::post(reply));
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let (pod, _folder) = pod(&url, "").await;
    let calls = join_all((0..4).map(|_| post(&pod, "/v1/agents/support/run", json!({"query": "q"}).to_string(), None)));
    for (status, answer) in calls.await {
        assert!([200, 429, 502, 503].contains(&status), "{status} {answer}");
    }
    alive(&pod).await;
    assert_within_limit(&pod);
}
