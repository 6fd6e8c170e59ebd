//! What agents remember: the turns of a session, what became of its runs, and what was said in any; keyed by agent and
//! session.

pub mod episode;
pub mod history;
pub mod semantic;
mod strategy;
pub(crate) mod summary;
pub(crate) mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::message::Message;

pub use strategy::Strategy;

/// Which conversation. Two agents never share one, whatever their sessions are called.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey {
    /// `namespace/name` of the agent.
    pub agent: String,
    /// The session.
    pub session: String,
}

/// One turn: the question, everything that tools said, and the answer. Never stored or given in parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredTurn {
    /// Its messages, the user's first and the assistant's last.
    pub messages: Vec<Message>,
    /// When it ended (RFC 3339).
    pub timestamp: String,
    /// The agent that had the conversation at its end, as `namespace/name`, where that is another one than was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// What a store keeps of a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// What was folded away, in a few sentences.
    pub summary: Option<String>,
    /// The number of the first of `turns`. Numbers grow by one from turn to turn and are never given twice.
    pub first: u64,
    /// The turns, oldest first.
    pub turns: Vec<StoredTurn>,
    /// Changes with every fold, and with every new beginning of the session.
    pub revision: String,
    /// The bytes of turns that [`Window::bytes_max`] left out.
    pub left_out: usize,
}

/// Which turns of a session are read: the newest, contiguous ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Only turns with a smaller number; `None`: up to the newest.
    pub before: Option<u64>,
    /// The most turns.
    pub turns_max: usize,
    /// The most bytes of these turns, as the store keeps them: what does not fit never leaves the store.
    pub bytes_max: usize,
}

impl Window {
    /// The newest turns, at most so many.
    #[must_use]
    pub fn newest(turns_max: usize) -> Self {
        Self { before: None, turns_max, bytes_max: usize::MAX }
    }
}

impl Conversation {
    /// Drops so many of the oldest turns.
    pub fn drop_first(&mut self, turns: u64) {
        let dropped = usize::try_from(turns).map_or(self.turns.len(), |turns| turns.min(self.turns.len()));
        self.turns.drain(..dropped);
        self.first = self.first.saturating_add(u64::try_from(dropped).unwrap_or(u64::MAX));
    }
}

/// What a store keeps of every session of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationSettings {
    /// The last turns kept.
    pub turns_max: usize,
    /// How long a session is kept after its last turn.
    pub ttl: Duration,
}

/// Old turns that a summary takes the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The revision that was read; on another one nothing is folded.
    pub revision: String,
    /// The revision from now on.
    pub next_revision: String,
    /// Turns with a smaller number go.
    pub before: u64,
    /// The summary from now on.
    pub summary: String,
}

/// A store that failed; the turn goes on without memory and says so.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Counts how often a session was forgotten: what a turn has under way when it happens is not kept either.
#[derive(Clone, Debug, Default)]
pub struct Epoch(Arc<AtomicU64>);

impl Epoch {
    /// The session is forgotten.
    pub fn end(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether anybody but its owner looks at it.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Watches it from now on.
    #[must_use]
    pub fn watch(self) -> Watched {
        Watched { began: self.0.load(Ordering::Acquire), epoch: self }
    }
}

/// An epoch as it was at the beginning of a turn.
#[derive(Clone, Debug)]
pub struct Watched {
    epoch: Epoch,
    began: u64,
}

impl Watched {
    /// Whether the session was forgotten since.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.epoch.0.load(Ordering::Acquire) != self.began
    }
}

/// Held while a turn of a session runs, so that two turns of one session never interleave.
pub struct SessionLock {
    _held: Box<dyn Send + Sync>,
    fence: Option<String>,
    epoch: Option<Watched>,
}

impl SessionLock {
    /// A lock that is free again when `held` is dropped, and cannot be lost before.
    #[must_use]
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self { _held: Box::new(held), fence: None, epoch: None }
    }

    /// A lock that can be lost: the store takes a turn only from who still holds it.
    #[must_use]
    pub fn fenced(held: impl Send + Sync + 'static, fence: String) -> Self {
        Self { _held: Box::new(held), fence: Some(fence), epoch: None }
    }

    /// The same, which knows when its session is forgotten.
    #[must_use]
    pub fn within(self, epoch: Epoch) -> Self {
        Self { epoch: Some(epoch.watch()), ..self }
    }

    /// Whether the session was forgotten since the lock was taken.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        self.epoch.as_ref().is_some_and(Watched::is_over)
    }

    /// The epoch of the session, for what is written after the lock is given back.
    #[must_use]
    pub fn epoch(&self) -> Option<Watched> {
        self.epoch.clone()
    }

    /// What proves to the store that the lock is still held.
    #[must_use]
    pub fn fence(&self) -> Option<&str> {
        self.fence.as_deref()
    }
}

/// Where conversations are kept.
#[async_trait]
pub trait ConversationStore: Send + Sync {
    /// Waits for the session to be free and takes it until the lock is dropped.
    ///
    /// # Errors
    /// When the store is down.
    async fn lock(&self, key: &SessionKey) -> Result<SessionLock, StoreError>;
    /// What is in the window of a session; `None` for an unknown or expired session.
    ///
    /// # Errors
    /// When the store is down.
    async fn read(&self, key: &SessionKey, window: Window) -> Result<Option<Conversation>, StoreError>;
    /// Adds a turn, keeps the last `settings.turns_max` and starts the session's time to live anew.
    ///
    /// # Errors
    /// When the store is down, and when `lock` was lost or its session deleted meanwhile: then nothing is stored.
    async fn append(
        &self,
        key: &SessionKey,
        turn: StoredTurn,
        settings: ConversationSettings,
        lock: &SessionLock,
    ) -> Result<(), StoreError>;
    /// Puts a summary in place of old turns. Returns whether it did: not if the session is not as it was read.
    ///
    /// # Errors
    /// When the store is down.
    async fn fold(&self, key: &SessionKey, fold: Fold) -> Result<bool, StoreError>;
    /// Forgets a session, and what a turn of it is about to append. Returns how many messages it had; `None` for an
    /// unknown or expired one.
    ///
    /// # Errors
    /// When the store is down.
    async fn delete(&self, key: &SessionKey) -> Result<Option<u64>, StoreError>;
}
