//! What an agent may use in a window of time.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decimal::DecimalString;
use crate::duration::DurationString;
use crate::rules;

/// What the agent may use in a window of time: tokens, money, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.maxTokens) || has(self.maxCost)").message("budget needs maxTokens, maxCost, or both"))]
pub struct Budget {
    /// The length of a window; windows are aligned to the epoch (24h: midnight UTC).
    #[serde(default = "Budget::default_window")]
    #[x_kube(validation = rules::duration("budget.window", "1m", "744h"))]
    pub window: DurationString,
    /// The most tokens, of prompts and replies together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub max_tokens: Option<u64>,
    /// The most US dollars, by the prices of the Providers; models without a price cost nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::text("budget.maxCost", "self.matches('[1-9]') && self.matches('^0*[0-9]{1,6}([.][0-9]{1,9})?$')", "must be more than 0 and less than 1000000 US dollars, as a decimal number in quotes, such as \"2.50\""))]
    pub max_cost: Option<DecimalString>,
    /// What happens when it is used up.
    #[serde(default)]
    pub on_exceeded: OnExceeded,
}

impl Budget {
    fn default_window() -> DurationString {
        "24h".into()
    }
}

/// What happens when a budget is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExceeded {
    /// Calls are refused (429) until the next window.
    #[default]
    Reject,
    /// Only the cheapest candidate of a role is called.
    Downgrade,
}
