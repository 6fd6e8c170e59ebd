//! The patterns that are made of several parts: what each part is asked, and what becomes of the answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::agent::{Agent, Models};
use agent_pod_core::error::ErrorCode;
use agent_pod_core::event::{RunAnswer, Step, TurnEvent};
use agent_pod_core::model::router::{Candidate, Facts};
use agent_pod_core::model::strategy::{Capabilities, Strategy};
use agent_pod_core::model::{ModelError, ModelErrorKind, ResponseFormat};
use agent_pod_core::pattern::{Branch, Merge, Pattern, Stage};
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel, candidate, models, router};
use rstest::rstest;

use crate::fixture::{Fixture, ask, content, events, streamed};

type Reply = Result<Vec<Scripted>, ModelError>;

const PLAN: &str = r#"{"steps": [{"title": "Find", "task": "Find it."}, {"title": "Check", "task": "Check it."}]}"#;

fn says(text: &str) -> Reply {
    ScriptedModel::text(text)
}

fn locked() -> Reply {
    Err(ModelError::new(ModelErrorKind::Unauthorized, "401"))
}

fn slow(text: &str, seconds: u64) -> Reply {
    Ok(vec![Scripted::Pause(Duration::from_secs(seconds)), content(text)])
}

/// An agent whose roles have models of their own.
fn with_roles<const N: usize>(pattern: Pattern, roles: [(&str, &Arc<ScriptedModel>); N]) -> Arc<Agent> {
    let of =
        |name: &str, port: &Arc<ScriptedModel>| router(name, Strategy::default(), vec![candidate(name, port.clone())]);
    let unused = ScriptedModel::new([]);
    let roles: BTreeMap<_, _> = roles.iter().map(|(role, port)| ((*role).to_owned(), of(role, port))).collect();
    fixture(pattern).agent_over(Models { default: of("default", &unused), roles })
}

fn fixture(pattern: Pattern) -> Fixture {
    Fixture::new([])
        .pattern(pattern)
        .template("stage:draft", "Draft an answer.")
        .template("stage:polish", "Polish this: {{ input }} (asked: {{ query }})")
        .template("branch:0", "Be brief.")
}

async fn answer(agent: &Arc<Agent>) -> RunAnswer {
    Arc::clone(agent).start(ask("Where?"), RunOptions::default(), ()).answer().await.unwrap()
}

fn told(steps: &[Step]) -> Vec<(&'static str, &str, bool)> {
    steps.iter().map(|step| (step.step_type, step.name.as_str(), step.ok)).collect()
}

