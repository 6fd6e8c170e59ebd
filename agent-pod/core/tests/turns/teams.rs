//! Agents that have other agents work, through the public interface.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::agent::Agent;
use agent_pod_core::event::{Finish, RunAnswer, TurnEvent};
use agent_pod_core::guardrail::{Action, CheckSettings, Rule, RuleSettings};
use agent_pod_core::pattern::Pattern;
use agent_pod_core::peer::DEPTH_MAX;
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel};
use agent_pod_core::tool::{Decision, Ruling};
use futures::StreamExt as _;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixture::{Fixture, ask, content, events, streamed};
use crate::team::{Reply, Team, calls, says};

const SUPERVISOR: Pattern = Pattern::Supervisor { iterations_max: 5 };

async fn answer(agent: &Arc<Agent>, options: RunOptions) -> RunAnswer {
    let mut request = ask("What does it cost?");
    request.session_id = Some("s-1".to_owned());
    Arc::clone(agent).start(request, options, ()).answer().await.unwrap()
}

fn fixture(model: &Arc<ScriptedModel>) -> Fixture {
    Fixture::new([("openai", Arc::clone(model))])
}

/// A supervisor over one worker.
fn pair(supervisor: Vec<Reply>, worker: Fixture) -> (Arc<Agent>, Arc<ScriptedModel>, Arc<Team>) {
    let team = Arc::<Team>::default();
    let model = ScriptedModel::new(supervisor);
    team.join("billing", worker, &[]);
    let agent = team.join("lead", fixture(&model).pattern(SUPERVISOR), &["billing"]);
    (agent, model, team)
}

fn steps(answer: &RunAnswer) -> Vec<Value> {
    let step = |step: &agent_pod_core::event::Step| {
        json!([step.index, step.step_type, step.name, step.agent, step.arguments, step.result, step.ok])
    };
    answer.steps.iter().map(step).collect()
}

