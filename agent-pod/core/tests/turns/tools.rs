//! Tools within whole turns: what the model is told, what it may call, and how long that may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_pod_core::access::Caller;
use agent_pod_core::agent::{ToolRequest, Turn};
use agent_pod_core::error::ErrorCode;
use agent_pod_core::event::{RunAnswer, Step, TurnEvent, TurnRequest};
use agent_pod_core::message::ToolCall;
use agent_pod_core::model::{ModelError, ModelEvent};
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel};
use agent_pod_core::tool::{
    ApprovalSettings, Arguments, Decision, DeskError, Limits, Permissions, RateLimit, Registered, Ruling, Tool,
    ToolError, ToolKind, ToolSet, ToolSpec,
};
use async_trait::async_trait;
use futures::StreamExt as _;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixture::{Fixture, ask, content, streamed};

/// What a test tool does.
#[derive(Clone, Copy)]
enum Does {
    Answers(&'static str),
    AnswersMuch(usize),
    Breaks,
    Refuses,
    Hangs,
    TakesSeconds(u64),
}

struct Scene {
    does: Does,
    calls: Arc<AtomicUsize>,
}

#[async_trait]
impl Tool for Scene {
    fn spec(&self) -> ToolSpec {
        let parameters = json!({
            "type": "object",
            "properties": {"id": {"type": "integer", "minimum": 1}},
            "required": ["id"],
            "additionalProperties": false,
        });
        ToolSpec { name: "get_order".into(), description: "Looks an order up.".into(), parameters }
    }

    async fn call(&self, _: &Value, _: &Turn<'_>) -> Result<String, ToolError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.does {
            Does::Answers(text) => Ok(text.to_owned()),
            Does::AnswersMuch(bytes) => Ok("x".repeat(bytes)),
            Does::Breaks => Err(ToolError::broken("the service is down")),
            Does::Refuses => Err(ToolError::refused("there is no such order")),
            Does::Hangs => std::future::pending().await,
            Does::TakesSeconds(seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok("late".to_owned())
            }
        }
    }
}

fn registered(does: Does, calls: &Arc<AtomicUsize>) -> Registered {
    let port = Arc::new(Scene { does, calls: Arc::clone(calls) });
    let spec = port.spec();
    Registered {
        arguments: Arguments::compile(&spec.parameters).unwrap(),
        spec,
        kind: ToolKind::Webhook,
        rate: None,
        timeout: Duration::from_secs(30),
        approval: None,
        port: Some(port),
        state: Arc::default(),
    }
}

fn set(tools: impl IntoIterator<Item = Registered>) -> ToolSet {
    ToolSet::configured(tools.into_iter().map(Arc::new), Permissions::default(), Limits::default())
}

type Reply = Result<Vec<Scripted>, ModelError>;

fn calls(calls: &[(&str, &str, Value)]) -> Reply {
    let call = |(id, name, arguments): &(&str, &str, Value)| {
        let call = ToolCall { id: (*id).to_owned(), name: (*name).to_owned(), arguments: arguments.clone() };
        Scripted::Event(ModelEvent::ToolCall(call))
    };
    Ok(calls.iter().map(call).collect())
}

fn order(id: &str) -> (&str, &'static str, Value) {
    (id, "get_order", json!({"id": 7}))
}

async fn run(tools: ToolSet, script: Vec<Reply>) -> (RunAnswer, Arc<ScriptedModel>) {
    let model = ScriptedModel::new(script);
    let fixture = Fixture::new([("openai", model.clone())]).tool_set(tools);
    let answer = fixture.agent().start(ask("Where?"), RunOptions::default(), ()).answer().await.unwrap();
    (answer, model)
}

fn done() -> Reply {
    ScriptedModel::text("Done.")
}

