//! What an agent remembers, and where.

use std::sync::Arc;

use crate::memory::episode::EpisodeStore;
use crate::memory::{ConversationSettings, ConversationStore, Strategy};

/// What an agent remembers.
#[derive(Clone, Default)]
pub struct AgentMemory {
    /// The turns of a session.
    pub conversation: Option<ConversationMemory>,
    /// What became of a session's runs.
    pub episodic: Option<EpisodicMemory>,
}

/// Where the turns of a session are kept, and which of them.
#[derive(Clone)]
pub struct ConversationMemory {
    /// Where.
    pub store: Arc<dyn ConversationStore>,
    /// How much of a session is kept, and for how long.
    pub settings: ConversationSettings,
    /// What of it reaches the model.
    pub strategy: Strategy,
}

/// Where the events of a session are kept, and which of them reach the model.
#[derive(Clone)]
pub struct EpisodicMemory {
    /// Where.
    pub store: Arc<dyn EpisodeStore>,
    /// How many of the last ones reach the model.
    pub events_max: usize,
}

impl AgentMemory {
    /// Whether a run may have something left to write or to sum up after its end was told.
    #[must_use]
    pub fn works_afterwards(&self) -> bool {
        let folds = |memory: &ConversationMemory| matches!(memory.strategy, Strategy::Summary { .. });
        self.conversation.as_ref().is_some_and(folds) || self.episodic.is_some()
    }
}
