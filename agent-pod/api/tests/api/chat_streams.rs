use agent_pod_api::router;
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{RunAnswer, TurnEvent};
use agent_pod_core::message::ToolCall;
use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures::StreamExt as _;
use rstest::rstest;
use serde_json::{Value, json};

use crate::client::{call, post, send, state, within};
use crate::fake::{FakeAgents, answer, done, status, token};

fn ask(include_usage: bool) -> Request<Body> {
    let messages = json!([{"role": "user", "content": "Where is order 7?"}]);
    let mut body = json!({"model": "support", "messages": messages, "stream": true});
    if include_usage {
        body["stream_options"] = json!({"include_usage": true});
    }
    post("/v1/chat/completions", body.to_string())
}

fn done_with(answer: RunAnswer) -> TurnEvent {
    TurnEvent::Done(Box::new(answer))
}

fn failed(code: ErrorCode) -> TurnEvent {
    TurnEvent::Error(Box::new(RunError::new(code, "no").in_run("run-1")))
}

fn own_tool() -> [TurnEvent; 2] {
    let (id, name) = ("call_0".to_owned(), "own".to_owned());
    [
        TurnEvent::ToolCall { id: id.clone(), name: name.clone(), arguments: json!({}) },
        TurnEvent::ToolResult { id, name, ok: true, result: "secret".to_owned() },
    ]
}

/// The data of every chunk, one a line, with a time that stands still.
async fn streamed(include_usage: bool, events: impl IntoIterator<Item = TurnEvent>) -> String {
    let agents = FakeAgents::support();
    agents.play(events);
    let answer = call(&agents, ask(include_usage)).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-run-id")), (200, Some("run-1")));
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let data = |frame: &str| {
        let data = frame.strip_prefix("data: ").unwrap_or_else(|| panic!("only data in {frame:?}"));
        let Ok(mut chunk) = serde_json::from_str::<Value>(data) else { return data.to_owned() };
        if let Some(created) = chunk.get_mut("created") {
            *created = json!(0);
        }
        chunk.to_string()
    };
    answer.text.split_terminator("\n\n").map(data).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn tokens_are_chunks_up_to_the_end_mark() {
    let [called, returned] = own_tool();
    let step = TurnEvent::Step(Box::new(answer("").steps.remove(0)));
    let events = [status("s-1"), called, returned, step, token("It "), token("arrives."), done("It arrives.")];
    insta::assert_snapshot!(streamed(false, events).await);
}

#[tokio::test]
async fn the_tokens_used_are_told_last_to_those_who_ask() {
    insta::assert_snapshot!(streamed(true, [token("It "), token("arrives."), done("It arrives.")]).await);
}

#[tokio::test]
async fn calls_of_the_callers_tools_are_chunks_with_their_place() {
    let call = |id: &str, id_of_order: u32| ToolCall {
        id: id.to_owned(),
        name: "get_order".to_owned(),
        arguments: json!({"id": id_of_order}),
    };
    let answer = RunAnswer { client_calls: vec![call("call_1", 7), call("call_2", 8)], ..answer("") };
    insta::assert_snapshot!(streamed(false, [status("s-1"), done_with(answer)]).await);
}

#[tokio::test]
async fn a_failure_on_the_way_is_an_error_without_an_end_mark() {
    let events = [token("It "), failed(ErrorCode::AllProvidersFailed), token("never said")];
    let text = streamed(false, events).await;
    insta::assert_snapshot!(text);
    assert!(!text.contains("[DONE]"));
}

#[rstest]
#[case::blocked_before_a_word(vec![], RunAnswer { blocked: true, ..answer("Not that.") }, "Not that.", "content_filter")]
#[case::blocked_half_way(vec![token("It ")], RunAnswer { blocked: true, ..answer("Not that.") }, "It ", "content_filter")]
#[case::cut_off(vec![token("It ")], RunAnswer { truncated: true, ..answer("It ") }, "It ", "length")]
#[case::nothing_at_all(vec![], answer(""), "", "stop")]
#[tokio::test]
async fn the_last_chunk_tells_why_it_ended(
    #[case] said: Vec<TurnEvent>,
    #[case] end: RunAnswer,
    #[case] content: &str,
    #[case] reason: &str,
) {
    let text = streamed(false, said.into_iter().chain([done_with(end)])).await;
    let (chunks, mark) = text.rsplit_once('\n').unwrap();
    assert_eq!(mark, "[DONE]");
    let chunks: Vec<Value> = chunks.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let joined: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(joined, content);
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], reason);
}

