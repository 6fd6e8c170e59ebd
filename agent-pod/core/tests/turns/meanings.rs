//! What a turn finds again by its meaning, through the public interface.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::agent::{Agent, AgentMemory, ConversationMemory, SemanticMemory};
use agent_pod_core::event::{ChatRequest, RunAnswer, TurnEvent, TurnRequest};
use agent_pod_core::guardrail::{Action, CheckSettings, Entity, Rule, RuleSettings};
use agent_pod_core::memory::history::AgentHistory;
use agent_pod_core::memory::{ConversationSettings, Strategy};
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Failure, ScriptedModel, TableMeanings, TableStore, WordEmbedder};
use futures::StreamExt as _;
use rstest::rstest;
use serde_json::{Value, json};

use crate::fixture::{Fixture, ask};

const WORDS: [&str; 4] = ["dog", "rex", "order", "weather"];

struct World {
    store: Arc<TableMeanings>,
    embedder: Arc<WordEmbedder>,
    model: Arc<ScriptedModel>,
    fixture: Fixture,
}

impl World {
    fn new<const N: usize>(answers: [&str; N]) -> Self {
        let model = ScriptedModel::new(answers.map(ScriptedModel::text));
        let fixture = Fixture::new([("only", Arc::clone(&model))]);
        Self { store: Arc::default(), embedder: WordEmbedder::new(&WORDS), model, fixture }
    }

    fn memory(&self) -> AgentMemory {
        let store = Arc::clone(&self.store) as _;
        let semantic = SemanticMemory { store, embedding: self.embedder.embedding(), top_k: 3, min_score: 0.5 };
        AgentMemory { semantic: Some(semantic), ..AgentMemory::default() }
    }

    fn agent(self) -> (Arc<Agent>, Self) {
        let memory = self.memory();
        let fixture = self.fixture.memory(memory);
        (fixture.agent(), Self { fixture, ..self })
    }

    fn system(&self, call: usize) -> String {
        self.model.requests()[call].messages[0].content.clone()
    }
}

fn in_session(query: &str, session: &str) -> TurnRequest {
    TurnRequest { session_id: Some(session.to_owned()), ..ask(query) }
}

/// Runs to the end of everything, what is done after the answer included.
async fn run(agent: &Arc<Agent>, request: TurnRequest) -> RunAnswer {
    let run = Arc::clone(agent).start(request, RunOptions::default(), ());
    let end = run.events.collect::<Vec<_>>().await.pop();
    let Some(TurnEvent::Done(answer)) = end else { panic!("{end:?}") };
    *answer
}

#[tokio::test]
async fn another_session_finds_what_was_said_by_its_meaning() {
    let (agent, world) = World::new(["Nice to meet rex.", "It is sunny.", "Rex."]).agent();
    run(&agent, in_session("My dog is called Rex", "s")).await;
    run(&agent, in_session("How is the weather?", "s")).await;
    run(&agent, in_session("What is my dog called?", "t")).await;
    assert_eq!([world.system(0), world.system(1)], ["Be kind.", "Be kind."], "there is nothing close to it");
    insta::assert_snapshot!(world.system(2));
    assert_eq!(world.model.requests()[2].messages.len(), 2);
    let kept = |text: &str| ("s".to_owned(), text.to_owned());
    assert_eq!(
        world.store.texts()[..3],
        [kept("My dog is called Rex"), kept("Nice to meet rex."), kept("How is the weather?")],
        "what means nothing to the model is not kept"
    );
}

#[tokio::test]
async fn a_prompt_that_names_what_was_found_has_it_itself() {
    let mut world = World::new(["ok", "ok"]);
    world.fixture = world.fixture.prompt(
        "{% for text in memory.semantic %}[{{ text.sessionId }} {{ text.score }} {{ text.content }}]{% endfor %}",
    );
    let (agent, world) = world.agent();
    run(&agent, in_session("my dog Rex", "s")).await;
    run(&agent, in_session("Rex the dog", "t")).await;
    assert_eq!([world.system(0), world.system(1)], ["", "[s 1.0 my dog Rex]"]);
}

#[tokio::test]
async fn what_the_conversation_shows_is_not_said_twice() {
    let world = World::new(["ok", "ok"]);
    let settings = ConversationSettings { turns_max: 5, ttl: Duration::from_secs(60) };
    let store = Arc::new(TableStore::default());
    let strategy = Strategy::SlidingWindow { turns_max: 5 };
    let conversation = Some(ConversationMemory { store, settings, strategy });
    let memory = AgentMemory { conversation, ..world.memory() };
    let agent = world.fixture.memory(memory).agent();
    for query in ["my dog is Rex", "and the dog?"] {
        run(&agent, in_session(query, "s")).await;
    }
    assert_eq!(world.model.requests()[1].messages[0].content, "Be kind.");
}

