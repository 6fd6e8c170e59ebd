//! Where a prompt comes from that is not written into the Agent.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use crate::rules;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The most characters of a system prompt, wherever it is written.
pub const SYSTEM_PROMPT_CHARS_MAX: usize = 262_144;

/// Where a prompt is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromptSource {
    /// A key of a ConfigMap in the Agent's namespace; an edit of it is served without a restart.
    pub config_map_key_ref: ConfigMapKeyRef,
}

/// One key of a ConfigMap in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("configMapKeyRef.name"))]
    pub name: String,
    /// Key within its `data`.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::key("configMapKeyRef.key"))]
    pub key: String,
}
