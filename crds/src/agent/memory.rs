//! What an agent remembers.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

mod episodic;
mod semantic;

use kube::KubeSchema;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::SecretKeyRef;
use crate::duration::DurationString;
use crate::rules;

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
    #[x_kube(validation = rules::duration("memory.conversational.ttl", "1s", "8760h"))]
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

/// CEL that is true of a volume's size.
const IS_SIZE: &str = "self.matches('^[1-9][0-9]{0,11}(Ki|Mi|Gi|Ti|k|M|G|T)?$')";

/// A volume for files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = same_class())]
#[x_kube(validation = no_smaller())]
pub struct Persistence {
    /// Its size, for example `1Gi`; it may grow later where the storage class allows it.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = rules::text("memory.persistence.size", IS_SIZE, "is not a size: use a number over 0 with Mi, Gi or Ti, such as 1Gi"))]
    pub size: String,
    /// Its storage class; absent: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("memory.persistence.storageClassName"))]
    pub storage_class_name: Option<String>,
}

/// A rule on the class as a part of the volume: one on the field itself would let it be removed, and then set anew.
fn same_class() -> Rule {
    let told =
        |class: &str| format!("(has({class}.storageClassName) ? strings.quote({class}.storageClassName) : 'absent')");
    rules::rule(
        "has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)",
        format!(
            "'memory.persistence.storageClassName ' + {} + ' was ' + {} + ', and cannot change: a volume stays where it is; write it as it was, or delete the agent with what it remembers and create it anew'",
            told("self"),
            told("oldSelf")
        ),
    )
}

fn no_smaller() -> Rule {
    let comparable = IS_SIZE.replace("self", "self.size") + " && " + &IS_SIZE.replace("self", "oldSelf.size");
    rules::rule(
        &format!("!({comparable}) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0"),
        "'memory.persistence.size ' + self.size + ' was ' + oldSelf.size + ', and a volume cannot shrink; write at least that'".to_owned(),
    )
}