#[tokio::test(start_paused = true)]
async fn a_call_and_its_result_reach_the_model_and_the_answer() {
    let count = Arc::default();
    let tools = set([registered(Does::Answers("on its way"), &count)]);
    let (answer, model) = run(tools, vec![calls(&[order("c1")]), done()]).await;
    let requests = model.requests();
    insta::assert_yaml_snapshot!(
        requests[0].tools.iter().map(|tool| (&tool.name, &tool.description, &tool.parameters)).collect::<Vec<_>>()
    );
    insta::assert_yaml_snapshot!(requests[1].messages);
    insta::assert_json_snapshot!(answer.steps);
}

#[rstest]
#[case::missing(json!({}), "\"id\" is a required property")]
#[case::of_another_type(json!({"id": "seven"}), "/id")]
#[case::no_json(json!("{\"id\": "), "is not of type \"object\"")]
#[tokio::test(start_paused = true)]
async fn arguments_that_break_the_schema_come_back_as_the_result(#[case] arguments: Value, #[case] said: &str) {
    let count = Arc::default();
    let tools = set([registered(Does::Answers("x"), &count)]);
    let (answer, model) = run(tools, vec![calls(&[("c1", "get_order", arguments)]), done()]).await;
    let requests = model.requests();
    let result = &requests[1].messages.last().unwrap().content;
    assert!(result.contains("do not match the tool's schema") && result.contains(said), "{result}");
    assert!(!answer.steps[0].ok);
    assert_eq!(count.load(Ordering::SeqCst), 0, "it was called");
}

