//! What became of an agent's runs.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StoreConnection;

/// An event per run, kept per agent and session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.backend == 'postgres') == has(self.connection)").message("memory.episodic.connection is required for postgres, and has no meaning for sqlite"))]
pub struct EpisodicMemory {
    /// Where the events are kept.
    pub backend: EpisodicBackend,
    /// The server of `postgres`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<StoreConnection>,
    /// How many of a session's last events the model is told.
    #[serde(default = "EpisodicMemory::default_max_events")]
    #[schemars(range(min = 1, max = 100))]
    pub max_events: u32,
}

impl EpisodicMemory {
    fn default_max_events() -> u32 {
        5
    }
}

/// Where events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EpisodicBackend {
    /// In a file of the pod: survives a restart with `memory.persistence`, and is not shared by replicas.
    Sqlite,
    /// In PostgreSQL, shared by replicas.
    Postgres,
}
