//! Whole turns through the public interface, with scripted ports and a stopped clock.

use std::time::Duration;

use crate::fixture::{Fixture, ask, content, events, streamed, timeouts};
use agent_pod_core::error::ErrorCode;
use agent_pod_core::event::{Finish, TurnEvent};
use agent_pod_core::message::{Role, ToolCall};
use agent_pod_core::model::{ModelError, ModelErrorKind, ModelEvent};
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel};
use agent_pod_core::usage::Tokens;
use futures::StreamExt as _;
use rstest::rstest;
use serde_json::json;

fn failure(kind: ModelErrorKind, message: &str) -> ModelError {
    ModelError::new(kind, message)
}

fn pieces(texts: &[&str]) -> Result<Vec<Scripted>, ModelError> {
    Ok(texts.iter().map(|text| content(text)).collect())
}

#[tokio::test]
async fn tokens_stream_in_order_and_join_to_the_answer() {
    let model = ScriptedModel::new([Ok(vec![
        content("It "),
        content("arrives."),
        Scripted::Event(ModelEvent::Tokens(Tokens { input: 12, output: 3, cached: 4 })),
    ])]);
    let fixture = Fixture::new([("openai", model)]);
    let seen = events(fixture.agent().start(ask("Where?"), streamed(), ())).await;
    let names: Vec<_> = seen.iter().map(TurnEvent::name).collect();
    assert_eq!(names, ["status", "token", "token", "done"]);
    let TurnEvent::Done(answer) = seen.last().unwrap() else { panic!("{seen:?}") };
    assert_eq!((answer.answer.as_str(), answer.finish), ("It arrives.", Finish::Stop));
    assert_eq!((answer.usage.tokens_in, answer.usage.tokens_out, answer.usage.tokens_cached), (12, 3, 4));
    assert_eq!(answer.attempts[0].outcome, "ok");
    insta::assert_json_snapshot!(answer, {".attempts[].durationMs" => 0, ".attempts[].timeToFirstTokenMs" => 0});
    assert_eq!(fixture.observer.outcomes(), [("ok".to_owned(), 3)]);
}

#[tokio::test]
async fn the_prompt_sees_identity_context_and_today() {
    let model = ScriptedModel::new([ScriptedModel::text("ok")]);
    let fixture = Fixture::new([("openai", model.clone())])
        .prompt("{{ identity.displayName }}|{{ customer }}|{{ today }}|{{ nothing.here }}|{{ query }}");
    let mut request = ask("hi");
    request.context = json!({"customer": "Ada", "identity": "spoofed"}).as_object().unwrap().clone();
    fixture.agent().start(request, RunOptions::default(), ()).answer().await.unwrap();
    assert_eq!(model.requests()[0].messages[0].content, "Support|Ada|2026-01-02||hi");
}

#[rstest]
#[case(ModelErrorKind::Unavailable)]
#[case(ModelErrorKind::RateLimited)]
#[case(ModelErrorKind::Unauthorized)]
#[case(ModelErrorKind::NotFound)]
#[case(ModelErrorKind::Timeout)]
#[case(ModelErrorKind::Malformed)]
#[tokio::test]
async fn a_failed_candidate_is_followed_by_the_next(#[case] kind: ModelErrorKind) {
    let first = ScriptedModel::new([Err(failure(kind, "x"))]);
    let second = ScriptedModel::new([ScriptedModel::text("from the second")]);
    let fixture = Fixture::new([("first", first), ("second", second)]);
    let answer = fixture.agent().start(ask("hi"), RunOptions::default(), ()).answer().await.unwrap();
    assert_eq!(answer.answer, "from the second");
    let outcomes: Vec<_> = answer.attempts.iter().map(|a| (a.provider.as_str(), a.outcome)).collect();
    assert_eq!(outcomes, [("first", kind.as_str()), ("second", "ok")]);
}

