//! How the budget of an agent stands.

use serde::{Deserialize, Serialize};

/// How the budget of an agent stands, as far as this pod knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetState {
    /// When the window ends (RFC 3339).
    pub window_end: String,
    /// Tokens used in it.
    pub tokens: u64,
    /// US dollars used in it.
    pub cost: String,
    /// The most tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The most US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<String>,
    /// `ok`; `near` from 80 % of a maximum on; `exceeded` when one is used up.
    pub state: String,
}