#[rstest]
#[case::read_along(streamed())]
#[case::told_at_the_end(RunOptions::default())]
#[tokio::test(start_paused = true)]
async fn a_supervisor_has_a_worker_answer_and_accounts_for_it(#[case] options: RunOptions) {
    let worker_model = ScriptedModel::new([calls(&[("upper", "b")]), says("Seven euros.")]);
    let worker = fixture(&worker_model).prompt("You know prices.").tools();
    let observer = Arc::clone(&worker.observer);
    let (lead, model, team) = pair(vec![calls(&[("billing", "Price of order 7?")]), says("It costs 7 €.")], worker);
    let answer = answer(&lead, options).await;

    assert_eq!((answer.answer.as_str(), answer.finish), ("It costs 7 €.", Finish::Stop));
    assert_eq!(
        steps(&answer),
        [
            json!([1, "tool", "upper", "billing", {"query": "b"}, "{\"QUERY\":\"B\"}", true]),
            json!([2, "delegate", "billing", null, {"query": "Price of order 7?"}, "Seven euros.", true]),
        ]
    );
    assert_eq!((answer.usage.tokens_in, answer.usage.tokens_out, answer.usage.by_model[0].calls), (40, 4, 4));
    assert_eq!(answer.attempts.len(), 4, "every try of both agents");
    assert_eq!(observer.outcomes(), [("ok".to_owned(), 2)], "the worker counts what it has used");

    let (_, request, options) = team.asked.lock().unwrap()[0].clone();
    assert_eq!((request.query.as_str(), request.session_id.as_deref()), ("Price of order 7?", Some("s-1::billing")));
    assert_eq!((options.depth, options.quiet, options.trace_id), (1, true, Some(answer.trace_id)));
    let asked = &worker_model.requests()[0].messages;
    assert_eq!(asked.iter().map(|m| m.content.as_str()).collect::<Vec<_>>(), ["You know prices.", "Price of order 7?"]);
    assert_eq!(model.requests()[1].messages.last().unwrap().content, "Seven euros.");
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_does_is_told_as_it_happens_and_its_words_are_not_the_answer() {
    let model = ScriptedModel::new([calls(&[("upper", "x")]), says("Seven euros.")]);
    let worker = fixture(&model).tools();
    let (lead, _, _team) = pair(vec![calls(&[("billing", "Price?")]), says("It costs 7 €.")], worker);
    let told: Vec<String> = events(Arc::clone(&lead).start(ask("What?"), streamed(), ()))
        .await
        .into_iter()
        .filter_map(|event| match event {
            TurnEvent::Token(text) => Some(format!("token {text}")),
            TurnEvent::Step(step) => Some(format!("step {} {} {:?}", step.index, step.step_type, step.agent)),
            TurnEvent::ToolCall { name, .. } => Some(format!("tool_call {name}")),
            TurnEvent::ToolResult { name, .. } => Some(format!("tool_result {name}")),
            TurnEvent::Status(_) | TurnEvent::ApprovalRequired { .. } | TurnEvent::Done(_) | TurnEvent::Error(_) => {
                None
            }
        })
        .collect();
    assert_eq!(
        told,
        [
            "tool_call billing",
            "step 1 tool Some(\"billing\")",
            "tool_result billing",
            "step 2 delegate None",
            "token It costs 7 €."
        ]
    );
}

/// What a supervisor's model is told of a worker that gave no answer.
async fn told_of(worker: Fixture) -> (String, RunAnswer) {
    let (lead, model, _team) = pair(vec![calls(&[("billing", "Price?")]), says("I do not know.")], worker);
    let answer = answer(&lead, RunOptions::default()).await;
    assert!(!answer.steps.last().unwrap().ok);
    (model.requests()[1].messages.last().unwrap().content.clone(), answer)
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_fails_is_a_result_that_the_supervisor_reads() {
    let down =
        || Err(agent_pod_core::model::ModelError::new(agent_pod_core::model::ModelErrorKind::Unavailable, "down"));
    let (told, answer) = told_of(fixture(&ScriptedModel::new([down(), down()]))).await;
    assert!(told.starts_with("the agent `billing` gave no answer: "), "{told}");
    assert_eq!(answer.answer, "I do not know.");
    assert_eq!(answer.attempts.len(), 3, "the failed try is among them");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_blocked_is_a_result_that_the_supervisor_reads() {
    let rule = RuleSettings {
        action: Action::Block,
        message: Some("No prices.".to_owned()),
        check: CheckSettings::Topics(vec!["price".to_owned()]),
        messages: true,
        tool_results: false,
    };
    let worker = fixture(&ScriptedModel::new([])).guardrails(vec![Rule::compile(rule).unwrap()], Vec::new());
    let (told, answer) = told_of(worker).await;
    assert_eq!(told, "a guardrail of the agent `billing` has blocked it: No prices.");
    assert!(!answer.blocked, "only the worker is blocked");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hangs_ends_with_the_tools_time_and_is_booked() {
    let model = ScriptedModel::new([calls(&[("upper", "x")]), Ok(vec![content("Well"), Scripted::Silence])]);
    let worker = fixture(&model).tools().timeouts(crate::fixture::timeouts(600, 600, 600));
    let observer = Arc::clone(&worker.observer);
    let (told, answer) = told_of(worker).await;
    assert_eq!(told, "the tool `billing` did not answer within 30s");
    assert_eq!(observer.outcomes().len(), 1, "the worker's run has ended");
    assert!(answer.usage.tokens_in > 30, "what it used until then counts: {:?}", answer.usage);
    assert_eq!(answer.steps[0].agent.as_deref(), Some("billing"));
}

#[tokio::test(start_paused = true)]
async fn a_missing_worker_is_a_result_that_the_supervisor_reads() {
    let team = Arc::<Team>::default();
    let model = ScriptedModel::new([calls(&[("billing", "Price?")]), says("I do not know.")]);
    let lead = team.join("lead", fixture(&model).pattern(SUPERVISOR), &["billing"]);
    answer(&lead, RunOptions::default()).await;
    let told = model.requests()[1].messages.last().unwrap().content.clone();
    assert_eq!(told, "the agent `billing` gave no answer: there is no such agent");
}

#[tokio::test(start_paused = true)]
async fn agents_call_each_other_only_so_deep() {
    let (lead, model, team) =
        pair(vec![calls(&[("billing", "Price?")]), says("Too deep.")], fixture(&ScriptedModel::new([])));
    answer(&lead, RunOptions { depth: DEPTH_MAX, ..RunOptions::default() }).await;
    let told = model.requests()[1].messages.last().unwrap().content.clone();
    assert!(told.contains("agents may call each other 8 deep at most"), "{told}");
    assert_eq!(team.called(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn workers_of_one_reply_work_at_the_same_time() {
    let team = Arc::<Team>::default();
    let slow = |text| ScriptedModel::new([Ok(vec![Scripted::Pause(Duration::from_secs(10)), content(text)])]);
    team.join("left", fixture(&slow("L")), &[]);
    team.join("right", fixture(&slow("R")), &[]);
    let model = ScriptedModel::new([calls(&[("left", "a"), ("right", "b")]), says("L and R.")]);
    let lead = team.join("lead", fixture(&model).pattern(SUPERVISOR), &["left", "right"]);
    let started = tokio::time::Instant::now();
    let answer = answer(&lead, RunOptions::default()).await;
    assert_eq!(started.elapsed(), Duration::from_secs(10));
    let results: Vec<_> =
        answer.steps.iter().map(|step| (step.step_type, step.name.as_str(), step.result.as_str())).collect();
    assert_eq!(results, [("delegate", "left", "L"), ("delegate", "right", "R")]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_stops_the_worker_too() {
    let worker = fixture(&ScriptedModel::new([Ok(vec![content("Well"), Scripted::Silence])]));
    let observer = Arc::clone(&worker.observer);
    let (lead, _, team) = pair(vec![calls(&[("billing", "Price?")])], worker);
    let mut run = Arc::clone(&lead).start(ask("What?"), streamed(), ());
    while team.called().is_empty() {
        drop(futures::poll!(run.events.next()));
    }
    drop(run);
    assert_eq!(observer.outcomes().iter().map(|(outcome, _)| outcome.as_str()).collect::<Vec<_>>(), ["cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn tokens_of_workers_count_against_the_supervisors_limit() {
    let limit = RuleSettings {
        action: Action::Block,
        message: Some("Too dear.".to_owned()),
        check: CheckSettings::CostLimit(15),
        messages: true,
        tool_results: false,
    };
    let team = Arc::<Team>::default();
    team.join("billing", fixture(&ScriptedModel::new([says("Seven.")])), &[]);
    let model = ScriptedModel::new([calls(&[("billing", "Price?")])]);
    let rules = vec![Rule::compile(limit).unwrap()];
    let lead = team.join("lead", fixture(&model).pattern(SUPERVISOR).guardrails(Vec::new(), rules), &["billing"]);
    let answer = answer(&lead, RunOptions::default()).await;
    assert_eq!((answer.blocked, answer.answer.as_str()), (true, "Too dear."));
    assert_eq!(answer.usage.tokens_in, 20);
}

#[tokio::test(start_paused = true)]
async fn a_worker_may_use_what_its_supervisor_has_left() {
    let limit = RuleSettings {
        action: Action::Block,
        message: None,
        check: CheckSettings::CostLimit(30),
        messages: true,
        tool_results: false,
    };
    let team = Arc::<Team>::default();
    let worker = ScriptedModel::new([calls(&[("upper", "a")]), calls(&[("upper", "b")])]);
    team.join("billing", fixture(&worker).tools(), &[]);
    let model = ScriptedModel::new([calls(&[("billing", "Price?")])]);
    let rules = vec![Rule::compile(limit).unwrap()];
    let lead = team.join("lead", fixture(&model).pattern(SUPERVISOR).guardrails(Vec::new(), rules), &["billing"]);
    let answer = answer(&lead, RunOptions::default()).await;
    assert_eq!(
        (worker.requests().len(), answer.blocked),
        (2, true),
        "11 of 30 were used, 22 are more than the other 19"
    );
    let told = &answer.steps.last().unwrap().result;
    assert!(told.contains("The token budget of the agent that has asked is used up."), "{told}");
}

#[tokio::test(start_paused = true)]
async fn whoever_decides_on_the_run_decides_on_what_its_workers_do() {
    let team = Arc::<Team>::default();
    let worker = ScriptedModel::new([calls(&[("helper", "a")]), says("Asked.")]);
    let mut tools = Vec::new();
    for tool in team.tools(&["helper"], false).all() {
        tools.push(Arc::new(agent_pod_core::tool::ToolSettings {
            approval: Some(agent_pod_core::tool::ApprovalSettings { timeout: Duration::from_secs(20) }),
            spec: tool.spec.clone(),
            kind: tool.kind,
            arguments: agent_pod_core::tool::Arguments::compile(&tool.spec.parameters).unwrap(),
            rate: None,
            timeout: tool.timeout,
            port: tool.port.clone(),
            state: Arc::default(),
        }));
    }
    let tools = agent_pod_core::tool::ToolSet::configured(tools, Default::default(), Default::default());
    team.join("helper", fixture(&ScriptedModel::new([says("Helped.")])), &[]);
    team.join("billing", fixture(&worker).tool_set(tools), &[]);
    let model = ScriptedModel::new([calls(&[("billing", "Price?")]), says("Done.")]);
    let lead = team.join("lead", fixture(&model).pattern(SUPERVISOR), &["billing"]);
    let mut run = Arc::clone(&lead).start(ask("?"), streamed(), ());
    let answer = loop {
        match run.events.next().await.unwrap() {
            TurnEvent::ApprovalRequired { id, call_id, name, .. } => {
                assert_eq!((id.as_str(), call_id.as_str(), name.as_str()), ("billing.secret-1", "call_0", "helper"));
                let ruling =
                    Ruling { decision: Decision::Approve, reason: Some("fine".to_owned()), by: "ada".to_owned() };
                run.desk.decide(&id, ruling).unwrap();
            }
            TurnEvent::Done(answer) => break answer,
            TurnEvent::Error(error) => panic!("{error}"),
            TurnEvent::Status(_)
            | TurnEvent::Token(_)
            | TurnEvent::ToolCall { .. }
            | TurnEvent::ToolResult { .. }
            | TurnEvent::Step(_) => {}
        }
    };
    assert_eq!(answer.answer, "Done.");
    let approval = answer.steps.iter().find_map(|step| step.approval.as_ref()).unwrap();
    assert_eq!((approval.decision, approval.by.as_deref()), ("approve", Some("ada")));
    let order: Vec<_> = answer.steps.iter().map(|step| (step.index, step.step_type, step.agent.as_deref())).collect();
    let of_worker = Some("billing");
    assert_eq!(
        order,
        [(1, "approval", of_worker), (2, "tool", of_worker), (3, "delegate", None)],
        "as in a run of the worker's own"
    );
    assert_eq!(team.called(), ["billing", "helper"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_less_time_of_its_own_has_failed_and_the_run_goes_on() {
    let team = Arc::<Team>::default();
    let hangs = ScriptedModel::new([Ok(vec![Scripted::Silence])]);
    let mut worker = fixture(&hangs).timeouts(crate::fixture::timeouts(600, 600, 600)).agent();
    Arc::get_mut(&mut worker).unwrap().timeout = Duration::from_secs(5);
    team.add("billing", worker);
    let model = ScriptedModel::new([calls(&[("billing", "Price?")]), says("I do not know.")]);
    let lead = team.join("lead", fixture(&model).pattern(SUPERVISOR), &["billing"]);
    let started = tokio::time::Instant::now();
    assert_eq!(answer(&lead, RunOptions::default()).await.answer, "I do not know.");
    assert_eq!(started.elapsed(), Duration::from_secs(5));
    assert!(model.requests()[1].messages.last().unwrap().content.starts_with("the agent `billing` gave no answer"));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_run_is_that_of_everything_it_calls() {
    let hangs = fixture(&ScriptedModel::new([Ok(vec![Scripted::Silence])]));
    let worker = hangs.timeouts(crate::fixture::timeouts(600, 600, 600));
    let observer = Arc::clone(&worker.observer);
    let (lead, _, team) = pair(vec![calls(&[("billing", "Price?")])], worker);
    let options = RunOptions { timeout: Some(Duration::from_secs(7)), ..RunOptions::default() };
    let error = Arc::clone(&lead).start(ask("?"), options, ()).answer().await.unwrap_err();
    assert_eq!(error.code, agent_pod_core::error::ErrorCode::DeadlineExceeded);
    assert_eq!(team.asked.lock().unwrap()[0].2.timeout, Some(Duration::from_secs(7)));
    assert_eq!(observer.outcomes().len(), 1);
    assert!(!lead.tools.all().any(agent_pod_core::tool::ToolSettings::is_down), "a caller in a hurry proves nothing");
}
