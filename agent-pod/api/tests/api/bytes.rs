//! What callers make a pod hold, drawn on its pool of bytes.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_api::{ApiState, router};
use agent_pod_core::access::AccessPolicy;
use agent_pod_core::byte_pool::{BytePool, ByteReservation, Priority};
use agent_pod_core::service::AgentHandle;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures::future::{join, join_all};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _, stream};
use rstest::rstest;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tower::ServiceExt as _;

use crate::client::{Server, ask, post, state, with_header, within};
use crate::fake::{FakeAgents, agent, done, status};

const RUN: &str = "/v1/agents/support/run";
const CHAT: &str = "/v1/chat/completions";
const TOOLS: &str = "/v1/tools/execute";
const MIB: usize = 1024 * 1024;

/// A pod of this pool whose agent takes bodies of 10 MiB.
fn pod(mebibytes: usize) -> (Arc<FakeAgents>, ApiState) {
    let agents = FakeAgents::new([AgentHandle { body_bytes_max: 10 * MIB, ..agent("support", AccessPolicy::Open) }]);
    let state = ApiState { pool: BytePool::new(mebibytes * MIB), ..state(agents.clone()) };
    (agents, state)
}

fn everything(pool: &BytePool, priority: Priority) -> ByteReservation {
    let mut held = pool.reservation();
    held.try_grow(pool.most(priority), priority).unwrap();
    held
}

fn question(length: usize) -> String {
    json!({"query": "q".repeat(length)}).to_string()
}

/// `{"context": {"a": [0,0,…]}}` and what else this door wants, about so many bytes long.
fn zeros(door: &str, bytes: usize) -> String {
    let zeros = format!("[{}0]", "0,".repeat(bytes / 2));
    match door {
        RUN => format!(r#"{{"query": "q", "context": {{"a": {zeros}}}}}"#),
        CHAT => {
            format!(r#"{{"model": "support", "messages": [{{"role": "user", "content": "q"}}], "metadata": {zeros}}}"#)
        }
        _ => format!(r#"{{"agent": "support", "tool": "t", "arguments": {{"a": {zeros}}}}}"#),
    }
}

#[rstest]
#[case::run(RUN)]
#[case::chat(CHAT)]
#[case::tool(TOOLS)]
#[tokio::test]
async fn what_would_not_fit_once_it_is_parsed_is_413(#[case] door: &str) {
    let (agents, state) = pod(64);
    let answer = ask(router(state.clone()), post(door, zeros(door, 2 * MIB))).await;
    let error = answer.json()["error"].clone();
    assert_eq!((answer.status.as_u16(), &error["code"]), (413, &json!("body_too_large")));
    assert!(error["message"].as_str().unwrap().contains("bytes of memory"), "{error}");
    let keyed = with_header(post(door, zeros(door, 2 * MIB)), "idempotency-key", "k");
    assert_eq!(ask(router(state.clone()), keyed).await.status, 413);
    assert!(agents.starts().is_empty());
    assert_eq!(state.pool.report().used, 0);
}

#[tokio::test]
async fn json_within_a_text_is_weighed_too() {
    let (agents, state) = pod(64);
    let arguments = format!("[{}0]", "0,".repeat(MIB));
    let call = json!({"id": "c", "type": "function", "function": {"name": "t", "arguments": arguments}});
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]}]);
    let body = json!({"model": "support", "messages": messages}).to_string();
    assert_eq!(ask(router(state.clone()), post(CHAT, body)).await.status, 413);
    assert!(agents.starts().is_empty());
}

