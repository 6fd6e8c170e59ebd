//! An agent of another pod, against a server that answers as a test says.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{Finish, Handoff, TurnEvent, TurnRequest};
use agent_pod_core::message::{Message, Role};
use agent_pod_core::peer::Peer as _;
use agent_pod_core::service::RunOptions;
use agent_pod_infra::peer::{Remote, RemoteError};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// What the server says, piece by piece, and what it was asked.
#[derive(Clone)]
struct Said {
    status: u16,
    location: String,
    pieces: Vec<String>,
    asked: Arc<Mutex<Vec<(http::HeaderMap, String, Value)>>>,
}

struct Server {
    said: Said,
    url: String,
    remote: Remote,
    token: std::path::PathBuf,
    _folder: TempDir,
    _task: JoinSet<()>,
}

async fn answer(State(said): State<Said>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap();
    said.asked.lock().unwrap().push((parts.headers, parts.uri.path().to_owned(), body));
    let pieces = said.pieces.into_iter().map(|piece| Ok::<_, std::convert::Infallible>(Bytes::from(piece)));
    let body = Body::from_stream(futures::stream::iter(pieces));
    Response::builder()
        .status(said.status)
        .header("x-run-id", "r-1")
        .header("location", said.location)
        .body(body)
        .unwrap()
}

impl Server {
    async fn start(status: u16, pieces: &[&str]) -> Self {
        Self::at(status, "/", pieces).await
    }

