//! What an agent remembers, and where.

use std::sync::Arc;

use crate::embedding::Embedding;
use crate::memory::episode::EpisodeStore;
use crate::memory::semantic::SemanticStore;
use crate::memory::{ConversationSettings, ConversationStore, Strategy};

/// What an agent remembers.
#[derive(Clone, Default)]
pub struct AgentMemory {
    /// The turns of a session.
    pub conversation: Option<ConversationMemory>,
    /// What became of a session's runs.
    pub episodic: Option<EpisodicMemory>,
    /// What was said in any session.
    pub semantic: Option<SemanticMemory>,
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

/// Where texts are kept by their meaning, and which of those found reach the model.
#[derive(Clone)]
pub struct SemanticMemory {
    /// Where.
    pub store: Arc<dyn SemanticStore>,
    /// What turns texts into vectors.
    pub embedding: Embedding,
    /// How many.
    pub top_k: usize,
    /// The least score.
    pub min_score: f64,
}

impl SemanticMemory {
    /// Where texts are kept, and what turns them into vectors.
    pub(crate) fn parts(&self) -> (&dyn SemanticStore, &Embedding) {
        (&*self.store, &self.embedding)
    }
}

impl AgentMemory {
    /// Whether a run may have something left to write or to sum up after its end was told.
    #[must_use]
    pub fn works_afterwards(&self) -> bool {
        let folds = |memory: &ConversationMemory| matches!(memory.strategy, Strategy::Summary { .. });
        self.conversation.as_ref().is_some_and(folds) || self.episodic.is_some() || self.semantic.is_some()
    }
}
