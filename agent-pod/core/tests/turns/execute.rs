//! One call of a tool outside a run: what holds for it is what holds within one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_pod_core::agent::{Executed, ToolRequest, Turn};
use agent_pod_core::budget::{Book, Budget, Maximums, OnExceeded};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::guardrail::{Action, CheckSettings, Entity, Rule, RuleSettings};
use agent_pod_core::model::ModelEvent;
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel};
use agent_pod_core::tool::internal::TextSummarize;
use agent_pod_core::tool::{Tool, ToolError, ToolSet, ToolSpec, any_object};
use agent_pod_core::usage::Tokens;
use async_trait::async_trait;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixture::{Fixture, content};

/// Says an address, and what it was given; or nothing, for ever.
struct Directory {
    hangs: bool,
    called: Arc<AtomicUsize>,
}

#[async_trait]
impl Tool for Directory {
    fn spec(&self) -> ToolSpec {
        ToolSpec { name: "directory".to_owned(), description: String::new(), parameters: any_object() }
    }

    async fn call(&self, arguments: &Value, _: &Turn<'_>) -> Result<String, ToolError> {
        self.called.fetch_add(1, Ordering::SeqCst);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Ok(format!("ada@example.com of {arguments}"))
    }
}

fn tools(hangs: bool) -> (ToolSet, Arc<AtomicUsize>) {
    let called = Arc::<AtomicUsize>::default();
    let directory = Directory { hangs, called: Arc::clone(&called) };
    (ToolSet::new([Arc::new(directory) as Arc<dyn Tool>, Arc::new(TextSummarize)]), called)
}

fn rule(check: CheckSettings, action: Action, (messages, tool_results): (bool, bool)) -> Rule {
    let message = Some("Not here.".to_owned());
    Rule::compile(RuleSettings { check, action, message, messages, tool_results }).unwrap()
}

fn email(action: Action, scope: (bool, bool)) -> Vec<Rule> {
    vec![rule(CheckSettings::Pii(vec![Entity::Email]), action, scope)]
}

async fn execute(fixture: &Fixture, tool: &str, arguments: Value, options: RunOptions) -> Result<Executed, RunError> {
    fixture.agent().execute(ToolRequest { tool: tool.to_owned(), arguments, session_id: None }, options).await
}

#[rstest]
#[case::on_the_way_to_the_model(email(Action::Redact, (true, true)), vec![], true, "[REDACTED_EMAIL] of {}")]
#[case::on_the_way_to_the_caller(vec![], email(Action::Redact, (true, false)), true, "[REDACTED_EMAIL] of {}")]
#[case::not_of_results(email(Action::Redact, (true, false)), vec![], true, "ada@example.com of {}")]
#[case::withheld(email(Action::Block, (true, true)), vec![], false, "withheld by a guardrail: ")]
#[tokio::test(start_paused = true)]
async fn a_result_is_held_against_the_rules_of_a_run(
    #[case] input: Vec<Rule>,
    #[case] output: Vec<Rule>,
    #[case] ok: bool,
    #[case] expected: &str,
) {
    let (set, _) = tools(false);
    let fixture = Fixture::new([("only", ScriptedModel::new([]))]).tool_set(set).guardrails(input, output);
    let executed = execute(&fixture, "directory", json!({}), RunOptions::default()).await.unwrap();
    let result = executed.outcome.result;
    assert!(executed.outcome.ok == ok && result.starts_with(expected), "{result}");
    assert_eq!(result.contains("ada@"), expected.contains("ada@"), "{result}");
}

#[tokio::test(start_paused = true)]
async fn arguments_are_held_against_the_rules_of_a_question() {
    let (set, called) = tools(false);
    let fixture = Fixture::new([("only", ScriptedModel::new([]))]).tool_set(set);
    let fixture = fixture.guardrails(email(Action::Redact, (true, false)), vec![]);
    let given = json!({"to": ["bob@example.com"]});
    let executed = execute(&fixture, "directory", given, RunOptions::default()).await.unwrap();
    assert_eq!(executed.outcome.result, "ada@example.com of {\"to\":[\"[REDACTED_EMAIL]\"]}");

    let topics = CheckSettings::Topics(vec!["politics".to_owned()]);
    let fixture = fixture.guardrails(vec![rule(topics, Action::Block, (true, false))], vec![]);
    let asked = execute(&fixture, "directory", json!({"q": "politics"}), RunOptions::default()).await.unwrap();
    assert_eq!((asked.outcome.ok, asked.outcome.result.as_str()), (false, "Not here."));
    assert_eq!(called.load(Ordering::SeqCst), 1, "what is blocked is not carried out");
}

#[tokio::test(start_paused = true)]
async fn the_callers_deadline_ends_a_call_that_knows_none() {
    let (set, called) = tools(true);
    let fixture = Fixture::new([("only", ScriptedModel::new([]))]).tool_set(set);
    let began = tokio::time::Instant::now();
    let options = RunOptions { timeout: Some(Duration::from_secs(2)), ..RunOptions::default() };
    let error = execute(&fixture, "directory", json!({}), options).await.unwrap_err();
    assert_eq!((error.code, began.elapsed()), (ErrorCode::DeadlineExceeded, Duration::from_secs(2)));
    let executed = execute(&fixture, "directory", json!({}), RunOptions::default()).await.unwrap();
    assert_eq!((executed.outcome.ok, called.load(Ordering::SeqCst)), (false, 2), "the tool's own time is a result");
}

fn summary() -> Vec<Scripted> {
    vec![content("short"), Scripted::Event(ModelEvent::Tokens(Tokens { input: 90, output: 9, cached: 0 }))]
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_asks_a_model_spends_the_agents_budget() {
    let book = Book::default();
    let budget = move || Budget {
        agent: "shop/support".to_owned(),
        window: Duration::from_secs(3_600),
        maximums: Maximums { tokens: Some(50), nanodollars: None },
        on_exceeded: OnExceeded::Reject,
        shared: None,
        book: book.clone(),
    };
    let model = ScriptedModel::new([Ok(summary()), Ok(summary())]);
    let fixture = Fixture::new([("only", model)]).tool_set(tools(false).0).budget(budget);
    let arguments = json!({"text": "a long text ".repeat(100)});
    let mut codes = Vec::new();
    for _ in 0..2 {
        let executed = execute(&fixture, "text_summarize", arguments.clone(), RunOptions::default()).await;
        codes.push(executed.err().map(|error| error.code));
    }
    assert_eq!(codes.last().unwrap(), &Some(ErrorCode::BudgetExceeded), "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_is_booked() {
    let mut script = summary();
    script.push(Scripted::Silence);
    let fixture = Fixture::new([("only", ScriptedModel::new([Ok(script)]))]).tool_set(tools(false).0);
    let call = execute(&fixture, "text_summarize", json!({"text": "long"}), RunOptions::default());
    tokio::time::timeout(Duration::from_secs(1), call).await.unwrap_err();
    let outcomes = fixture.observer.outcomes();
    assert_eq!(outcomes.iter().map(|(outcome, _)| outcome.as_str()).collect::<Vec<_>>(), ["cancelled"]);
}
