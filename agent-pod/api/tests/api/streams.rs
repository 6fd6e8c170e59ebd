use agent_pod_api::router;
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::TurnEvent;
use axum::body::BodyDataStream;
use axum::http::Request;
use futures::StreamExt as _;
use rstest::rstest;
use serde_json::{Value, json};

use crate::client::{call, post, send, state, with_header, within};
use crate::fake::{FakeAgents, answer, done, status, token};

const RUN: &str = "/v1/agents/support/run";

fn streaming() -> Request<axum::body::Body> {
    post(RUN, r#"{"query": "q", "stream": true}"#)
}

/// `(id, event, data)` of one server-sent event.
fn parse(frame: &str) -> (u64, String, Value) {
    let field = |name: &str| {
        let mut values = frame.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        values.next().unwrap_or_else(|| panic!("no {name} in {frame:?}")).trim_start().to_owned()
    };
    (field("id").parse().unwrap(), field("event"), serde_json::from_str(&field("data")).unwrap())
}

async fn next(events: &mut BodyDataStream) -> (u64, String, Value) {
    let frame = within(events.next()).await.expect("the stream goes on").unwrap();
    parse(std::str::from_utf8(&frame).unwrap())
}

#[rstest]
#[case::by_body(streaming())]
#[case::by_accept(with_header(post(RUN, r#"{"query": "q"}"#), "accept", "application/json, Text/Event-Stream;q=0.9"))]
#[tokio::test]
async fn a_stream_is_asked_for_by_body_or_by_accept(#[case] request: Request<axum::body::Body>) {
    let agents = FakeAgents::support();
    agents.play([done("ok")]);
    let answer = call(&agents, request).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    assert_eq!(answer.header("x-run-id"), Some("run-1"));
}

#[tokio::test]
async fn events_are_framed_with_their_type_and_count_up() {
    let agents = FakeAgents::support();
    let call_id = "call_1".to_owned();
    let name = "get_order".to_owned();
    agents.play([
        status("s-1"),
        TurnEvent::ToolCall { id: call_id.clone(), name: name.clone(), arguments: json!({"id": 7}) },
        TurnEvent::ToolResult { id: call_id, name, ok: true, result: "shipped".to_owned() },
        token("It\narrives."),
        done("It\narrives."),
    ]);
    let answered = call(&agents, streaming()).await;
    let events: Vec<_> = answered.text.split_terminator("\n\n").map(parse).collect();
    let names: Vec<_> =
        events.iter().map(|(id, name, data)| (*id, name.as_str(), data["type"].as_str().unwrap())).collect();
    let expected = ["status", "tool_call", "tool_result", "token", "done"];
    assert_eq!(names, expected.iter().zip(1_u64..).map(|(name, id)| (id, *name, *name)).collect::<Vec<_>>());
    assert_eq!(events[3].2, json!({"type": "token", "content": "It\narrives."}));
    let mut last = serde_json::to_value(answer("It\narrives.")).unwrap();
    last["type"] = json!("done");
    assert_eq!(events[4].2, last);
}

#[tokio::test]
async fn tokens_go_out_as_they_are_made() {
    let agents = FakeAgents::support();
    let control = agents.script();
    let response = send(router(state(agents)), streaming()).await;
    let mut events = response.into_body().into_data_stream();
    for content in ["It ", "arrives ", "on Friday."] {
        control.emit(token(content));
        assert_eq!(next(&mut events).await.2["content"], content);
    }
    control.emit(done("It arrives on Friday."));
    assert_eq!(next(&mut events).await.1, "done");
    assert!(within(events.next()).await.is_none(), "nothing comes after done");
}

#[tokio::test]
async fn a_run_that_is_refused_is_a_plain_answer() {
    let agents = FakeAgents::support();
    agents.refuse(RunError::new(ErrorCode::Overloaded, "too much"));
    assert_eq!(call(&agents, streaming()).await.failure(), (429, "overloaded".to_owned()));
}

#[tokio::test]
async fn a_run_that_fails_ends_with_one_error_event() {
    let agents = FakeAgents::support();
    let error = RunError::new(ErrorCode::AllProvidersFailed, "all failed").in_run("run-1");
    agents.play([token("It "), TurnEvent::Error(Box::new(error)), token("never said")]);
    let answer = call(&agents, streaming()).await;
    assert_eq!(answer.status, 200);
    let events: Vec<_> = answer.text.split_terminator("\n\n").map(parse).collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].2["error"]["code"], "all_providers_failed");
    assert_eq!(events[1].2["error"]["runId"], "run-1");
}

#[tokio::test]
async fn a_run_that_breaks_off_ends_with_an_error_event() {
    let agents = FakeAgents::support();
    agents.play([token("It ")]);
    let answer = call(&agents, streaming()).await;
    let (id, name, data) = parse(answer.text.split_terminator("\n\n").last().unwrap());
    assert_eq!((id, name.as_str(), &data["error"]["code"]), (2, "error", &json!("internal")));
}

#[tokio::test]
async fn a_reader_that_leaves_takes_its_run_along() {
    let agents = FakeAgents::support();
    let control = agents.script();
    let response = send(router(state(agents)), streaming()).await;
    let mut events = response.into_body().into_data_stream();
    control.emit(token("It "));
    next(&mut events).await;
    drop(events);
    control.dropped().await;
}
