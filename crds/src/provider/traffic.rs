//! How a Provider is called: waits, tries, bounds.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::duration::DurationString;
use crate::rules;

/// Bounds of the waits of one model call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderTimeouts {
    /// Until the connection stands, TLS included (default 5s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::duration("timeouts.connect", "10ms", "10m"))]
    pub connect: Option<DurationString>,
    /// Until the first content arrives, before the next candidate is tried (default 30s); the last candidate has `total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::duration("timeouts.firstToken", "10ms", "1h"))]
    pub first_token: Option<DurationString>,
    /// Between two pieces of a stream (default 30s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::duration("timeouts.stall", "10ms", "1h"))]
    pub stall: Option<DurationString>,
    /// The whole call (default 120s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::duration("timeouts.total", "10ms", "1h"))]
    pub total: Option<DurationString>,
}

/// When a model that fails is left alone for a while. One count per model, in each pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Failed requests in a row that open the circuit.
    #[serde(default = "CircuitBreaker::default_failure_threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: u32,
    /// How long no call goes out then; after it, one call tries whether the model is back.
    #[serde(default = "CircuitBreaker::default_cooldown")]
    #[x_kube(validation = rules::duration("circuitBreaker.cooldown", "1s", "1h"))]
    pub cooldown: DurationString,
}

impl CircuitBreaker {
    fn default_failure_threshold() -> u32 {
        3
    }

    fn default_cooldown() -> DurationString {
        "60s".into()
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { failure_threshold: Self::default_failure_threshold(), cooldown: Self::default_cooldown() }
    }
}

/// How often a call that fails is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderRetry {
    /// Tries of one candidate, the first included.
    #[serde(default = "ProviderRetry::default_max_attempts")]
    #[schemars(range(min = 1, max = 10))]
    pub max_attempts: u32,
    /// Second tries in a hundred calls; at least 3 a minute are always there.
    #[serde(default = "ProviderRetry::default_budget_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub budget_percent: u32,
}

impl ProviderRetry {
    fn default_max_attempts() -> u32 {
        2
    }

    fn default_budget_percent() -> u32 {
        20
    }
}

impl Default for ProviderRetry {
    fn default() -> Self {
        Self { max_attempts: Self::default_max_attempts(), budget_percent: Self::default_budget_percent() }
    }
}

/// What one pod sends in a minute; a call that would exceed it goes to the next candidate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.requestsPerMinute) || has(self.tokensPerMinute)").message("rateLimit needs requestsPerMinute, tokensPerMinute, or both"))]
pub struct ProviderRateLimit {
    /// Requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and replies together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub tokens_per_minute: Option<u64>,
}
