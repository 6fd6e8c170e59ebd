//! What a turn remembers of the runs before it, through the public interface.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::agent::{Agent, AgentMemory, ConversationMemory, EpisodicMemory};
use agent_pod_core::event::{ChatRequest, TurnEvent, TurnRequest};
use agent_pod_core::guardrail::{Action, CheckSettings, Entity, Rule, RuleSettings};
use agent_pod_core::memory::episode::{Episode, EpisodeResult};
use agent_pod_core::memory::{ConversationSettings, Strategy};
use agent_pod_core::message::ToolCall;
use agent_pod_core::model::ModelEvent;
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel, TableEpisodes, TableStore};
use agent_pod_core::usage::Tokens;
use serde_json::json;

use crate::fixture::{Fixture, ask};

fn memory(store: &Arc<TableEpisodes>) -> AgentMemory {
    let episodic = EpisodicMemory { store: Arc::clone(store) as _, events_max: 2 };
    AgentMemory { episodic: Some(episodic), ..AgentMemory::default() }
}

fn in_session(query: &str, session: &str) -> TurnRequest {
    TurnRequest { session_id: Some(session.to_owned()), ..ask(query) }
}

/// Runs to the end of everything and gives the last event.
async fn run(agent: &Arc<Agent>, request: TurnRequest) -> TurnEvent {
    use futures::StreamExt as _;
    let run = Arc::clone(agent).start(request, RunOptions::default(), ());
    run.events.collect::<Vec<_>>().await.pop().unwrap()
}

fn system(model: &ScriptedModel, call: usize) -> String {
    model.requests()[call].messages[0].content.clone()
}

fn kept(store: &TableEpisodes) -> Vec<Episode> {
    store.events().into_iter().map(|(_, event)| event).collect()
}

#[tokio::test]
async fn the_last_runs_of_the_session_stand_in_the_system_message() {
    let store = Arc::new(TableEpisodes::default());
    let model = ScriptedModel::new(["a", "b\n- c", "d", "e"].map(ScriptedModel::text));
    let agent = Fixture::new([("only", model.clone())]).memory(memory(&store)).agent();
    for (query, session) in [("one", "s"), ("two\nlines", "s"), ("elsewhere", "t"), ("three", "s")] {
        assert!(matches!(run(&agent, in_session(query, session)).await, TurnEvent::Done(_)));
    }
    assert_eq!(system(&model, 0), "Be kind.");
    assert_eq!(system(&model, 2), "Be kind.", "another session knows nothing of it");
    insta::assert_snapshot!(system(&model, 3));
    assert_eq!(model.requests()[3].messages.len(), 2, "and the conversation is not remembered");
}

#[tokio::test]
async fn a_prompt_that_names_the_events_has_them_itself() {
    let store = Arc::new(TableEpisodes::default());
    let model = ScriptedModel::new(["a", "b"].map(ScriptedModel::text));
    let prompt = "{% for run in memory.episodic %}[{{ run.runId }} {{ run.result }}: {{ run.question }}]{% endfor %}";
    let agent = Fixture::new([("only", model.clone())]).prompt(prompt).memory(memory(&store)).agent();
    for query in ["one", "two"] {
        run(&agent, in_session(query, "s")).await;
    }
    assert_eq!([system(&model, 0), system(&model, 1)], ["".to_owned(), "[id-1 ok: one]".to_owned()]);
}

#[tokio::test]
async fn an_event_tells_what_a_run_used() {
    let store = Arc::new(TableEpisodes::default());
    let call = |name: &str| {
        let call = ToolCall { id: name.to_owned(), name: name.to_owned(), arguments: json!({}) };
        Ok(vec![
            Scripted::Event(ModelEvent::ToolCall(call)),
            Scripted::Event(ModelEvent::Tokens(Tokens { input: 10, output: 2, cached: 0 })),
        ])
    };
    let model = ScriptedModel::new([call("upper"), call("broken"), call("upper"), ScriptedModel::text("done")]);
    let agent = Fixture::new([("only", model)]).tools().memory(memory(&store)).agent();
    run(&agent, in_session("do it", "s")).await;
    insta::assert_json_snapshot!(store.events().iter().map(|(_, event)| event).collect::<Vec<_>>());
    assert_eq!((store.events()[0].0.agent.as_str(), store.events()[0].0.session.as_str()), ("shop/support", "s"));
}

fn rules(action: Action, check: CheckSettings) -> Vec<Rule> {
    let settings = RuleSettings { action, check, message: None, messages: true, tool_results: false };
    vec![Rule::compile(settings).unwrap()]
}

