//! What the operator reports of a provider.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::conditions_schema;

/// What the operator knows of a Provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// The generation that the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds and what does not: `Ready`, `Accepted`, `CredentialsResolved`, `EndpointReachable`, `ModelsAvailable`, `CircuitClosed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// How many agents use it.
    #[serde(default)]
    pub agents: u32,
    /// The models that the server offers, as it says; the first 256 by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub models: Vec<String>,
    /// About how long the first token takes, by the pods that have called it; absent when none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_milliseconds: Option<u64>,
}