    async fn at(status: u16, location: &str, pieces: &[&str]) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let pieces = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        let said = Said { status, location: location.to_owned(), pieces, asked: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(said.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        fs::write(&token, "first\n").unwrap();
        let remote = Remote::new(&base, "billing", token.clone()).unwrap();
        Self { said, url: base, remote, token, _folder: folder, _task: task }
    }

    /// The events of a run, or why there is none.
    async fn run(&self, streaming: bool) -> Result<Vec<TurnEvent>, RunError> {
        let options = RunOptions {
            trace_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
            timeout: Some(Duration::from_millis(1500)),
            depth: 3,
            streaming,
            ..RunOptions::default()
        };
        let handoff = Handoff {
            from: "triage".to_owned(),
            note: Some("A bill.".to_owned()),
            transcript: vec![Message::new(Role::Assistant, "Hello.")],
            left: 2,
            peers: vec!["shop/triage".to_owned()],
        };
        let request = TurnRequest {
            query: "Where?".to_owned(),
            session_id: Some("s::billing".to_owned()),
            handoff: Some(Box::new(handoff)),
            ..TurnRequest::default()
        };
        let run = self.remote.start(request, options).await?;
        assert_eq!(run.run_id, "r-1");
        Ok(run.events.collect().await)
    }

    fn asked(&self) -> (http::HeaderMap, String, Value) {
        self.said.asked.lock().unwrap().last().cloned().unwrap()
    }
}

fn done() -> Value {
    json!({"type": "done", "runId": "r-1", "agent": "billing", "sessionId": "s::billing", "answer": "Paid.", "finish": "handoff",
        "blocked": false, "steps": [{"index": 1, "type": "tool", "name": "calculator", "arguments": {"a": 1}, "result": "42", "ok": true,
            "durationMs": 4, "truncated": true}],
        "usage": {"tokensIn": 412, "tokensOut": 38, "tokensCached": 7, "cost": "0.0000846", "currency": "USD",
            "byModel": [{"provider": "openai", "model": "m", "role": "default", "calls": 2, "tokensIn": 412, "tokensOut": 38,
                "tokensCached": 7, "cost": "0.0000846"}]},
        "attempts": [{"provider": "openai", "model": "m", "outcome": "timeout", "message": "no answer", "durationMs": 640,
            "timeToFirstTokenMs": 210}],
        "handoff": {"agent": "shop/triage", "note": "Not mine."}, "degraded": ["memory"], "traceId": "t", "of a later release": 1})
}

#[tokio::test]
async fn a_call_says_who_asks_what_how_deep_and_how_long() {
    let server = Server::start(200, &[&done().to_string()]).await;
    server.run(false).await.unwrap();
    let (headers, path, body) = server.asked();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(path, "/v1/agents/billing/run");
    assert_eq!(
        (header("authorization"), header("x-astromesh-depth"), header("x-request-timeout-ms"), header("accept")),
        ("Bearer first".to_owned(), "3".to_owned(), "1500".to_owned(), "application/json".to_owned())
    );
    assert!(header("traceparent").starts_with("00-0123456789abcdef0123456789abcdef-"), "{headers:?}");
    let handoff = json!({"from": "triage", "note": "A bill.", "left": 2, "peers": ["shop/triage"],
        "transcript": [{"role": "assistant", "content": "Hello."}]});
    assert_eq!(
        body,
        json!({"query": "Where?", "sessionId": "s::billing", "context": {}, "images": [], "stream": false, "handoff": handoff})
    );
    // The kubelet renews the file.
    fs::write(&server.token, "second").unwrap();
    server.run(false).await.unwrap();
    assert_eq!(server.asked().0["authorization"], "Bearer second");
    fs::remove_file(&server.token).unwrap();
    server.run(false).await.unwrap();
    assert!(!server.asked().0.contains_key("authorization"));
}

#[rstest]
#[case::whole(false)]
#[case::as_events(true)]
#[tokio::test]
async fn an_answer_is_read_with_everything_that_is_accounted_for(#[case] streaming: bool) {
    let text = if streaming { format!("event: done\ndata: {}\n\n", done()) } else { done().to_string() };
    let server = Server::start(200, &[&text]).await;
    let events = server.run(streaming).await.unwrap();
    let [TurnEvent::Done(answer)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((answer.answer.as_str(), answer.finish), ("Paid.", Finish::Handoff));
    let wire = serde_json::to_value(answer.as_ref()).unwrap();
    let said = done();
    for field in ["steps", "usage", "attempts", "degraded", "handoff"] {
        assert_eq!(wire[field], said[field], "{field}");
    }
}

#[tokio::test]
async fn events_come_as_they_are_cut_and_unknown_ones_are_left_out() {
    let frames = [
        json!({"type": "status", "status": "processing"}),
        json!({"type": "tool_call", "id": "c", "name": "calculator", "arguments": {"a": 1}}),
        json!({"type": "tool_result", "id": "c", "name": "calculator", "ok": true, "result": "42"}),
        json!({"type": "step", "index": 1, "stepType": "handoff", "name": "triage", "agent": "x", "ok": true, "result": "r"}),
        json!({"type": "of_a_later_release"}),
        json!({"type": "token", "content": "Pa"}),
        done(),
    ];
    let text: String = frames.iter().map(|frame| format!("event: x\nid: 1\ndata: {frame}\n\n")).collect();
    let middle = text.len() / 2;
    let (first, second) = text.split_at(middle);
    let server = Server::start(200, &[first, second]).await;
    let events = server.run(true).await.unwrap();
    let names: Vec<_> = events.iter().map(TurnEvent::name).collect();
    assert_eq!(names, ["tool_call", "tool_result", "step", "token", "done"]);
    let TurnEvent::Step(step) = &events[2] else { panic!("{events:?}") };
    assert_eq!((step.step_type, step.agent.as_deref()), ("handoff", Some("x")));
}

#[rstest]
#[case::closed_early(&["data: {\"type\": \"token\", \"content\": \"Pa\"}\n\n"], "broke off")]
#[case::no_event(&["data: {\"type\": \"token\", \"content\": \"Pa\"}\n\ndata: nothing\n\n"], "could not be understood")]
#[tokio::test]
async fn a_stream_that_does_not_end_as_it_should_ends_with_an_error(#[case] pieces: &[&str], #[case] said: &str) {
    let events = Server::start(200, pieces).await.run(true).await.unwrap();
    let [TurnEvent::Token(_), TurnEvent::Error(error)] = &events[..] else { panic!("{events:?}") };
    assert!(error.message.contains(said), "{error}");
}

#[rstest]
#[case::as_we_say_it(429, r#"{"error": {"code": "overloaded", "message": "Full.", "details": {"attempts": [{"provider": "p", "model": "m", "outcome": "ok"}]}}}"#, ErrorCode::Overloaded, "Full.")]
#[case::of_a_later_release(500, r#"{"error": {"code": "new", "message": "Odd."}}"#, ErrorCode::Internal, "Odd.")]
#[case::by_something_on_the_way(503, "upstream connect error", ErrorCode::Internal, "the agent `billing` answered 503")]
#[case::not_let_in(403, "no", ErrorCode::ValidationFailed, "the agent `billing` answered 403")]
#[tokio::test]
async fn a_refusal_is_told_as_it_was_said(
    #[case] status: u16,
    #[case] body: &str,
    #[case] code: ErrorCode,
    #[case] message: &str,
) {
    let error = Server::start(status, &[body]).await.run(true).await.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (code, message));
    assert_eq!(error.attempts.len(), usize::from(code == ErrorCode::Overloaded));
}

#[tokio::test]
async fn what_a_failed_run_has_used_is_told() {
    let usage = json!({"tokensIn": 40, "tokensOut": 2, "cost": "0.5", "byModel": [{"provider": "p", "model": "m", "calls": 1}]});
    let error = json!({"code": "all_providers_failed", "message": "Down.", "details": {"usage": usage}});
    let frame = format!("event: error\ndata: {}\n\n", json!({"type": "error", "error": error}));
    let events = Server::start(200, &[&frame]).await.run(true).await.unwrap();
    let [TurnEvent::Error(streamed)] = &events[..] else { panic!("{events:?}") };
    let refused = Server::start(502, &[&json!({"error": error}).to_string()]).await.run(false).await.unwrap_err();
    for error in [streamed, &refused] {
        let used = error.usage.as_ref().unwrap();
        assert_eq!((used.tokens_in, used.tokens_out, used.cost.to_string().as_str()), (40, 2, "0.5"));
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error() {
    let error = Server::start(200, &["[]"]).await.run(false).await.unwrap_err();
    assert!(error.message.contains("could not be understood"), "{error}");
}

#[tokio::test]
async fn a_pod_that_is_gone_cannot_be_reached() {
    let server = Server::start(200, &["x"]).await;
    let Server { remote, said: _, url: _, token: _, _folder, _task } = server;
    drop(_task);
    tokio::task::yield_now().await;
    let error = remote.start(TurnRequest::default(), RunOptions::default()).await.err().unwrap();
    assert!(error.message.contains("the agent `billing`"), "{error}");
}

#[rstest]
#[case("billing-agent.shop.svc")]
#[case("ftp://billing")]
#[case("mailto:billing@example.com")]
fn only_a_web_address_is_the_address_of_an_agent(#[case] base: &str) {
    assert_eq!(Remote::new(base, "billing", "token").unwrap_err(), RemoteError::Url(base.to_owned()));
}

#[tokio::test]
async fn an_agent_that_cannot_be_reached_yet_is_tried_again() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let remote = Remote::new(&format!("http://{free}"), "billing", "/no/token").unwrap();
    let request = TurnRequest { query: "hi".to_owned(), ..TurnRequest::default() };
    let mut run = Box::pin(remote.start(request, RunOptions::default()));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut run).await.is_err(), "it has given up at once");
    let listener = tokio::net::TcpListener::bind(free).await.unwrap();
    let said = Said { status: 404, location: "/".to_owned(), pieces: Vec::new(), asked: Arc::default() };
    let mut task = JoinSet::new();
    let router = Router::new().fallback(answer).with_state(said.clone());
    task.spawn(async move { axum::serve(listener, router).await.unwrap() });
    assert_ne!(run.await.err().unwrap().code, ErrorCode::Draining);
    assert_eq!(said.asked.lock().unwrap().len(), 1);
}