fn word(word: &str) -> CheckSettings {
    CheckSettings::Content { keywords: vec![word.to_owned()], patterns: Vec::new() }
}

#[tokio::test]
async fn a_blocked_question_leaves_no_event_and_a_blocked_answer_does() {
    let store = Arc::new(TableEpisodes::default());
    let model = ScriptedModel::new([ScriptedModel::text("the secret is 42")]);
    let fixture = Fixture::new([("only", model)]).memory(memory(&store));
    let agent = fixture.guardrails(rules(Action::Block, word("poison")), rules(Action::Block, word("secret"))).agent();
    run(&agent, in_session("how to poison", "s")).await;
    assert_eq!(store.events(), [], "nothing of it is stored");
    run(&agent, in_session("tell me", "s")).await;
    let [event] = kept(&store).try_into().unwrap();
    assert_eq!((event.result, event.question.as_str()), (EpisodeResult::Blocked, "tell me"));
    assert!(event.guardrail.is_some() && !event.answer.unwrap().contains("42"));
}

#[tokio::test]
async fn what_rules_redact_is_kept_redacted() {
    let store = Arc::new(TableEpisodes::default());
    let model = ScriptedModel::new([ScriptedModel::text("write to b@example.com")]);
    let redact = || rules(Action::Redact, CheckSettings::Pii(vec![Entity::Email]));
    let fixture = Fixture::new([("only", model)]).memory(memory(&store)).guardrails(redact(), redact());
    run(&fixture.agent(), in_session("I am a@example.com", "s")).await;
    let [event] = kept(&store).try_into().unwrap();
    assert_eq!(event.question, "I am [REDACTED_EMAIL]");
    assert_eq!(event.answer.as_deref(), Some("write to [REDACTED_EMAIL]"));
}

#[tokio::test(start_paused = true)]
async fn runs_that_fail_are_remembered_too() {
    let store = Arc::new(TableEpisodes::default());
    let model = ScriptedModel::new([Ok(Vec::new()), Ok(vec![Scripted::Silence])]);
    let timeouts = crate::fixture::timeouts(500, 500, 500);
    let agent = Fixture::new([("only", model)]).memory(memory(&store)).timeouts(timeouts).agent();
    for query in ["one", "two"] {
        assert!(matches!(run(&agent, in_session(query, "s")).await, TurnEvent::Error(_)));
    }
    let told: Vec<_> = kept(&store).into_iter().map(|event| (event.question, event.result, event.error)).collect();
    let failed = |query: &str, result, code: &str| (query.to_owned(), result, Some(code.to_owned()));
    assert_eq!(
        told,
        [
            failed("one", EpisodeResult::Error, "all_providers_failed"),
            failed("two", EpisodeResult::Timeout, "deadline_exceeded")
        ]
    );
}

#[tokio::test]
async fn a_caller_that_brings_the_conversation_leaves_no_event() {
    let store = Arc::new(TableEpisodes::default());
    let model = ScriptedModel::new([ScriptedModel::text("a"), Ok(Vec::new())]);
    let agent = Fixture::new([("only", model)]).memory(memory(&store)).agent();
    for _ in 0..2 {
        run(&agent, TurnRequest { chat: Some(Box::new(ChatRequest::default())), ..in_session("hi", "s") }).await;
    }
    assert_eq!(store.events(), []);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_or_hangs_costs_the_events_only() {
    for fail in [TableEpisodes::go_down, TableEpisodes::hang] {
        let (store, conversations) = <(Arc<TableEpisodes>, Arc<TableStore>)>::default();
        fail(&store);
        let settings = ConversationSettings { turns_max: 5, ttl: Duration::from_secs(60) };
        let strategy = Strategy::SlidingWindow { turns_max: 5 };
        let conversation = ConversationMemory { store: conversations, settings, strategy };
        let memory = AgentMemory { conversation: Some(conversation), ..memory(&store) };
        let model = ScriptedModel::new(["a", "b"].map(ScriptedModel::text));
        let agent = Fixture::new([("only", model.clone())]).memory(memory).agent();
        for query in ["one", "two"] {
            let TurnEvent::Done(answer) = run(&agent, in_session(query, "s")).await else { panic!("it answers") };
            assert_eq!(answer.degraded, ["memory"]);
        }
        let said: Vec<_> = model.requests()[1].messages.iter().map(|message| message.content.clone()).collect();
        assert_eq!(said, ["Be kind.", "one", "a", "two"], "the conversation goes on");
    }
}
