//! Answers as data, and what stands before a question.

use agent_pod_core::event::RunAnswer;
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::ScriptedModel;
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