#[rstest]
#[case::down(Failure::Down)]
#[case::slow(Failure::Slow(Duration::from_secs(3600)))]
#[case::another_dimension(Failure::TooLong)]
#[tokio::test(start_paused = true)]
async fn an_embedding_model_that_fails_costs_the_memory_and_not_the_answer(#[case] failure: Failure) {
    let (agent, world) = World::new(["ok"]).agent();
    world.embedder.fail(failure);
    let started = tokio::time::Instant::now();
    let answer = run(&agent, in_session("my dog", "s")).await;
    assert_eq!((answer.answer.as_str(), answer.degraded), ("ok", vec!["memory".to_owned()]));
    assert!(started.elapsed() < Duration::from_secs(40), "everything has a bound: {:?}", started.elapsed());
    assert_eq!(world.store.texts(), []);
}

#[tokio::test]
async fn a_store_that_goes_down_in_mid_run_is_told_in_the_next() {
    let (agent, world) = World::new(["ok", "ok"]).agent();
    let mut events = Arc::clone(&agent).start(in_session("my dog", "s"), RunOptions::default(), ()).events;
    assert!(matches!(events.next().await, Some(TurnEvent::Done(answer)) if answer.degraded.is_empty()));
    world.store.go_down();
    assert!(events.next().await.is_none(), "nobody is told after the end");
    assert_eq!(run(&agent, in_session("my dog", "s")).await.degraded, ["memory"]);
}

fn rules(action: Action, check: CheckSettings) -> Vec<Rule> {
    let settings = RuleSettings { action, check, message: None, messages: true, tool_results: false };
    vec![Rule::compile(settings).unwrap()]
}

#[tokio::test]
async fn what_rules_block_is_not_kept_and_what_they_redact_is_kept_redacted() {
    let word = |word: &str| CheckSettings::Content { keywords: vec![word.to_owned()], patterns: Vec::new() };
    let mut world = World::new(["the dog's secret", "dog at b@example.com"]);
    let mails = || rules(Action::Redact, CheckSettings::Pii(vec![Entity::Email]));
    let input = [rules(Action::Block, word("poison")), mails()].concat();
    let output = [rules(Action::Block, word("secret")), mails()].concat();
    world.fixture = world.fixture.guardrails(input, output);
    let (agent, world) = world.agent();
    for query in ["poison the dog", "tell me of the dog"] {
        assert!(run(&agent, in_session(query, "s")).await.blocked);
        assert_eq!(world.store.texts(), []);
    }
    run(&agent, in_session("my dog is at a@example.com", "s")).await;
    let kept: Vec<_> = world.store.texts().into_iter().map(|(_, text)| text).collect();
    assert_eq!(kept, ["my dog is at [REDACTED_EMAIL]", "dog at [REDACTED_EMAIL]"]);
}

#[tokio::test]
async fn a_caller_that_brings_the_conversation_leaves_nothing_to_find() {
    let (agent, world) = World::new(["ok"]).agent();
    let chat = Some(Box::new(ChatRequest::default()));
    run(&agent, TurnRequest { chat, ..in_session("my dog", "s") }).await;
    assert_eq!(world.store.texts(), []);
}

#[tokio::test]
async fn who_looks_into_it_finds_the_same_until_the_session_is_cleared() {
    let (agent, world) = World::new(["ok", "ok"]).agent();
    run(&agent, in_session("my dog Rex", "s")).await;
    run(&agent, in_session("my dog and your dog", "t")).await;
    let history = AgentHistory::of(&agent);
    let found = async |top_k| -> Value { json!(history.search("dog Rex", top_k).await.unwrap()) };
    let at = "2026-01-02T03:04:05.000Z";
    let rounded = (std::f64::consts::FRAC_1_SQRT_2 * 1e6).round() / 1e6;
    let rex = json!({"content": "my dog Rex", "score": 1.0, "sessionId": "s", "timestamp": at});
    let dogs = json!({"content": "my dog and your dog", "score": rounded, "sessionId": "t", "timestamp": at});
    assert_eq!(found(None).await, json!([rex, dogs]));
    assert_eq!(found(Some(1)).await, json!([rex]));
    assert_eq!(history.clear("s").await.unwrap(), 0, "it has no messages");
    assert_eq!(found(None).await, json!([dogs]));
    assert_eq!(history.clear("s").await.unwrap_err().code.as_str(), "session_not_found");
    world.embedder.fail(Failure::TooLong);
    let error = history.search("dog", None).await.unwrap_err();
    assert_eq!(error.code.as_str(), "memory_unavailable");
    assert!(error.message.contains("vectors of 5 numbers; set embeddings.dimension, which is 4"), "{}", error.message);
    world.embedder.fail(Failure::Down);
    let error = history.search("dog", None).await.unwrap_err();
    assert!(!error.message.contains("refused"), "nothing of the network goes out: {}", error.message);
}
