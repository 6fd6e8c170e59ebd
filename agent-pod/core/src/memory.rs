//! Conversation memory: the turns of a session, keyed by agent and session.

use std::time::Duration;

use async_trait::async_trait;

use crate::message::Message;

/// Which conversation. Two agents never share one, whatever their sessions are called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// `namespace/name` of the agent.
    pub agent: String,
    /// The session.
    pub session: String,
}

/// One turn: the question, everything that tools said, and the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTurn {
    /// Its messages, the user's first and the assistant's last.
    pub messages: Vec<Message>,
    /// When it ended (RFC 3339).
    pub timestamp: String,
}

/// What an agent remembers of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationSettings {
    /// The last turns that reach the model.
    pub turns_max: usize,
    /// How long a session is kept after its last turn.
    pub ttl: Duration,
}

/// A store that failed; the turn goes on without memory and says so.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Held while a turn of a session runs, so that two turns of one session never interleave.
pub type SessionLock = Box<dyn Send + Sync>;

/// Where conversations are kept.
#[async_trait]
pub trait ConversationStore: Send + Sync {
    /// Waits for the session to be free and takes it until the lock is dropped.
    ///
    /// # Errors
    /// When the store is down.
    async fn lock(&self, key: &SessionKey) -> Result<SessionLock, StoreError>;
    /// The last `turns_max` turns, oldest first; none for an unknown or expired session.
    ///
    /// # Errors
    /// When the store is down.
    async fn load(&self, key: &SessionKey, turns_max: usize) -> Result<Vec<StoredTurn>, StoreError>;
    /// Adds a turn, keeps the last `settings.turns_max` and starts the session's time to live anew.
    ///
    /// # Errors
    /// When the store is down.
    async fn append(
        &self,
        key: &SessionKey,
        turn: StoredTurn,
        settings: ConversationSettings,
    ) -> Result<(), StoreError>;
}