#[tokio::test(start_paused = true)]
async fn a_denied_tool_is_neither_shown_nor_called() {
    let count = Arc::default();
    let tool = Arc::new(registered(Does::Answers("x"), &count));
    let permissions = Permissions { allow: vec!["*".into()], deny: vec!["get_*".into()] };
    let tools = ToolSet::configured([tool], permissions, Limits::default());
    let (answer, model) = run(tools, vec![calls(&[order("c1")]), done()]).await;
    assert!(model.requests()[0].tools.is_empty());
    assert_eq!(answer.steps[0].result, "the agent may not use the tool `get_order`");
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_calls_too_often_is_told_when_it_may_again() {
    let count = Arc::default();
    let rate = Some(RateLimit { window: Duration::from_secs(60), calls_max: 1 });
    let tools = set([Registered { rate, ..registered(Does::Answers("x"), &count) }]);
    let (answer, _) = run(tools, vec![calls(&[order("c1"), order("c2")]), done()]).await;
    assert!(answer.steps[0].ok);
    assert_eq!(answer.steps[1].result, "the rate limit of the tool `get_order` is used up; call it again in 60 s");
}

fn caller(service_account: &str) -> Option<Caller> {
    Some(Caller { namespace: "shop".to_owned(), service_account: service_account.to_owned() })
}

#[rstest]
#[case::one_caller(&[(None, caller("ada")), (None, caller("ada"))], &[true, false])]
#[case::two_callers(&[(None, caller("ada")), (None, caller("bob"))], &[true, true])]
#[case::nobody_known(&[(None, None), (None, None)], &[true, false])]
#[case::a_session_of_its_own(&[(None, caller("ada")), (Some("s"), caller("ada")), (Some("s"), caller("bob"))], &[true, true, false])]
#[case::a_session_named_like_a_caller(&[(None, caller("ada")), (Some("caller:shop/ada"), None)], &[true, true])]
#[tokio::test(start_paused = true)]
async fn without_a_session_the_calls_of_a_caller_count(
    #[case] asked: &[(Option<&str>, Option<Caller>)],
    #[case] expected: &[bool],
    #[values(true, false)] in_runs: bool,
) {
    let count = Arc::default();
    let rate = Some(RateLimit { window: Duration::from_secs(60), calls_max: 1 });
    let tools = set([Registered { rate, ..registered(Does::Answers("x"), &count) }]);
    let model = ScriptedModel::new(asked.iter().flat_map(|_| [calls(&[order("c1")]), done()]));
    let agent = Fixture::new([("openai", model)]).tool_set(tools).agent();
    for ((session, caller), expected) in asked.iter().zip(expected) {
        let session_id = session.map(ToOwned::to_owned);
        let options = RunOptions { caller: caller.clone(), ..RunOptions::default() };
        let ok = if in_runs {
            let request = TurnRequest { session_id, ..ask("Where?") };
            Arc::clone(&agent).start(request, options, ()).answer().await.unwrap().steps[0].ok
        } else {
            let (tool, arguments) = ("get_order".to_owned(), json!({"id": 7}));
            match agent.execute(ToolRequest { tool, arguments, session_id }, options).await {
                Ok(executed) => executed.outcome.ok,
                Err(error) => {
                    assert_eq!(error.code, ErrorCode::RateLimited);
                    false
                }
            }
        };
        assert_eq!(ok, *expected, "{session:?} {caller:?}");
    }
}

#[rstest]
#[case::hangs(Does::Hangs, "did not answer within 30s")]
#[case::breaks(Does::Breaks, "the service is down")]
#[case::refuses(Does::Refuses, "there is no such order")]
#[tokio::test(start_paused = true)]
async fn a_failure_is_a_result_that_the_model_can_react_to(#[case] does: Does, #[case] said: &str) {
    let count = Arc::default();
    let (answer, model) = run(set([registered(does, &count)]), vec![calls(&[order("c1")]), done()]).await;
    assert_eq!(answer.answer, "Done.");
    assert!(!answer.steps[0].ok && answer.steps[0].result.contains(said), "{:?}", answer.steps[0]);
    assert_eq!(model.requests()[1].messages.last().unwrap().content, answer.steps[0].result);
}

#[rstest]
#[case::hangs(Does::Hangs, json!({"id": 7}), &["get_order"])]
#[case::breaks(Does::Breaks, json!({"id": 7}), &["get_order"])]
#[case::refuses(Does::Refuses, json!({"id": 7}), &[])]
#[case::was_asked_wrongly(Does::Answers("x"), json!({"id": "seven"}), &[])]
#[case::works(Does::Answers("x"), json!({"id": 7}), &[])]
#[tokio::test(start_paused = true)]
async fn a_tool_that_does_not_work_is_named_once_as_missing(
    #[case] does: Does,
    #[case] arguments: Value,
    #[case] degraded: &[&str],
) {
    let count = Arc::default();
    let twice = [("c1", "get_order", arguments.clone()), ("c2", "get_order", arguments)];
    let (answer, _) = run(set([registered(does, &count)]), vec![calls(&twice), done()]).await;
    assert_eq!(answer.degraded, degraded);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_is_left_alone_is_missing_too() {
    let count = Arc::default();
    let model =
        ScriptedModel::new([calls(&[order("c1"), order("c2"), order("c3")]), done(), calls(&[order("c1")]), done()]);
    let agent = Fixture::new([("openai", model)]).tool_set(set([registered(Does::Breaks, &count)])).agent();
    for _ in 0..2 {
        let answer = Arc::clone(&agent).start(ask("Where?"), RunOptions::default(), ()).answer().await.unwrap();
        assert_eq!(answer.degraded, ["get_order"]);
    }
    assert_eq!(count.load(Ordering::SeqCst), 3, "the last call is not made");
}

#[tokio::test(start_paused = true)]
async fn a_denied_call_is_no_missing_tool() {
    let count = Arc::default();
    let (answer, _) = run(guarded(&count), vec![calls(&[order("c1")]), done()]).await;
    assert_eq!((answer.steps.last().unwrap().ok, answer.degraded.len()), (false, 0));
}

#[tokio::test(start_paused = true)]
async fn ten_megabytes_are_cut_to_the_budget() {
    let count = Arc::default();
    let tools = set([registered(Does::AnswersMuch(10_000_000), &count)]);
    let (answer, _) = run(tools, vec![calls(&[order("c1")]), done()]).await;
    let step = &answer.steps[0];
    assert!(step.ok && step.truncated && step.result.chars().count() <= 32_000, "{}", step.result.len());
    assert!(step.result.ends_with("more characters]"));
}

#[rstest]
#[case::broken(Does::Breaks, 3)]
#[case::refusing(Does::Refuses, 5)]
#[tokio::test(start_paused = true)]
async fn a_dead_tool_is_left_alone_after_three_failures(#[case] does: Does, #[case] called: usize) {
    let count = Arc::default();
    let script = (0..5).map(|_| calls(&[order("c1")])).chain([done()]).collect();
    let (answer, _) = run(set([registered(does, &count)]), script).await;
    assert_eq!(count.load(Ordering::SeqCst), called);
    let told = answer.steps[4].result.contains("has failed too often and is left alone for another 60 s");
    assert_eq!(told, called == 3, "{}", answer.steps[4].result);
}

#[rstest]
#[case(16, 3)]
#[case(1, 6)]
#[tokio::test(start_paused = true)]
async fn calls_of_one_reply_go_on_at_once_unless_told_otherwise(#[case] parallel_max: usize, #[case] seconds: u64) {
    let count = Arc::default();
    let slow = registered(Does::TakesSeconds(3), &count);
    let quick = registered(Does::TakesSeconds(3), &count);
    let quick = Registered { spec: ToolSpec { name: "other".into(), ..quick.spec }, ..quick };
    let limits = Limits { parallel_max, ..Limits::default() };
    let tools = ToolSet::configured([slow, quick].map(Arc::new), Permissions::default(), limits);
    let started = tokio::time::Instant::now();
    let both = calls(&[order("c1"), ("c2", "other", json!({"id": 1}))]);
    let (answer, _) = run(tools, vec![both, done()]).await;
    assert_eq!(started.elapsed().as_secs(), seconds);
    assert_eq!(names(&answer.steps), ["get_order", "other"]);
}

fn names(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|step| step.name.as_str()).collect()
}

fn guarded(count: &Arc<AtomicUsize>) -> ToolSet {
    let approval = Some(ApprovalSettings { timeout: Duration::from_secs(20) });
    set([Registered { approval, ..registered(Does::Answers("refunded"), count) }])
}

#[rstest]
#[case::approved(Some(Decision::Approve), true, "refunded", "approve", Some("system:serviceaccount:shop:ada"))]
#[case::denied(
    Some(Decision::Deny),
    false,
    "the call was not approved: too much",
    "deny",
    Some("system:serviceaccount:shop:ada")
)]
#[case::undecided(None, false, "the call was not approved: nobody decided in time", "deny", None)]
#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_person(
    #[case] decision: Option<Decision>,
    #[case] ok: bool,
    #[case] result: &str,
    #[case] recorded: &str,
    #[case] by: Option<&str>,
) {
    let count = Arc::default();
    let model = ScriptedModel::new([calls(&[order("c1")]), done()]);
    let agent = Fixture::new([("openai", model)]).tool_set(guarded(&count)).agent();
    let mut run = agent.start(ask("Refund."), streamed(), ());
    let mut seen = Vec::new();
    while let Some(event) = run.events.next().await {
        seen.push(event.name());
        if let TurnEvent::ApprovalRequired { id, call_id, name, expires_at, .. } = &event {
            assert_eq!(
                (call_id.as_str(), name.as_str(), expires_at.as_str()),
                ("c1", "get_order", "2026-01-02T03:04:25.000Z")
            );
            let guessed = Ruling { decision: Decision::Approve, reason: None, by: "anybody".to_owned() };
            assert_eq!(run.desk.decide(call_id, guessed), Err(DeskError::Unknown), "the model's id approves nothing");
            assert_eq!(count.load(Ordering::SeqCst), 0, "it did not wait");
            if let Some(decision) = decision {
                let by = "system:serviceaccount:shop:ada".to_owned();
                let reason = (decision == Decision::Deny).then(|| "too much".to_owned());
                run.desk.decide(id, Ruling { decision, reason, by }).unwrap();
            }
        }
        if let TurnEvent::Done(answer) = event {
            let [approval, tool] = answer.steps.as_slice() else { panic!("{:?}", answer.steps) };
            assert_eq!((approval.step_type, approval.ok), ("approval", ok));
            let record = approval.approval.as_ref().unwrap();
            assert_eq!((record.decision, record.by.as_deref()), (recorded, by));
            assert_eq!((tool.ok, tool.result.as_str()), (ok, result));
        }
    }
    assert_eq!(seen, ["status", "tool_call", "approval_required", "tool_result", "token", "done"]);
    assert_eq!(count.load(Ordering::SeqCst), usize::from(ok));
}

