//! What the operator reports of an agent.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::conditions_schema;

/// What the operator knows of an Agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentStatus {
    /// The generation that the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds and what does not: `Ready`, `Accepted`, `ResolvedRefs`, `Programmed`, `Loaded`, and when they apply `Degraded`, `Reconciling`, `Stalled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The document's revision: what pods shall serve, and what every ready pod does serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<RevisionStatus>,
    /// Pods of the agent.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that can serve.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Label selector of the pods, for `kubectl scale` and autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Where to call the agent from inside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<AgentEndpoints>,
    /// The models as `provider/model`: those of the default role as declared, then those of the other roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The tools that the model sees, as the pods report them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tools: Vec<ToolStatus>,
    /// The same in short, for the columns of `kubectl get`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<AgentSummary>,
}

/// What `kubectl get` shows of an Agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSummary {
    /// `Ready`, `Degraded`, `Rollout`, `Stalled` or `Suspended`.
    pub status: String,
    /// Pods that can serve, of those that there shall be: `1/2`.
    pub replicas: String,
    /// The first 12 digits of the revision that every ready pod serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// A tool that the model sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolStatus {
    /// Its name.
    pub name: String,
    /// Who carries it out.
    #[serde(rename = "type")]
    pub tool_type: String,
    /// `ready`, or `unavailable` while some pod leaves it alone after failures in a row.
    pub state: String,
}

/// The document's revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// What the pods shall serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<String>,
    /// What every ready pod serves; absent while they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<String>,
}

/// Where to call the agent from inside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentEndpoints {
    /// Base URL of the agent's Service.
    pub base: String,
    /// One turn: JSON in, JSON or server-sent events out.
    pub run: String,
    /// Many turns over one WebSocket.
    pub web_socket: String,
    /// Base URL for OpenAI's clients; absent when `expose.openai` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openai: Option<String>,
}
