//! Which models an agent calls.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::free_form_schema;
use crate::provider::Capability;
use crate::rules;

/// The models of a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelSpec {
    /// In which order the candidates are tried: by price, speed or quality, in turn, or as declared.
    #[serde(default)]
    pub strategy: Strategy,
    /// The models; the next one in order is tried when one fails before its first content. Their order decides ties.
    #[schemars(length(min = 1, max = 16))]
    pub candidates: Vec<Candidate>,
    /// What every call of this role needs; a candidate without it is never called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub requires: Vec<Capability>,
}

/// In which order candidates are tried. Ties are decided by the order of declaration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// By the estimated price of the request at hand, the cheapest first.
    #[default]
    CostOptimized,
    /// By the average time to the first token, the fastest first; those not measured yet come before.
    LatencyOptimized,
    /// By the `quality` of the Provider's model, the highest first.
    QualityFirst,
    /// Each in its turn.
    RoundRobin,
    /// In the order of declaration, those that have what the request needs.
    CapabilityMatch,
}

/// One model at one provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// The Provider.
    pub provider_ref: ProviderRef,
    /// The model's name at the provider; absent: the Provider's first model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub model: Option<String>,
    /// Sampling parameters; absent ones are the provider's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Parameters>,
}

/// Names a Provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRef {
    /// Name of the Provider.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = rules::object_name("providerRef.name"))]
    pub name: String,
    /// Its namespace, if that Provider lets the agent's use it (`allowedNamespaces`); absent: the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace("providerRef.namespace"))]
    pub namespace: Option<String>,
}

/// Sampling parameters, passed on as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// Randomness of the choice of tokens; 0 is the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: Option<f64>,
    /// Only the likeliest tokens that together have this probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    /// The most tokens of one reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_tokens: Option<u32>,
    /// Texts that end a reply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    pub stop: Vec<String>,
    /// Seed of the sampling, where the server has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// The vendor's own parameters, merged into the request as written.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schemars(schema_with = "free_form_schema")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}
