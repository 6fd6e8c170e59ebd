//! What `GET /internal/state` answers: written by the pod, read by the operator.

mod budget;

use serde::{Deserialize, Serialize};

pub use budget::BudgetState;

/// The state of a pod. An operator of another version may meet fields that it does not know; they are ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodState {
    /// The revision that is served; absent before the first one has loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// When it was loaded (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded_at: Option<String>,
    /// SHA-256 of the trust in use; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<String>,
    /// A revision that was refused after the served one had loaded, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
    /// The agents that are served.
    #[serde(default)]
    pub agents: Vec<AgentState>,
    /// The models that they call.
    #[serde(default)]
    pub providers: Vec<ProviderState>,
    /// The servers that they run on.
    #[serde(default)]
    pub endpoints: Vec<EndpointState>,
    /// The Secret keys that the document names.
    #[serde(default)]
    pub secrets: Vec<SecretState>,
    /// Runs under way.
    #[serde(default)]
    pub in_flight: u64,
    /// Runs that wait for a place.
    #[serde(default)]
    pub queued: u64,
    /// Whether the pod is stopping.
    #[serde(default)]
    pub draining: bool,
}

/// A document that was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// Its revision.
    pub revision: String,
    /// What is wrong with it.
    pub problems: Vec<RejectedProblem>,
}

impl Rejected {
    /// The most problems that are shown and logged.
    const PROBLEMS_MAX: usize = 200;

    /// The longest path and message of one.
    const CHARS_MAX: usize = 1_000;

    /// With the first of the problems; where there are more, the last one says how many.
    #[must_use]
    pub fn new(revision: String, mut problems: Vec<RejectedProblem>) -> Self {
        // One that counts others already has its place too.
        let more = problems.len().saturating_sub(Self::PROBLEMS_MAX + 1);
        problems.truncate(Self::PROBLEMS_MAX + 1);
        for RejectedProblem { file: _, path, message } in &mut problems {
            for text in [path, message] {
                if let Some((end, _)) = text.char_indices().nth(Self::CHARS_MAX) {
                    text.truncate(end);
                    text.push('…');
                }
            }
        }
        if more > 0 {
            let message = format!("{more} more problems are left out of this list");
            problems.push(RejectedProblem { file: None, path: String::new(), message });
        }
        Self { revision, problems }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedProblem {
    /// The manifest's file; standalone mode only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Path of the field, for example `agents.support.prompts.system`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// An agent that is served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentState {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// `ready`, or `suspended`.
    pub status: String,
    /// The tools that it may use.
    #[serde(default)]
    pub tools: Vec<ToolState>,
    /// What of its budget is used; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetState>,
}

/// A tool of an agent, as this pod has met it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolState {
    /// Its name.
    pub name: String,
    /// `ready`, or `unavailable` while it is left alone after failures in a row.
    pub state: String,
}

/// A model at a provider, as this pod has met it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderState {
    /// Name of the Provider.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The model.
    pub model: String,
    /// Whether it is called: `closed`; `open` after too many failures; `half_open` while one call tries it out.
    #[serde(default)]
    pub circuit: String,
    /// Until when it is not called because it has asked for patience (RFC 3339); absent when it is not cooling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooling_until: Option<String>,
    /// Stable code of the last failure; absent when the last call succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Moving average of the time to the first token of successful calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
}

/// A Provider's server, as this pod has met it. Asked for its models now and then, at no cost in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointState {
    /// Name of the Provider.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Whether it answered when it was last asked, with whatever status; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
    /// Stable code of why it gave no list: that of a failed call, for example `unavailable` or `unauthorized`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The same in a short phrase, for example `connection refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The models that it offers, sorted; absent when it has not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
}

/// A Secret key, and whether its file is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretState {
    /// Name of the Secret.
    pub secret: String,
    /// Key within it.
    pub key: String,
    /// Whether it is there.
    pub state: SecretPresence,
    /// Why a file that is there is of no use: `empty` (nothing but white space), or `not_text`; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Whether a value that was there before goes on being used in place of a missing one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub former: bool,
    /// Whether the server refused the value that is in use. A volume that is refreshed may hold another one already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// The file beside the document that says whom a pod may tell that its state has changed; absent: nobody.
pub const OPERATOR_FILE: &str = "operator.json";

/// Whom a pod tells that its state has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorAddress {
    /// Where to `POST` an [`Attention`]: `http://<host>:<port>/internal/attention`. The host may have several addresses, one
    /// for each replica of the operator; one of them listens, and the others answer 503.
    pub attention: String,
}

/// "Ask me for my state": all that a pod tells by itself. It holds nothing that would have to be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attention {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
}

/// Whether a Secret key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretPresence {
    /// The value is there and in use.
    Present,
    /// There is none; if there was one before, it goes on being used.
    Missing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_refusal_has_bounds() {
        let problem = |index: usize| RejectedProblem { file: None, path: "ä".repeat(index), message: "x".into() };
        assert_eq!(Rejected::new("r".into(), (0..201).map(problem).collect()).problems.len(), 201);
        let rejected = Rejected::new("r".into(), (0..1_100).rev().map(problem).collect());
        assert_eq!(rejected.problems.len(), 202);
        assert_eq!(rejected.problems[0].path.chars().count(), 1_001);
        assert_eq!(rejected.problems[201].message, "899 more problems are left out of this list");
    }
}
