//! What a turn remembers, through the public interface.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::fixture::{Fixture, ask, conversations};
use agent_pod_core::agent::{Agent, AgentMemory, ConversationMemory};
use agent_pod_core::event::{TurnEvent, TurnRequest};
use agent_pod_core::memory::{
    Conversation, ConversationSettings, ConversationStore, Fold, SessionKey, SessionLock, StoreError, StoredTurn,
    Strategy, Window,
};
use agent_pod_core::model::strategy as routing;
use agent_pod_core::prompt::CONTEXT;
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::{Scripted, ScriptedModel, candidate, models};
use async_trait::async_trait;
use futures::StreamExt as _;

/// Keeps everything; or fails, or hangs, as told.
#[derive(Default)]
struct TestStore {
    sessions: Mutex<HashMap<SessionKey, Conversation>>,
    down: bool,
    hangs: bool,
}

impl TestStore {
    fn session(&self, session: &str) -> Conversation {
        let key = SessionKey { agent: "shop/support".to_owned(), session: session.to_owned() };
        self.sessions.lock().unwrap().get(&key).cloned().unwrap_or_default()
    }
}

#[async_trait]
impl ConversationStore for TestStore {
    async fn lock(&self, _: &SessionKey) -> Result<SessionLock, StoreError> {
        if self.down { Err(StoreError("down".into())) } else { Ok(SessionLock::new(())) }
    }

    async fn read(&self, key: &SessionKey, _: Window) -> Result<Option<Conversation>, StoreError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Ok(self.sessions.lock().unwrap().get(key).cloned())
    }

    async fn append(
        &self,
        key: &SessionKey,
        turn: StoredTurn,
        _: ConversationSettings,
        _: &SessionLock,
    ) -> Result<(), StoreError> {
        self.sessions.lock().unwrap().entry(key.clone()).or_default().turns.push(turn);
        Ok(())
    }

    async fn fold(&self, key: &SessionKey, fold: Fold) -> Result<bool, StoreError> {
        let mut sessions = self.sessions.lock().unwrap();
        let session = sessions.get_mut(key).unwrap();
        assert_eq!(session.revision, fold.revision);
        session.turns.drain(..usize::try_from(fold.before - session.first).unwrap());
        (session.first, session.revision, session.summary) = (fold.before, fold.next_revision, Some(fold.summary));
        Ok(true)
    }

    async fn delete(&self, key: &SessionKey) -> Result<Option<u64>, StoreError> {
        Ok(self.sessions.lock().unwrap().remove(key).map(|_| 0))
    }
}

fn memory(store: TestStore) -> AgentMemory {
    with(&Arc::new(store), Strategy::SlidingWindow { turns_max: 5 })
}

fn with(store: &Arc<TestStore>, strategy: Strategy) -> AgentMemory {
    let settings = ConversationSettings { turns_max: strategy.turns_kept(), ttl: Duration::from_secs(60) };
    conversations(ConversationMemory { store: Arc::clone(store) as _, settings, strategy })
}

async fn ask_in(agent: &Arc<Agent>, query: &str, session: &str) {
    let run = Arc::clone(agent).start(in_session(query, session), RunOptions::default(), ());
    let events: Vec<_> = run.events.collect().await;
    assert!(matches!(events.last(), Some(TurnEvent::Done(_))), "{events:?}");
}

fn in_session(query: &str, session: &str) -> TurnRequest {
    TurnRequest { session_id: Some(session.to_owned()), ..ask(query) }
}