fn plan_and_execute() -> Pattern {
    Pattern::PlanAndExecute { iterations_max: 3, steps_max: 6 }
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_carried_out_step_by_step_and_put_together() {
    let planner = ScriptedModel::new([says(PLAN)]);
    let worker = ScriptedModel::new([says("at the harbour"), says("confirmed")]);
    let synthesizer = ScriptedModel::new([says("At the harbour, confirmed.")]);
    let roles = [("planner", &planner), ("worker", &worker), ("synthesizer", &synthesizer)];
    let agent = with_roles(plan_and_execute(), roles);
    let seen = events(Arc::clone(&agent).start(ask("Where?"), streamed(), ())).await;
    let names: Vec<_> = seen.iter().map(TurnEvent::name).collect();
    assert_eq!(names, ["status", "step", "step", "step", "token", "done"], "inner text is no token");
    let TurnEvent::Done(answer) = seen.last().unwrap() else { panic!("{seen:?}") };
    assert_eq!(answer.answer, "At the harbour, confirmed.");
    assert_eq!(told(&answer.steps), [("plan", "plan", true), ("plan", "Find", true), ("plan", "Check", true)]);
    assert_eq!(answer.steps.iter().map(|step| step.index).collect::<Vec<_>>(), [1, 2, 3]);
    let second = &worker.requests()[1].messages[1].content;
    assert!(second.contains("at the harbour") && second.contains("Check it."), "results so far are known: {second}");
    let asked = &synthesizer.requests()[0].messages;
    assert!(asked.last().unwrap().content.contains("confirmed"), "{asked:?}");
    let roles: Vec<_> = answer.usage.by_model.iter().map(|used| (used.role.as_str(), used.calls)).collect();
    assert_eq!(roles, [("planner", 1), ("worker", 2), ("synthesizer", 1)], "usage adds up");
}

#[tokio::test(start_paused = true)]
async fn a_planner_that_returns_prose_is_asked_once_more_and_then_done_without() {
    let planner = ScriptedModel::new([says("I would start by looking around."), says("Really, just look.")]);
    let worker = ScriptedModel::new([says("found")]);
    let synthesizer = ScriptedModel::new([says("Found.")]);
    let roles = [("planner", &planner), ("worker", &worker), ("synthesizer", &synthesizer)];
    let answer = answer(&with_roles(plan_and_execute(), roles)).await;
    assert_eq!(told(&answer.steps), [("plan", "plan", false), ("plan", "answer", true)]);
    assert!(planner.requests()[1].messages.last().unwrap().content.contains("there is no JSON"));
    assert!(worker.requests()[0].messages[1].content.ends_with("nothing else: Where?"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_step_leads_to_a_new_plan_for_what_is_left() {
    let replan = r#"{"steps": [{"title": "Ask", "task": "Ask somebody."}]}"#;
    let planner = ScriptedModel::new([says(PLAN), says(replan)]);
    let worker = ScriptedModel::new([locked(), says("at the harbour")]);
    let synthesizer = ScriptedModel::new([says("At the harbour.")]);
    let roles = [("planner", &planner), ("worker", &worker), ("synthesizer", &synthesizer)];
    let answer = answer(&with_roles(plan_and_execute(), roles)).await;
    let expected = [("plan", "plan", true), ("plan", "Find", false), ("plan", "plan", true), ("plan", "Ask", true)];
    assert_eq!(told(&answer.steps), expected);
    assert!(planner.requests()[1].messages.last().unwrap().content.contains("## Find\n(failed"));
}

#[tokio::test(start_paused = true)]
async fn when_every_step_fails_the_run_fails_with_every_attempt() {
    let planner = ScriptedModel::new((0..3).map(|_| says(PLAN)));
    let worker = ScriptedModel::new((0..6).map(|_| locked()));
    let synthesizer = ScriptedModel::new([]);
    let roles = [("planner", &planner), ("worker", &worker), ("synthesizer", &synthesizer)];
    let agent = with_roles(plan_and_execute(), roles);
    let error = agent.start(ask("Where?"), RunOptions::default(), ()).answer().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ProviderUnauthorized);
    assert_eq!(error.attempts.len(), 3 + 4, "three plans, and steps as far as plans went");
}

#[rstest]
#[case::native(true)]
#[case::in_words(false)]
#[tokio::test(start_paused = true)]
async fn a_plan_is_asked_for_as_a_schema_where_the_server_has_that(#[case] json_schema: bool) {
    let port = ScriptedModel::new([says(PLAN), says("a"), says("b"), says("c")]);
    let facts = Facts { capabilities: Capabilities { tools: true, json_schema, vision: false }, ..Facts::default() };
    let able = Candidate { facts, ..candidate("only", port.clone()) };
    answer(&fixture(plan_and_execute()).agent_over(models(Strategy::default(), vec![able]))).await;
    let planned = &port.requests()[0];
    assert_eq!(matches!(planned.response_format, Some(ResponseFormat::JsonSchema { .. })), json_schema);
    assert!(planned.messages[0].content.contains("JSON Schema"), "it is said in words in any case");
}

fn pipeline() -> Pattern {
    let stage = |name: &str| Stage { name: name.to_owned(), prompt: format!("stage:{name}") };
    Pattern::Pipeline { iterations_max: 3, stages: vec![stage("draft"), stage("polish")] }
}

#[tokio::test(start_paused = true)]
async fn each_stage_is_fed_by_the_one_before() {
    let draft = ScriptedModel::new([says("by the watter")]);
    let polish = ScriptedModel::new([says("By the water.")]);
    let agent = with_roles(pipeline(), [("stage:draft", &draft), ("stage:polish", &polish)]);
    let seen = events(Arc::clone(&agent).start(ask("Where?"), streamed(), ())).await;
    let names: Vec<_> = seen.iter().map(TurnEvent::name).collect();
    assert_eq!(names, ["status", "step", "token", "step", "done"]);
    let TurnEvent::Done(answer) = seen.last().unwrap() else { panic!("{seen:?}") };
    assert_eq!(answer.answer, "By the water.");
    assert_eq!(told(&answer.steps), [("stage", "draft", true), ("stage", "polish", true)]);
    assert_eq!(answer.steps[1].result, answer.answer);
    let sent = &polish.requests()[0].messages;
    let texts: Vec<_> = sent.iter().map(|message| message.content.as_str()).collect();
    assert_eq!(texts, ["Be kind.\n\nPolish this: by the watter (asked: Where?)", "by the watter"]);
}

fn fan_out(roles: &[&str], merge: Merge) -> Pattern {
    let branch = |(index, role): (usize, &&str)| Branch {
        role: (*role).to_owned(),
        prompt: (index == 0).then(|| "branch:0".to_owned()),
    };
    Pattern::ParallelFanOut { iterations_max: 3, branches: roles.iter().enumerate().map(branch).collect(), merge }
}

#[tokio::test(start_paused = true)]
async fn branches_work_at_the_same_time_and_a_failed_one_does_not_sink_the_turn() {
    let quick = ScriptedModel::new([slow("north", 2)]);
    let broken = ScriptedModel::new([locked()]);
    let steady = ScriptedModel::new([slow("south", 3)]);
    let synthesizer = ScriptedModel::new([says("North or south.")]);
    let agent = with_roles(
        fan_out(&["worker", "reasoner", "supervisor"], Merge::Synthesize),
        [("worker", &quick), ("reasoner", &broken), ("supervisor", &steady), ("synthesizer", &synthesizer)],
    );
    let before = tokio::time::Instant::now();
    let answer = answer(&agent).await;
    assert_eq!(before.elapsed(), Duration::from_secs(3), "as long as the slowest, not as all together");
    assert_eq!(answer.answer, "North or south.");
    let mut steps = told(&answer.steps);
    steps.sort_unstable();
    assert_eq!(
        steps,
        [("branch", "reasoner 2", false), ("branch", "supervisor 3", true), ("branch", "worker 1", true)]
    );
    let asked = synthesizer.requests()[0].messages.last().unwrap().content.clone();
    let order: Vec<_> = ["north", "(failed", "south"].iter().map(|text| asked.find(text).unwrap()).collect();
    assert!(order.is_sorted(), "in the order of declaration: {asked}");
    assert_eq!(quick.requests()[0].messages[0].content, "Be kind.\n\nBe brief.");
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_wins_and_the_others_are_given_up() {
    let slow_one = ScriptedModel::new([slow("late", 60)]);
    let quick = ScriptedModel::new([slow("early", 1)]);
    let broken = ScriptedModel::new([locked()]);
    let agent = with_roles(
        fan_out(&["worker", "reasoner", "supervisor"], Merge::First),
        [("worker", &slow_one), ("reasoner", &quick), ("supervisor", &broken)],
    );
    let before = tokio::time::Instant::now();
    let answer = answer(&agent).await;
    assert_eq!((answer.answer.as_str(), before.elapsed().as_secs()), ("early", 1));
    let outcomes: BTreeMap<_, _> =
        answer.attempts.iter().map(|attempt| (attempt.provider.as_str(), attempt.outcome)).collect();
    assert_eq!(outcomes, BTreeMap::from([("reasoner", "ok"), ("supervisor", "unauthorized"), ("worker", "cancelled")]));
}

#[rstest]
#[case::majority(["North", "south", "north."], None, "North")]
#[case::a_model_chooses(["north", "south", "east"], Some("2"), "south")]
#[case::it_names_none(["north", "south", "east"], Some("Hard to say."), "north")]
#[tokio::test(start_paused = true)]
async fn votes_are_counted_by_words(#[case] answers: [&str; 3], #[case] choice: Option<&str>, #[case] winner: &str) {
    let [a, b, c] = answers.map(|text| ScriptedModel::new([says(text)]));
    let judge = ScriptedModel::new(choice.map(says));
    let roles = [("worker", &a), ("reasoner", &b), ("supervisor", &c), ("synthesizer", &judge)];
    let agent = with_roles(fan_out(&["worker", "reasoner", "supervisor"], Merge::Vote), roles);
    let seen = events(Arc::clone(&agent).start(ask("Where?"), streamed(), ())).await;
    let joined: String = seen
        .iter()
        .filter_map(|event| if let TurnEvent::Token(text) = event { Some(text.as_str()) } else { None })
        .collect();
    let TurnEvent::Done(answer) = seen.last().unwrap() else { panic!("{seen:?}") };
    assert_eq!((answer.answer.as_str(), joined.as_str()), (winner, winner));
}

#[tokio::test(start_paused = true)]
async fn without_branches_a_planner_splits_the_question() {
    let planner = ScriptedModel::new([says(PLAN)]);
    let worker = ScriptedModel::new([slow("north", 1), slow("sure", 1)]);
    let synthesizer = ScriptedModel::new([says("North, for sure.")]);
    let roles = [("planner", &planner), ("worker", &worker), ("synthesizer", &synthesizer)];
    let before = tokio::time::Instant::now();
    let answer = answer(&with_roles(fan_out(&[], Merge::Synthesize), roles)).await;
    assert_eq!((answer.answer.as_str(), before.elapsed().as_secs()), ("North, for sure.", 1));
    assert_eq!(worker.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_run_covers_all_its_parts() {
    let planner = ScriptedModel::new([slow(PLAN, 4)]);
    let worker = ScriptedModel::new([slow("found", 4), slow("checked", 4)]);
    let synthesizer = ScriptedModel::new([]);
    let roles = [("planner", &planner), ("worker", &worker), ("synthesizer", &synthesizer)];
    let agent = with_roles(plan_and_execute(), roles);
    let options = RunOptions { timeout: Some(Duration::from_secs(10)), ..RunOptions::default() };
    let before = tokio::time::Instant::now();
    let error = agent.start(ask("Where?"), options, ()).answer().await.unwrap_err();
    assert_eq!((error.code, before.elapsed().as_secs()), (ErrorCode::DeadlineExceeded, 10));
}
