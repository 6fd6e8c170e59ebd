//! Answers as data, and what stands before a question.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_pod_core::agent::Models;
use agent_pod_core::event::{ChatRequest, RunAnswer, TurnRequest};
use agent_pod_core::message::{Message, Role};
use agent_pod_core::model::ResponseFormat;
use agent_pod_core::model::router::{Candidate, Facts};
use agent_pod_core::model::strategy::{Capabilities, Strategy};
use agent_pod_core::pattern::{Branch, Merge, Pattern, Stage};
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Recorded, ScriptedModel, candidate, models, router};
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixture::{Fixture, ask};

fn scored() -> Value {
    json!({"type": "object", "required": ["score"], "properties": {"score": {"type": "integer"}}})
}

async fn run(replies: &[&str]) -> (RunAnswer, usize) {
    let model = ScriptedModel::new(replies.iter().map(|text| ScriptedModel::text(text)));
    let fixture = Fixture::new([("only", model.clone())]).output(scored());
    let answer = fixture.agent().start(ask("How good?"), RunOptions::default(), ()).answer().await.unwrap();
    assert!(model.requests()[0].messages[0].content.contains("JSON Schema"), "the model is told");
    (answer, model.requests().len())
}

#[rstest]
#[case::at_once(&[r#"{"score": 7}"#], 1)]
#[case::in_a_block(&["Sure:\n```json\n{\"score\": 7}\n```"], 1)]
#[case::repaired(&["Seven.", r#"{"score": 7}"#], 2)]
#[tokio::test]
async fn an_answer_is_data_of_the_schema(#[case] replies: &[&str], #[case] calls: usize) {
    let (answer, made) = run(replies).await;
    assert_eq!((answer.data, answer.data_error, made), (Some(json!({"score": 7})), None, calls));
    assert_eq!(answer.answer, replies[0], "the answer stays as it went out");
}