#[tokio::test]
async fn a_request_at_fault_is_not_tried_elsewhere() {
    let first = ScriptedModel::new([Err(failure(ModelErrorKind::Rejected, "400: context too long"))]);
    let second = ScriptedModel::new([]);
    let fixture = Fixture::new([("first", first), ("second", second.clone())]);
    let error = fixture.agent().start(ask("hi"), RunOptions::default(), ()).answer().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ProviderRejected);
    assert!(error.message.contains("context too long"));
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn an_empty_answer_is_a_failure_of_the_provider() {
    let first = ScriptedModel::new([Ok(vec![Scripted::Event(ModelEvent::Tokens(Tokens::default()))])]);
    let second = ScriptedModel::new([ScriptedModel::text("something")]);
    let fixture = Fixture::new([("first", first), ("second", second)]);
    let answer = fixture.agent().start(ask("hi"), RunOptions::default(), ()).answer().await.unwrap();
    assert_eq!(answer.attempts[0].outcome, "malformed");
}

#[tokio::test]
async fn a_stream_that_breaks_after_its_first_token_ends_with_an_error_and_no_other_provider() {
    let first = ScriptedModel::new([Ok(vec![
        content("half "),
        Scripted::Broken(failure(ModelErrorKind::Malformed, "stream cut off")),
    ])]);
    let second = ScriptedModel::new([]);
    let fixture = Fixture::new([("first", first), ("second", second.clone())]);
    let seen = events(fixture.agent().start(ask("hi"), streamed(), ())).await;
    let names: Vec<_> = seen.iter().map(TurnEvent::name).collect();
    assert_eq!(names, ["status", "token", "error"]);
    assert!(second.requests().is_empty());
}

#[tokio::test]
async fn when_all_fail_the_error_names_each_and_the_shortest_wait() {
    let mut limited = failure(ModelErrorKind::RateLimited, "429");
    limited.retry_after = Some(Duration::from_millis(11_200));
    let first = ScriptedModel::new([Err(limited)]);
    let second = ScriptedModel::new([Err(failure(ModelErrorKind::Unavailable, "connection refused"))]);
    let fixture = Fixture::new([("openai", first), ("local", second)]);
    let error = fixture.agent().start(ask("hi"), RunOptions::default(), ()).answer().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::AllProvidersFailed);
    assert_eq!(error.message, "Both providers failed: openai (429), local (connection refused). Try again in 12 s.");
    assert_eq!(error.attempts.len(), 2);
    assert!(error.run_id.is_some());
}

#[rstest]
#[case(ModelErrorKind::Unauthorized, ErrorCode::ProviderUnauthorized)]
#[case(ModelErrorKind::NotFound, ErrorCode::ProviderModelNotFound)]
#[tokio::test]
async fn misconfigured_candidates_have_codes_of_their_own(#[case] kind: ModelErrorKind, #[case] code: ErrorCode) {
    let fixture = Fixture::new([("only", ScriptedModel::new([Err(failure(kind, "no"))]))]);
    let error = fixture.agent().start(ask("hi"), RunOptions::default(), ()).answer().await.unwrap_err();
    assert_eq!(error.code, code);
}

