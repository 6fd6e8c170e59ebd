//! What a turn remembers, through the public interface.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::fixture::{Fixture, ask};
use agent_pod_core::agent::AgentMemory;
use agent_pod_core::event::TurnRequest;
use agent_pod_core::memory::{
    ConversationSettings, ConversationStore, SessionKey, SessionLock, StoreError, StoredTurn,
};
use agent_pod_core::service::RunOptions;
use agent_pod_core::testing::ScriptedModel;
use async_trait::async_trait;

/// Keeps everything; or fails, or hangs, as told.
#[derive(Default)]
struct TestStore {
    turns: Mutex<HashMap<SessionKey, Vec<StoredTurn>>>,
    down: bool,
    hangs: bool,
}

#[async_trait]
impl ConversationStore for TestStore {
    async fn lock(&self, _: &SessionKey) -> Result<SessionLock, StoreError> {
        if self.down { Err(StoreError("down".into())) } else { Ok(Box::new(())) }
    }

    async fn load(&self, key: &SessionKey, _: usize) -> Result<Vec<StoredTurn>, StoreError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        Ok(self.turns.lock().unwrap().get(key).cloned().unwrap_or_default())
    }

    async fn append(&self, key: &SessionKey, turn: StoredTurn, _: ConversationSettings) -> Result<(), StoreError> {
        self.turns.lock().unwrap().entry(key.clone()).or_default().push(turn);
        Ok(())
    }
}

fn memory(store: TestStore) -> AgentMemory {
    AgentMemory {
        store: Arc::new(store),
        settings: ConversationSettings { turns_max: 5, ttl: Duration::from_secs(60) },
    }
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