/// An answer that no run has: each field beyond every bound.
fn lies() -> Value {
    let counts = json!({"calls": u64::MAX, "tokensIn": 1_u64 << 63, "tokensOut": u64::MAX, "tokensCached": u64::MAX,
        "cost": "79000000000000000000000000000"});
    let mut of_model = counts.clone();
    of_model["provider"] = json!("p");
    of_model["model"] = json!("m");
    let mut usage = counts;
    usage["byModel"] = json!(vec![of_model; 100]);
    let step = json!({"type": "tool", "name": "t", "arguments": [0, 0, 0, 0], "result": "r", "ok": true});
    let large = json!({"type": "tool", "name": "large", "arguments": vec![0; 140_000], "result": "r", "ok": true});
    let steps = [vec![large], vec![step; 2000]].concat();
    let attempt = json!({"provider": "p", "model": "m", "outcome": "ok"});
    json!({"type": "done", "answer": "Trust me.", "usage": usage, "steps": steps,
        "attempts": vec![attempt; 2000], "degraded": vec!["x"; 5000], "handoff": {"agent": "shop/x", "note": "n".repeat(100_000)}})
}

#[rstest]
#[case::whole(false)]
#[case::as_events(true)]
#[tokio::test]
async fn what_another_pod_says_of_itself_is_bounded(#[case] streaming: bool) {
    let text = if streaming { format!("data: {}\n\n", lies()) } else { lies().to_string() };
    let events = Server::start(200, &[&text]).await.run(streaming).await.unwrap();
    let [TurnEvent::Done(answer)] = &events[..] else { panic!("{events:?}") };
    let usage = &answer.usage;
    let trillion = 1_000_000_000_000;
    assert_eq!((usage.tokens_in, usage.tokens_out, usage.tokens_cached), (trillion, trillion, trillion));
    assert_eq!((usage.cost.to_string().as_str(), usage.by_model.len()), ("1000000", 64));
    assert_eq!((usage.by_model[0].calls, usage.by_model[0].tokens_in), (trillion, trillion));
    assert_eq!((answer.steps.len(), answer.attempts.len(), answer.degraded.len()), (1024, 1024, 64));
    assert_eq!((&answer.steps[0].arguments, &answer.steps[1].arguments), (&Value::Null, &json!([0, 0, 0, 0])));
    assert_eq!(answer.handoff.as_ref().unwrap().note.as_ref().unwrap().len(), 32_000);
}

