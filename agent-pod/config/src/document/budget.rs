//! What an agent may use in a window of time.

use astromesh_crds::v1alpha1::OnExceeded;
use serde::{Deserialize, Serialize};

/// What an agent may use in a window of time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BudgetDocument {
    /// The length of a window.
    pub window_ms: u64,
    /// The most tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// The most US dollars, in the shortest form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<String>,
    /// What happens then.
    pub on_exceeded: OnExceeded,
}