#[tokio::test]
async fn the_head_waits_for_the_first_word() {
    let agents = FakeAgents::support();
    let control = agents.script();
    let mut answer = std::pin::pin!(send(router(state(agents.clone())), ask(false)));
    control.emit(status("s-1"));
    own_tool().into_iter().for_each(|event| control.emit(event));
    control.emit(TurnEvent::Step(Box::new(crate::fake::answer("").steps.remove(0))));
    agents_asked(&agents, &mut answer).await;
    assert!(futures::poll!(&mut answer).is_pending(), "neither status nor own tools nor steps are a word");
    control.emit(token("It "));
    let mut chunks = answer.await.into_body().into_data_stream();
    assert_eq!(next(&mut chunks).await["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
    assert_eq!(next(&mut chunks).await["choices"][0]["delta"], json!({"content": "It "}));
    control.emit(token("arrives."));
    assert_eq!(next(&mut chunks).await["choices"][0]["delta"], json!({"content": "arrives."}));
    drop(chunks);
    control.dropped().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_works_in_silence_has_its_head_within_a_second_and_comments_after() {
    let agents = FakeAgents::support();
    let control = agents.script();
    let began = tokio::time::Instant::now();
    let answer = send(router(state(agents.clone())), ask(false)).await;
    assert_eq!((answer.status().as_u16(), began.elapsed().as_secs()), (200, 1));
    assert_eq!(answer.headers()["x-run-id"], "run-1");
    let mut chunks = answer.into_body().into_data_stream();
    let comment = chunks.next().await.unwrap().unwrap();
    assert!(comment.starts_with(b":") && began.elapsed().as_secs() <= 16, "{comment:?} after {:?}", began.elapsed());
    control.emit(token("It "));
    assert_eq!(next(&mut chunks).await["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(next(&mut chunks).await["choices"][0]["delta"]["content"], "It ");
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_the_head_is_told_in_the_stream() {
    let agents = FakeAgents::support();
    let control = agents.script();
    let answer = send(router(state(agents.clone())), ask(false)).await;
    assert_eq!(answer.status(), 200);
    control.emit(failed(ErrorCode::AllProvidersFailed));
    let mut chunks = answer.into_body().into_data_stream();
    assert_eq!(next(&mut chunks).await["error"]["code"], "all_providers_failed");
    assert!(chunks.next().await.is_none(), "no end mark follows");
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_first_word_takes_the_run_along() {
    let agents = FakeAgents::support();
    let control = agents.script();
    {
        let mut answer = std::pin::pin!(send(router(state(agents.clone())), ask(false)));
        agents_asked(&agents, &mut answer).await;
    }
    control.dropped().await;
}

#[tokio::test]
async fn a_run_that_breaks_off_before_a_word_is_500() {
    let agents = FakeAgents::support();
    agents.script().break_off();
    let answer = call(&agents, ask(false)).await;
    assert_eq!(answer.failure(), (500, "internal".to_owned()));
    assert_eq!(answer.json()["error"]["type"], "api_error");
}

/// Drives the answer until the run has been asked for.
async fn agents_asked(agents: &FakeAgents, answer: &mut (impl Future + Unpin)) {
    within(async {
        while agents.starts().is_empty() {
            assert!(futures::poll!(&mut *answer).is_pending());
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn next(chunks: &mut BodyDataStream) -> Value {
    let frame = within(chunks.next()).await.expect("the stream goes on").unwrap();
    let text = std::str::from_utf8(&frame).unwrap();
    serde_json::from_str(text.strip_prefix("data: ").unwrap().trim_end()).unwrap()
}