#[tokio::test]
async fn a_flood_of_events_is_taken_up_to_a_bound() {
    let step = json!({"type": "step", "stepType": "tool", "name": "t", "ok": true, "result": "x".repeat(10_000)});
    let frames = std::iter::repeat_n(step, 2000).chain([done()]);
    let text: String = frames.map(|frame| format!("data: {frame}\n\n")).collect();
    let events = Server::start(200, &[&text]).await.run(true).await.unwrap();
    assert_eq!(events.len(), 1025);
    let told: usize =
        events.iter().map(|event| if let TurnEvent::Step(step) = event { step.result.len() } else { 0 }).sum();
    assert_eq!(told, 4 * 1024 * 1024);
    assert!(matches!(events.last(), Some(TurnEvent::Done(_))));
}

#[tokio::test]
async fn an_approval_of_a_release_before_this_one_is_known_by_its_call() {
    let required = |more: Value| {
        let mut event =
            json!({"type": "approval_required", "id": "a", "name": "refund", "arguments": {}, "expiresAt": "t"});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        format!("data: {event}\n\n")
    };
    let text = required(json!({})) + &required(json!({"callId": "c"})) + &format!("data: {}\n\n", done());
    let events = Server::start(200, &[&text]).await.run(true).await.unwrap();
    let ids: Vec<_> = events
        .iter()
        .filter_map(|event| {
            if let TurnEvent::ApprovalRequired { id, call_id, .. } = event {
                Some((id.as_str(), call_id.as_str()))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(ids, [("a", "a"), ("a", "c")]);
}

#[tokio::test]
async fn a_redirect_takes_the_token_nowhere() {
    let elsewhere = Server::start(200, &[&done().to_string()]).await;
    let server = Server::at(307, &elsewhere.url, &[""]).await;
    let error = server.run(false).await.unwrap_err();
    assert!(error.message.contains("answered 307"), "{error}");
    assert!(elsewhere.said.asked.lock().unwrap().is_empty());
}
