//! The memory of one turn: read before it, written after it.

use std::time::Duration;

use tokio::time::timeout;

use super::{Agent, AgentMemory, Ledger, Turn};
use crate::memory::{SessionKey, SessionLock, StoreError, StoredTurn};
use crate::message::Message;
use crate::pattern::PatternEnd;

/// How long a turn waits for its memory to read or write; then it goes on without.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// The memory of one turn: what was said before, and the session's lock until the turn has been stored.
pub(super) struct Recall<'a> {
    memory: Option<(&'a AgentMemory, SessionKey, SessionLock)>,
    pub(super) history: Vec<Message>,
}

impl<'a> Recall<'a> {
    /// Takes the session and reads it. A store that is down leaves the turn without memory, and the answer says so.
    pub(super) async fn begin(turn: &Turn<'a>) -> Self {
        let none = Self { memory: None, history: Vec::new() };
        let (agent, identity, ledger) = (turn.agent, turn.identity, turn.ledger);
        // Who brings the whole conversation keeps it.
        let Some(memory) = agent.memory.as_ref().filter(|_| turn.request.chat.is_none()) else { return none };
        let key =
            SessionKey { agent: format!("{}/{}", agent.namespace, agent.name), session: identity.session_id.clone() };
        // The lock waits for another turn of the session, which the run's deadline bounds.
        let lock = match memory.store.lock(&key).await {
            Ok(lock) => lock,
            Err(error) => {
                degrade(ledger, &error);
                return none;
            }
        };
        match in_time(memory.store.load(&key, memory.settings.turns_max)).await {
            Ok(turns) => {
                let history = turns.into_iter().flat_map(|turn| turn.messages).collect();
                Self { memory: Some((memory, key, lock)), history }
            }
            Err(error) => {
                degrade(ledger, &error);
                none
            }
        }
    }

    /// Stores the turn and gives the session free.
    pub(super) async fn remember(self, agent: &Agent, question: Message, end: &PatternEnd, ledger: &Ledger) {
        let Some((memory, key, lock)) = self.memory else { return };
        let mut messages = vec![question];
        messages.extend(end.transcript.iter().cloned());
        let turn = StoredTurn { messages, timestamp: agent.environment.timestamp() };
        if let Err(error) = in_time(memory.store.append(&key, turn, memory.settings)).await {
            degrade(ledger, &error);
        }
        drop(lock);
    }
}

async fn in_time<T>(operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(STORE_WAIT, operation).await.unwrap_or_else(|_| Err(StoreError("the store did not answer in time".into())))
}

fn degrade(ledger: &Ledger, error: &StoreError) {
    tracing::warn!(cause = %error, "conversation memory failed, going on without");
    ledger.degrade("memory");
}