#[tokio::test]
async fn a_session_goes_on_where_it_was_and_others_know_nothing_of_it() {
    let model = ScriptedModel::new(["a", "b", "c"].map(ScriptedModel::text));
    let fixture = Fixture::new([("only", model.clone())]).memory(memory(TestStore::default()));
    let agent = fixture.agent();
    for (query, session) in [("one", "s1"), ("two", "s1"), ("three", "s2")] {
        Arc::clone(&agent).start(in_session(query, session), RunOptions::default(), ()).answer().await.unwrap();
    }
    let said: Vec<Vec<String>> =
        model.requests().iter().map(|r| r.messages.iter().skip(1).map(|m| m.content.clone()).collect()).collect();
    assert_eq!(said, [vec!["one"], vec!["one", "a", "two"], vec!["three"]]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_or_hangs_leaves_an_answer_that_says_so() {
    for store in [TestStore { down: true, ..TestStore::default() }, TestStore { hangs: true, ..TestStore::default() }] {
        let model = ScriptedModel::new([ScriptedModel::text("still here")]);
        let fixture = Fixture::new([("only", model)]).memory(memory(store));
        let answer = fixture.agent().start(in_session("hi", "s"), RunOptions::default(), ()).answer().await.unwrap();
        assert_eq!((answer.answer.as_str(), answer.degraded), ("still here", vec!["memory".to_owned()]));
    }
}

#[tokio::test]
async fn an_agent_without_memory_keeps_nothing() {
    let model = ScriptedModel::new(["a", "b"].map(ScriptedModel::text));
    let fixture = Fixture::new([("only", model.clone())]);
    let agent = fixture.agent();
    for query in ["one", "two"] {
        Arc::clone(&agent).start(in_session(query, "s"), RunOptions::default(), ()).answer().await.unwrap();
    }
    assert_eq!(model.requests()[1].messages.len(), 2);
}

/// An agent with a summarizer of its own, and what that one is asked.
fn summarizing(
    store: &Arc<TestStore>,
    answers: usize,
    summaries: Vec<Vec<Scripted>>,
) -> (Arc<Agent>, [Arc<ScriptedModel>; 2]) {
    let model = ScriptedModel::new((0..answers).map(|number| ScriptedModel::text(&format!("a{number}"))));
    let summarizer = ScriptedModel::new(summaries.into_iter().map(Ok));
    let fixture = Fixture::new([("only", model.clone())]).memory(with(store, Strategy::Summary { turns_max: 2 }));
    let one = |model: &Arc<ScriptedModel>| {
        models(routing::Strategy::CapabilityMatch, vec![candidate("only", Arc::clone(model) as _)])
    };
    let mut roles = one(&model);
    roles.roles.insert("summarizer".to_owned(), one(&summarizer).default);
    (fixture.agent_over(roles), [model, summarizer])
}

#[tokio::test]
async fn old_turns_become_a_summary_that_grows_with_them() {
    let store = Arc::new(TestStore::default());
    let summaries = ["the first", "the first two"].map(|text| ScriptedModel::text(text).unwrap()).to_vec();
    let (agent, [model, summarizer]) = summarizing(&store, 5, summaries);
    for query in ["q0", "q1", "q2", "q3"] {
        ask_in(&agent, query, "s").await;
    }
    let folded = store.session("s");
    assert_eq!((folded.summary.as_deref(), folded.first, folded.turns.len()), (Some("the first two"), 2, 2));
    let asked: Vec<_> = summarizer.requests().iter().map(|request| request.messages[1].content.clone()).collect();
    assert_eq!(
        asked,
        [
            "Notes so far:\nnone\n\nWhat was said then:\nuser: q0\nassistant: a0\n",
            "Notes so far:\nthe first\n\nWhat was said then:\nuser: q1\nassistant: a1\n",
        ]
    );
    let last = &model.requests()[3].messages;
    assert_eq!(
        last.iter().map(|message| message.content.as_str()).collect::<Vec<_>>(),
        ["Be kind.\n\nNotes of what was said earlier in this conversation:\nthe first", "q1", "a1", "q2", "a2", "q3"]
    );
}

#[tokio::test]
async fn a_summary_is_made_after_the_answer_has_been_told() {
    let store = Arc::new(TestStore::default());
    let (agent, [_, summarizer]) = summarizing(&store, 3, vec![ScriptedModel::text("notes").unwrap()]);
    for query in ["q0", "q1"] {
        ask_in(&agent, query, "s").await;
    }
    let mut run = Arc::clone(&agent).start(in_session("q2", "s"), RunOptions::default(), ());
    assert!(matches!(run.events.next().await, Some(TurnEvent::Done(_))));
    assert_eq!(summarizer.requests().len(), 0);
    assert!(run.events.next().await.is_none());
    assert_eq!((summarizer.requests().len(), store.session("s").summary.as_deref()), (1, Some("notes")));
}

#[tokio::test(start_paused = true)]
async fn a_summarizer_that_fails_loses_no_turn_and_is_asked_again() {
    let store = Arc::new(TestStore::default());
    let summaries =
        vec![vec![Scripted::Silence], ScriptedModel::text(" ").unwrap(), ScriptedModel::text("notes").unwrap()];
    let (agent, [model, _]) = summarizing(&store, 6, summaries);
    for query in ["q0", "q1", "q2", "q3", "q4"] {
        ask_in(&agent, query, "s").await;
    }
    let said: Vec<_> = model.requests()[4].messages[1..].iter().map(|message| message.content.clone()).collect();
    assert_eq!(said, ["q0", "a0", "q1", "a1", "q2", "a2", "q3", "a3", "q4"]);
    let folded = store.session("s");
    assert_eq!((folded.summary.as_deref(), folded.first, folded.turns.len()), (Some("notes"), 3, 2));
}

#[tokio::test]
async fn a_prompt_that_shows_the_conversation_itself_gets_it_once() {
    let model = ScriptedModel::new(["a", "b"].map(ScriptedModel::text));
    let prompt = "{% for said in memory.conversation %}{{ said.role }}: {{ said.content }};{% endfor %}";
    let fixture = Fixture::new([("only", model.clone())]).prompt(prompt).memory(memory(TestStore::default()));
    let agent = fixture.agent();
    for query in ["one", "two"] {
        ask_in(&agent, query, "s").await;
    }
    let said: Vec<_> = model.requests()[1].messages.iter().map(|message| message.content.clone()).collect();
    assert_eq!(said, ["user: one;assistant: a;", "two"]);
}

#[tokio::test]
async fn a_context_that_shows_the_conversation_stands_before_the_question_in_place_of_it() {
    let model = ScriptedModel::new(["a", "b"].map(ScriptedModel::text));
    let context = "Before: {% for said in memory.conversation %}{{ said.content }};{% endfor %}";
    let fixture = Fixture::new([("only", model.clone())]).template(CONTEXT, context);
    let agent = fixture.memory(memory(TestStore::default())).agent();
    for query in ["one", "two"] {
        ask_in(&agent, query, "s").await;
    }
    let said: Vec<_> = model.requests()[1].messages.iter().map(|message| message.content.clone()).collect();
    assert_eq!(said, ["Be kind.", "Before: one;a;\n\ntwo"]);
}

#[tokio::test]
async fn a_token_budget_never_cuts_a_turn_from_its_tools() {
    let call = agent_pod_core::message::ToolCall {
        id: "1".to_owned(),
        name: "upper".to_owned(),
        arguments: serde_json::json!({"text": "x"}),
    };
    let asks = vec![Scripted::Event(agent_pod_core::model::ModelEvent::ToolCall(call))];
    let model =
        ScriptedModel::new([ScriptedModel::text("a"), Ok(asks), ScriptedModel::text("b"), ScriptedModel::text("c")]);
    let store = Arc::new(TestStore::default());
    // The second turn has four messages, which fit; the first one beside it does not.
    let budget = with(&store, Strategy::TokenBudget { tokens_max: 35 });
    let agent = Fixture::new([("only", model.clone())]).tools().memory(budget).agent();
    for query in ["one", "two", "three"] {
        ask_in(&agent, query, "s").await;
    }
    let roles: Vec<_> = model.requests()[3].messages.iter().map(|message| message.role).collect();
    use agent_pod_core::message::Role::{Assistant, System, Tool, User};
    assert_eq!(roles, [System, User, Assistant, Tool, Assistant, User]);
}
