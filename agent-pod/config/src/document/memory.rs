//! What an agent remembers, as the document holds it.

use astromesh_crds::v1alpha1::{ConversationalBackend, EpisodicBackend, MemoryStrategy};
use serde::{Deserialize, Serialize};

use super::SecretKey;

/// What an agent remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryDocument {
    /// The turns of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversational: Option<ConversationalDocument>,
    /// What became of a session's runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episodic: Option<EpisodicDocument>,
}

/// The turns of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConversationalDocument {
    /// Where they are kept.
    pub backend: ConversationalBackend,
    /// The Secret's key with the URL of the server, for the backends that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<SecretKey>,
    /// What of them reaches the model.
    pub strategy: MemoryStrategy,
    /// How many turns reach the model, or are left as they were said.
    pub max_turns: u32,
    /// The most tokens of a token budget.
    pub max_tokens: u32,
    /// How long a session is kept after its last turn.
    pub ttl_ms: u64,
}

/// What became of a session's runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EpisodicDocument {
    /// Where the events are kept.
    pub backend: EpisodicBackend,
    /// The Secret's key with the URL of the server, for the backends that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<SecretKey>,
    /// How many of the last events reach the model.
    pub max_events: u32,
}

impl MemoryDocument {
    /// The Secrets' keys that it names, each with the path of the field that names it.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (&'static str, &SecretKey)> {
        let said = self.conversational.as_ref().and_then(|said| said.connection.as_ref());
        let done = self.episodic.as_ref().and_then(|done| done.connection.as_ref());
        let said = said.map(|key| ("memory.conversational.connection", key));
        said.into_iter().chain(done.map(|key| ("memory.episodic.connection", key)))
    }
}