fn client() -> ToolSet {
    let count = Arc::default();
    set([Registered { port: None, kind: ToolKind::Client, ..registered(Does::Hangs, &count) }])
}

#[rstest]
#[case::gives(Some(Ok("shown".to_owned())), true, "shown")]
#[case::fails(Some(Err("no screen".to_owned())), false, "no screen")]
#[case::silent(None, false, "the caller did not carry out `get_order` within 30s")]
#[tokio::test(start_paused = true)]
async fn the_caller_carries_out_client_tools(
    #[case] given: Option<Result<String, String>>,
    #[case] ok: bool,
    #[case] result: &str,
) {
    let model = ScriptedModel::new([calls(&[order("c1")]), done()]);
    let agent = Fixture::new([("openai", model)]).tool_set(client()).agent();
    let mut run = agent.start(ask("Show."), RunOptions { attended: true, ..streamed() }, ());
    let mut answer = None;
    while let Some(event) = run.events.next().await {
        match event {
            TurnEvent::ToolCall { id, .. } => given.iter().for_each(|given| run.desk.give(&id, given.clone()).unwrap()),
            TurnEvent::Done(done) => answer = Some(done),
            TurnEvent::Status(_)
            | TurnEvent::Token(_)
            | TurnEvent::ToolResult { .. }
            | TurnEvent::ApprovalRequired { .. }
            | TurnEvent::Step(_)
            | TurnEvent::Error(_) => {}
        }
    }
    let step = &answer.unwrap().steps[0];
    assert_eq!((step.ok, step.result.as_str()), (ok, result));
}

