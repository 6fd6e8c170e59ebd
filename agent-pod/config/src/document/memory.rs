//! What an agent remembers, as the document holds it.

use astromesh_crds::v1alpha1::{ConversationalBackend, MemoryStrategy};
use serde::{Deserialize, Serialize};

use super::SecretKey;

/// What an agent remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryDocument {
    /// The turns of a session.
    pub conversational: ConversationalDocument,
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

impl MemoryDocument {
    /// The Secrets' keys that it names, each with the path of the field that names it.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (&'static str, &SecretKey)> {
        self.conversational.connection.iter().map(|key| ("memory.conversational.connection", key))
    }
}
