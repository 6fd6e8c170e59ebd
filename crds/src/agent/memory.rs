//! What an agent remembers.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

mod episodic;
mod semantic;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::SecretKeyRef;
use crate::duration::DurationString;

pub use episodic::*;
pub use semantic::*;

/// What the agent remembers: at least one of `conversational`, `episodic` and `semantic`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.conversational) || has(self.episodic) || has(self.semantic)").message("memory needs at least one of conversational, episodic and semantic"))]
#[x_kube(validation = Rule::new("!has(self.persistence) || (has(self.conversational) && self.conversational.backend == 'sqlite') || (has(self.episodic) && self.episodic.backend == 'sqlite') || (has(self.semantic) && self.semantic.backend == 'embedded')").message("memory.persistence is for backends that keep a file; without one (sqlite, embedded) remove it"))]
pub struct Memory {
    /// The turns of a session, put before the next question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversational: Option<ConversationalMemory>,
    /// What became of the last runs of a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episodic: Option<EpisodicMemory>,
    /// What was said in any session, found again by its meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticMemory>,
    /// A volume for the files of `sqlite` and `embedded`; absent: they end with the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
}

/// The turns of a session, kept per agent and session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.backend in ['redis', 'postgres']) == has(self.connection)").message("memory.conversational.connection is required for redis and postgres, and has no meaning for other backends"))]
pub struct ConversationalMemory {
    /// Where the turns are kept.
    pub backend: ConversationalBackend,
    /// The server of `redis` and `postgres`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<StoreConnection>,
    /// What of them is put before the next question.
    #[serde(default)]
    pub strategy: MemoryStrategy,
    /// How many turns `sliding_window` keeps, and how many `summary` leaves as they were said.
    #[serde(default = "ConversationalMemory::default_max_turns")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_turns: u32,
    /// The most tokens of the turns that `token_budget` takes, estimated as a quarter of the characters.
    #[serde(default = "ConversationalMemory::default_max_tokens")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_tokens: u32,
    /// How long a session is kept after its last turn.
    #[serde(default = "ConversationalMemory::default_ttl")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('8760h')").message("memory.conversational.ttl must be between 1s and 8760h"))]
    pub ttl: DurationString,
}

impl ConversationalMemory {
    fn default_max_turns() -> u32 {
        20
    }

    fn default_max_tokens() -> u32 {
        4_000
    }

    fn default_ttl() -> DurationString {
        "72h".into()
    }
}

/// Where conversations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationalBackend {
    /// In the pod's memory: survives a reload, not a restart, and is not shared by replicas.
    InMemory,
    /// In a file of the pod: survives a restart with `memory.persistence`, and is not shared by replicas.
    Sqlite,
    /// In Redis, shared by replicas.
    Redis,
    /// In PostgreSQL, shared by replicas.
    Postgres,
}

/// What of a conversation is put before the next question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryStrategy {
    /// The last `maxTurns` turns.
    #[default]
    SlidingWindow,
    /// As many of the last turns as have at most `maxTokens` tokens, never half a turn.
    TokenBudget,
    /// The last `maxTurns` turns, and a summary of those before, written by the models of role `summarizer`.
    Summary,
}

/// The server of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreConnection {
    /// The Secret's key that holds the URL, for example `redis://…`, `rediss://…` or `postgres://…`.
    pub secret_key_ref: SecretKeyRef,
}

/// A volume for files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Persistence {
    /// Its size, for example `1Gi`; it may grow later where the storage class allows it.
    #[schemars(length(max = 32), regex(pattern = r"^[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub size: String,
    /// Its storage class; absent: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("memory.persistence.storageClassName cannot change; a volume stays where it is"))]
    pub storage_class_name: Option<String>,
}