#[tokio::test(start_paused = true)]
async fn a_client_tool_without_a_client_fails_in_words() {
    let (answer, _) = run(client(), vec![calls(&[order("c1")]), done()]).await;
    assert!(!answer.steps[0].ok && answer.steps[0].result.contains("over a WebSocket"), "{:?}", answer.steps);
}

#[tokio::test(start_paused = true)]
async fn text_that_is_summarized_is_no_part_of_the_answer() {
    let tools = ToolSet::new([Arc::new(agent_pod_core::tool::internal::TextSummarize) as Arc<dyn Tool>]);
    let call = calls(&[("c1", "text_summarize", json!({"text": "long"}))]);
    let model = ScriptedModel::new([call, Ok(vec![content("short")]), done()]);
    let fixture = Fixture::new([("openai", model.clone())]).tool_set(tools);
    let run = fixture.agent().start(ask("Sum up."), streamed(), ());
    let tokens: Vec<_> = run.events.collect::<Vec<_>>().await;
    let said: String = tokens
        .iter()
        .filter_map(|event| if let TurnEvent::Token(text) = event { Some(text.as_str()) } else { None })
        .collect();
    assert_eq!(said, "Done.");
    assert_eq!(model.requests()[2].messages.last().unwrap().content, "short");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_dropped_stops_its_tools_and_approvals() {
    let count = Arc::default();
    let model = ScriptedModel::new([calls(&[order("c1")])]);
    let agent = Fixture::new([("openai", model)]).tool_set(guarded(&count)).agent();
    let mut asked = String::new();
    let mut run = agent.start(ask("Refund."), streamed(), ());
    while let Some(event) = run.events.next().await {
        if let TurnEvent::ApprovalRequired { id, .. } = event {
            asked = id;
            break;
        }
    }
    let desk = Arc::clone(&run.desk);
    drop(run);
    let ruling = Ruling { decision: Decision::Approve, reason: None, by: "late".to_owned() };
    assert_eq!(desk.decide(&asked, ruling), Err(DeskError::Over));
    assert_eq!(count.load(Ordering::SeqCst), 0);
}