#[tokio::test(start_paused = true)]
async fn first_token_bounds_fail_over_but_not_the_last_candidate() {
    let slow = || ScriptedModel::new([Ok(vec![Scripted::Silence])]);
    let fixture = Fixture::new([("first", slow()), ("last", slow())]).timeouts(timeouts(1, 5, 20));
    let started = tokio::time::Instant::now();
    let error = fixture.agent().start(ask("hi"), RunOptions::default(), ()).answer().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::AllProvidersFailed);
    assert_eq!(started.elapsed().as_secs(), 21, "1 s for the first, the whole 20 s for the last");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_is_ended() {
    let model = ScriptedModel::new([Ok(vec![content("a"), Scripted::Silence])]);
    let fixture = Fixture::new([("only", model)]).timeouts(timeouts(1, 5, 60));
    let started = tokio::time::Instant::now();
    let error = fixture.agent().start(ask("hi"), RunOptions::default(), ()).answer().await.unwrap_err();
    assert!(error.message.contains("stalled"), "{}", error.message);
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_shorter_deadline_of_agent_and_caller_holds() {
    let model = ScriptedModel::new([Ok(vec![Scripted::Silence])]);
    let fixture = Fixture::new([("only", model)]).timeouts(timeouts(500, 500, 500));
    let options = RunOptions { timeout: Some(Duration::from_secs(3)), ..RunOptions::default() };
    let started = tokio::time::Instant::now();
    let error = fixture.agent().start(ask("hi"), options, ()).answer().await.unwrap_err();
    assert_eq!((error.code, started.elapsed().as_secs()), (ErrorCode::DeadlineExceeded, 3));
    assert_eq!(fixture.observer.outcomes()[0].0, "deadline_exceeded");
}

#[tokio::test]
async fn a_run_that_is_dropped_is_booked_as_cancelled_and_frees_what_it_held() {
    let model = ScriptedModel::new([Ok(vec![content("a"), Scripted::Silence])]);
    let fixture = Fixture::new([("only", model)]);
    let held = std::sync::Arc::new(());
    let mut run = fixture.agent().start(ask("hi"), streamed(), held.clone());
    run.events.next().await.unwrap();
    assert_eq!(std::sync::Arc::strong_count(&held), 2);
    drop(run);
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
    assert_eq!(fixture.observer.outcomes()[0].0, "cancelled");
}

fn call(id: &str, name: &str) -> Scripted {
    Scripted::Event(ModelEvent::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: json!({"id": 7}) }))
}

#[tokio::test]
async fn react_carries_out_the_calls_of_one_reply_and_keeps_their_order() {
    let model = ScriptedModel::new([
        Ok(vec![call("c1", "upper"), call("c2", "broken"), call("c3", "absent")]),
        pieces(&["Done."]),
    ]);
    let fixture = Fixture::new([("only", model.clone())]).tools();
    let seen = events(fixture.agent().start(ask("hi"), streamed(), ())).await;
    let TurnEvent::Done(answer) = seen.last().unwrap() else { panic!("{seen:?}") };
    let steps: Vec<_> = answer.steps.iter().map(|s| (s.index, s.name.as_str(), s.ok, s.result.as_str())).collect();
    assert_eq!(
        steps,
        [
            (1, "upper", true, r#"{"ID":7}"#),
            (2, "broken", false, "it broke"),
            (3, "absent", false, "there is no tool `absent`")
        ]
    );
    let second = &model.requests()[1];
    let roles: Vec<_> = second.messages.iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Tool, Role::Tool]);
    let ids: Vec<_> = second.messages.iter().filter_map(|m| m.tool_call_id.as_deref()).collect();
    assert_eq!(ids, ["c1", "c2", "c3"]);
    assert_eq!(second.tools.len(), 2);
}

#[tokio::test]
async fn react_asks_for_the_best_answer_when_its_calls_are_used_up() {
    let again = || Ok(vec![call("c", "upper")]);
    let model = ScriptedModel::new([again(), again(), pieces(&["Best guess."])]);
    let fixture = Fixture::new([("only", model.clone())]).tools().iterations(2);
    let answer = fixture.agent().start(ask("hi"), RunOptions::default(), ()).answer().await.unwrap();
    assert_eq!((answer.finish, answer.answer.as_str()), (Finish::StepLimit, "Best guess."));
    assert!(model.requests()[2].tools.is_empty());
}

#[tokio::test]
async fn text_before_a_tool_call_is_part_of_the_answer_as_it_was_streamed() {
    let model = ScriptedModel::new([Ok(vec![content("Let me look."), call("c", "upper")]), pieces(&["It is 7."])]);
    let fixture = Fixture::new([("only", model)]).tools();
    let seen = events(fixture.agent().start(ask("hi"), streamed(), ())).await;
    let joined: String =
        seen.iter().filter_map(|e| if let TurnEvent::Token(t) = e { Some(t.as_str()) } else { None }).collect();
    let TurnEvent::Done(answer) = seen.last().unwrap() else { panic!("{seen:?}") };
    assert_eq!(joined, "Let me look.\n\nIt is 7.");
    assert_eq!(answer.answer, joined);
}
