//! How agents hand conversations over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a `swarm` hands the conversation over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HandoffsDocument {
    /// How often in one turn.
    pub max: u32,
    /// Everyone whom the conversation can get to, by `namespace/name`.
    pub peers: BTreeMap<String, PeerDocument>,
}

/// The way to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerDocument {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The base URL of its API; absent: this document holds it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