#[rstest]
#[case::one_can(Strategy::CapabilityMatch, true, "held")]
#[case::none_can(Strategy::CapabilityMatch, false, "words")]
#[case::another_strategy(Strategy::QualityFirst, true, "words")]
#[tokio::test]
async fn capabilities_are_matched_with_the_schema_where_a_candidate_can_be_held_to_it(
    #[case] strategy: Strategy,
    #[case] json_schema: bool,
    #[case] expected: &str,
) {
    let model = || ScriptedModel::new([ScriptedModel::text(r#"{"score": 7}"#)]);
    let facts = Facts { capabilities: Capabilities { json_schema, ..Capabilities::default() }, ..Facts::default() };
    let held = Candidate { facts, ..candidate("held", model()) };
    let agent = Fixture::new([]).output(scored()).agent_over(models(strategy, vec![candidate("words", model()), held]));
    let answer = agent.start(ask("How good?"), RunOptions::default(), ()).answer().await.unwrap();
    assert_eq!(answer.data, Some(json!({"score": 7})));
    assert_eq!(answer.attempts.iter().map(|attempt| attempt.provider.as_str()).collect::<Vec<_>>(), [expected]);
}

#[tokio::test]
async fn an_answer_that_does_not_fit_after_a_repair_says_why() {
    let (answer, made) = run(&[r#"{"score": "seven"}"#, r#"{"score": "7"}"#]).await;
    assert_eq!((answer.data, made), (Some(Value::Null), 2));
    assert!(answer.data_error.unwrap().contains("/score"));
}

#[tokio::test]
async fn the_context_stands_before_the_newest_question_and_may_include_templates() {
    let model = ScriptedModel::new([ScriptedModel::text("Hello.")]);
    let fixture = Fixture::new([("only", model.clone())])
        .template("context", "Today is {{ today }}. {% include 'greeting' %}")
        .template("greeting", "Greet {{ user }} first.");
    let mut request = ask("Hi");
    request.context.insert("user".to_owned(), json!("Ada"));
    fixture.agent().start(request, RunOptions::default(), ()).answer().await.unwrap();
    let sent = model.requests()[0].messages.last().unwrap().content.clone();
    assert_eq!(sent, "Today is 2026-01-02. Greet Ada first.\n\nHi");
}

const DATA: &str = r#"{"score": 7}"#;
const PLAN: &str = r#"{"steps": [{"title": "Find", "task": "Find it."}, {"title": "Check", "task": "Check it."}]}"#;

/// Who is called in a pattern, what they say, and whether the answer's schema holds for them.
type Parts = &'static [(&'static str, &'static str, bool)];

fn pipeline() -> Pattern {
    let stage = |name: &str| Stage { name: name.to_owned(), prompt: format!("stage:{name}") };
    Pattern::Pipeline { iterations_max: 3, stages: vec![stage("draft"), stage("polish")] }
}

fn plan() -> Pattern {
    Pattern::PlanAndExecute { iterations_max: 3, steps_max: 6 }
}

fn fan_out(branches: &[&str], merge: Merge) -> Pattern {
    let branch = |role: &&str| Branch { role: (*role).to_owned(), prompt: Some("stage:draft".to_owned()) };
    Pattern::ParallelFanOut { iterations_max: 3, branches: branches.iter().map(branch).collect(), merge }
}

/// Whether a model was told of the answer's schema in words, and was asked to be held to it.
fn schemas(request: &Recorded) -> (bool, bool) {
    let named = |format: &ResponseFormat| matches!(format, ResponseFormat::JsonSchema { name, .. } if name == "answer");
    (
        request.messages[0].content.contains(r#""required":["score"]"#),
        request.response_format.as_ref().is_some_and(named),
    )
}

#[rstest]
#[case::react(Pattern::React { iterations_max: 3 }, &[("reasoner", DATA, true)])]
#[case::supervisor(Pattern::Supervisor { iterations_max: 3 }, &[("supervisor", DATA, true)])]
#[case::pipeline(pipeline(), &[("stage:draft", "seven", false), ("stage:polish", DATA, true)])]
#[case::plan(plan(), &[("planner", PLAN, false), ("worker", "seven", false), ("synthesizer", DATA, true)])]
#[case::synthesized(fan_out(&["a", "b"], Merge::Synthesize), &[("a", "7", false), ("b", "8", false), ("synthesizer", DATA, true)])]
#[case::voted(fan_out(&["a", "b"], Merge::Vote), &[("a", DATA, true), ("b", DATA, true)])]
#[case::chosen(fan_out(&["a", "b"], Merge::Vote), &[("a", DATA, true), ("b", "8", true), ("synthesizer", "1", false)])]
#[case::first(fan_out(&["a"], Merge::First), &[("a", DATA, true)])]
#[case::split(fan_out(&[], Merge::Vote), &[("planner", PLAN, false), ("worker", DATA, true)])]
#[case::split_and_synthesized(fan_out(&[], Merge::Synthesize), &[("planner", PLAN, false), ("worker", "7", false), ("synthesizer", DATA, true)])]
#[tokio::test(start_paused = true)]
async fn the_schema_is_that_of_the_answer_and_of_no_other_part(
    #[case] pattern: Pattern,
    #[case] parts: Parts,
    #[values(false, true)] asked_by_caller: bool,
) {
    let facts =
        Facts { capabilities: Capabilities { tools: true, json_schema: true, vision: false }, ..Facts::default() };
    let ports: Vec<_> = parts
        .iter()
        .map(|(role, says, _)| (*role, ScriptedModel::new((0..2).map(|_| ScriptedModel::text(says)))))
        .collect();
    let of = |role: &str, port: &Arc<ScriptedModel>| {
        router(role, Strategy::default(), vec![Candidate { facts, ..candidate(role, port.clone()) }])
    };
    let roles: BTreeMap<_, _> = ports.iter().map(|(role, port)| ((*role).to_owned(), of(role, port))).collect();
    let models = Models { default: of("default", &ScriptedModel::new([])), roles };
    let fixture =
        Fixture::new([]).pattern(pattern).template("stage:draft", "Draft.").template("stage:polish", "Polish.");
    let (fixture, request) = if asked_by_caller {
        let response_format =
            Some(ResponseFormat::JsonSchema { name: "answer".to_owned(), schema: scored(), strict: None });
        let messages = vec![Message::new(Role::User, "How good?")];
        let chat = ChatRequest { messages, response_format, ..ChatRequest::default() };
        (fixture, TurnRequest { chat: Some(Box::new(chat)), ..ask("How good?") })
    } else {
        (fixture.output(scored()), ask("How good?"))
    };
    let answer = fixture.agent_over(models).start(request, RunOptions::default(), ()).answer().await.unwrap();
    assert_eq!(answer.answer, DATA);
    assert_eq!(answer.data, (!asked_by_caller).then(|| json!({"score": 7})));
    for ((role, port), (_, _, answers)) in ports.iter().zip(parts) {
        let requests = port.requests();
        assert!(!requests.is_empty(), "{role} was not asked");
        for request in &requests {
            let in_words = *answers && !asked_by_caller;
            assert_eq!(schemas(request), (in_words, *answers), "{role}: {:?}", request.messages);
        }
    }
}
