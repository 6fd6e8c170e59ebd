//! What an agent remembers, as the document holds it.

use astromesh_crds::v1alpha1::{
    ConversationalBackend, EmbeddingsProvider, EpisodicBackend, MemoryStrategy, SemanticBackend,
};
use serde::{Deserialize, Serialize};

use super::{AuthDocument, SecretKey};

/// What an agent remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryDocument {
    /// The turns of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversational: Option<ConversationalDocument>,
    /// What became of a session's runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episodic: Option<EpisodicDocument>,
    /// What is found again by its meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticDocument>,
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

/// What is found again by its meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SemanticDocument {
    /// Where it is kept.
    pub backend: SemanticBackend,
    /// The Secret's key with the URL of the server, for the backends that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<SecretKey>,
    /// What turns texts into vectors.
    pub embeddings: EmbeddingsDocument,
    /// How many of the texts found reach the model.
    pub top_k: u32,
    /// The least similarity.
    pub min_score: f64,
}

/// What turns texts into vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmbeddingsDocument {
    /// The protocol of the server.
    pub provider: EmbeddingsProvider,
    /// The model's name at the server.
    pub model: String,
    /// Base URL.
    pub endpoint: String,
    /// Credentials; absent: none are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthDocument>,
    /// How many numbers a vector has.
    pub dimension: u32,
    /// The most texts of one request.
    pub batch_size: u32,
}

impl MemoryDocument {
    /// The Secrets' keys that it names, each with the path of the field that names it.
    pub(super) fn secrets(&self) -> impl Iterator<Item = (&'static str, &SecretKey)> {
        let said = self.conversational.as_ref().and_then(|said| said.connection.as_ref());
        let done = self.episodic.as_ref().and_then(|done| done.connection.as_ref());
        let meant = self.semantic.as_ref();
        let auth = meant.and_then(|meant| meant.embeddings.auth.as_ref()).map(|auth| &auth.secret);
        let named = [
            ("memory.conversational.connection", said),
            ("memory.episodic.connection", done),
            ("memory.semantic.connection", meant.and_then(|meant| meant.connection.as_ref())),
            ("memory.semantic.embeddings.auth.secret", auth),
        ];
        named.into_iter().filter_map(|(field, key)| Some((field, key?)))
    }
}