#[tokio::test]
async fn a_run_holds_its_bytes_until_it_has_ended() {
    let (agents, state) = pod(64);
    agents.play([status("s"), done("ok")]);
    assert_eq!(ask(router(state.clone()), post(RUN, question(MIB))).await.status, 200);
    let (_, _, options) = agents.starts().remove(0);
    assert!((3 * MIB..5 * MIB).contains(&options.bytes.held()), "{}", options.bytes.held());
    drop(options);
    drop(agents);
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_memory_waits_as_long_as_for_a_place_and_is_429() {
    let (agents, state) = pod(64);
    let held = everything(&state.pool, Priority::SmallCall);
    for body in [question(MIB), question(10)] {
        let answer = ask(router(state.clone()), post(RUN, body)).await;
        assert_eq!(answer.failure(), (429, "overloaded".to_owned()));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    let mut waiting = ask(router(state.clone()), post(RUN, question(MIB))).boxed();
    assert!((&mut waiting).now_or_never().is_none());
    drop(held);
    agents.play([done("ok")]);
    assert_eq!(waiting.await.status, 200);
}

#[tokio::test]
async fn small_calls_get_through_where_large_ones_wait() {
    let (agents, state) = pod(64);
    let _held = everything(&state.pool, Priority::Call);
    agents.play([done("ok")]);
    assert_eq!(ask(router(state.clone()), post(RUN, question(1000))).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_whole_is_408() {
    let (_agents, state) = pod(64);
    let never = Body::from_stream(stream::iter([Ok::<_, std::io::Error>(b"{".to_vec())]).chain(stream::pending()));
    let response = router(state.clone()).oneshot(post(RUN, never)).await.unwrap();
    assert_eq!(response.status(), 408);
    let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), MIB).await.unwrap()).unwrap();
    assert_eq!((&body["error"]["code"], &body["error"]["retryable"]), (&json!("request_timeout"), &json!(true)));
    assert_eq!(state.pool.report().used, 0);
}

/// Of which all but the end comes.
fn withheld(bytes: usize) -> Request<Body> {
    let begun = stream::iter([Ok::<_, std::io::Error>(vec![b' '; bytes - 1])]).chain(stream::pending());
    with_header(post(RUN, Body::from_stream(begun)), "content-length", &bytes.to_string())
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_withheld_make_way_for_one_that_comes() {
    let (agents, state) = pod(64);
    let mut stalling: Vec<_> = (0..10).map(|_| router(state.clone()).oneshot(withheld(10 * MIB)).boxed()).collect();
    assert!(stalling.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
    assert!(state.pool.report().used <= 32 * MIB);
    agents.play([done("ok")]);
    let asked = router(state.clone()).oneshot(post(RUN, question(MIB)));
    let (answer, stalled) = join(asked, join_all(stalling)).await;
    let answer = answer.unwrap();
    assert!([200, 429].contains(&answer.status().as_u16()), "{}", answer.status());
    let ends: Vec<_> = stalled.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
    assert!(ends.iter().all(|status| [408, 429].contains(status)), "{ends:?}");
    assert!(ends.contains(&408), "{ends:?}");
    assert_eq!(state.pool.report().used, 0);
}

#[tokio::test]
async fn a_message_that_is_not_whole_is_drawn_as_it_comes() {
    let (agents, state) = pod(64);
    let server = Server::start(state.clone()).await;
    let mut client = server.socket("/v1/ws/agent/support").await;
    let beginning = format!("{{\"query\": \"{}", "q".repeat(4 * MIB));
    let frame = Frame::message(beginning, OpCode::Data(Data::Text), false);
    client.0.send(Message::Frame(frame)).await.unwrap();
    within(async {
        while state.pool.report().used < 4 * MIB {
            tokio::task::yield_now().await;
        }
    })
    .await;
    agents.play([status("s"), done("ok")]);
    client.0.send(Message::Frame(Frame::message("\"}", OpCode::Data(Data::Continue), true))).await.unwrap();
    assert_eq!(client.hear().await["type"], "status");
    assert_eq!(client.hear().await["type"], "done");
}

#[tokio::test]
async fn a_message_for_which_there_is_no_memory_closes_its_socket() {
    let (_agents, state) = pod(64);
    let agents = FakeAgents::new([AgentHandle {
        body_bytes_max: 10 * MIB,
        queue_timeout: Duration::from_millis(10),
        ..agent("support", AccessPolicy::Open)
    }]);
    let state = ApiState { agents, ..state };
    let _held = everything(&state.pool, Priority::SmallCall);
    let server = Server::start(state.clone()).await;
    let mut client = server.socket("/v1/ws/agent/support").await;
    client.say(question(MIB)).await;
    assert_eq!(client.hear_close().await, 1013);
}

#[tokio::test]
async fn a_message_that_would_not_fit_once_it_is_parsed_is_an_error() {
    let (_agents, state) = pod(64);
    let server = Server::start(state.clone()).await;
    let mut client = server.socket("/v1/ws/agent/support").await;
    client.say(zeros(RUN, 2 * MIB)).await;
    assert_eq!(client.hear().await["error"]["code"], "body_too_large");
}
