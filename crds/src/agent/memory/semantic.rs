//! What an agent finds again by its meaning.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StoreConnection;
use crate::provider::ProviderAuth;
use crate::rules;

/// What was said in any session of the agent, found again by its meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.backend == 'pgvector') == has(self.connection)").message("memory.semantic.connection is required for pgvector, and has no meaning for embedded"))]
pub struct SemanticMemory {
    /// Where it is kept.
    pub backend: SemanticBackend,
    /// The server of `pgvector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<StoreConnection>,
    /// The model that turns texts into vectors.
    pub embeddings: Embeddings,
    /// How many of the texts found the model is told.
    #[serde(default = "SemanticMemory::default_top_k")]
    #[schemars(range(min = 1, max = 100))]
    pub top_k: u32,
    /// The least cosine similarity to the question, from 0 to 1.
    #[serde(default = "SemanticMemory::default_min_score")]
    #[schemars(range(min = 0, max = 1))]
    pub min_score: f64,
}

impl SemanticMemory {
    fn default_top_k() -> u32 {
        5
    }

    fn default_min_score() -> f64 {
        0.75
    }
}

/// Where texts and their vectors are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SemanticBackend {
    /// In a file of the pod: survives a restart with `memory.persistence`, and is not shared by replicas.
    Embedded,
    /// In PostgreSQL with the extension `vector`, shared by replicas.
    Pgvector,
}

/// A model that turns texts into vectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Embeddings {
    /// The protocol of its server.
    pub provider: EmbeddingsProvider,
    /// Its name at the server.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// Base URL, the part before `/embeddings` (for `ollama`: before `/api`); without a path, `/v1` is added (not for `ollama`).
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = rules::url("embeddings.endpoint", "https://api.openai.com/v1"))]
    #[x_kube(validation = rules::no_credentials("embeddings.endpoint", "embeddings.auth"))]
    pub endpoint: String,
    /// How to log in; absent: no credentials are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ProviderAuth>,
    /// How many numbers its vectors have; others are refused.
    #[schemars(range(min = 1, max = 16_000))]
    pub dimension: u32,
    /// The most texts of one request.
    #[serde(default = "Embeddings::default_batch_size")]
    #[schemars(range(min = 1, max = 256))]
    pub batch_size: u32,
}

impl Embeddings {
    fn default_batch_size() -> u32 {
        32
    }
}

/// The protocols of servers that turn texts into vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingsProvider {
    /// `/embeddings` of OpenAI, and any server that has it.
    OpenaiCompat,
    /// `/api/embed` of Ollama.
    Ollama,
}
