//! What several kinds share: references, conditions and their closed set of reasons.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use crate::rules;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// One key of a Secret in the same namespace.
///
/// The value is mounted into the pods that need it as a file; neither the operator nor any status ever holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("secretKeyRef.name"))]
    pub name: String,
    /// Key within the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::key("secretKeyRef.key"))]
    pub key: String,
}

/// The condition types of every kind; see the reference for what each one says.
pub mod condition {
    /// The spec is valid by itself.
    pub const ACCEPTED: &str = "Accepted";
    /// Every reference exists and consents.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// All children are applied for this generation.
    pub const PROGRAMMED: &str = "Programmed";
    /// Every ready pod serves the desired revision.
    pub const LOADED: &str = "Loaded";
    /// All of the above, and enough pods are available.
    pub const READY: &str = "Ready";
    /// What the agent may use in the window of now is not used up; present with `spec.budget` only.
    pub const BUDGET_AVAILABLE: &str = "BudgetAvailable";
    /// Serving, but something optional is broken; absent when false.
    pub const DEGRADED: &str = "Degraded";
    /// Work is under way; absent when false.
    pub const RECONCILING: &str = "Reconciling";
    /// No progress without an edit; absent when false.
    pub const STALLED: &str = "Stalled";
    /// Every Secret key that the Provider names is present in the pods that use it, and the server takes the credential.
    pub const CREDENTIALS_RESOLVED: &str = "CredentialsResolved";
    /// The Provider's server answers.
    pub const ENDPOINT_REACHABLE: &str = "EndpointReachable";
    /// The server offers every model that is asked of it.
    pub const MODELS_AVAILABLE: &str = "ModelsAvailable";
    /// No model is left alone after too many failures.
    pub const CIRCUIT_CLOSED: &str = "CircuitClosed";
}

/// Why a condition has its status. The set is closed: a reason that is not here is never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The condition is as it should be.
    Succeeded,
    /// A field is invalid; the message names every one.
    Invalid,
    /// A Provider that the Agent names does not exist.
    ProviderNotFound,
    /// A ConfigMap that the Agent names does not exist, or has no such text.
    ConfigMapNotFound,
    /// A Provider that the Agent names exists, but is not valid by itself.
    ProviderNotAccepted,
    /// A Provider or an Agent exists, and may not be used by this Agent.
    RefNotPermitted,
    /// An Agent that is named as a tool does not exist.
    AgentNotFound,
    /// Agents call each other in a circle, and not all of them are a `swarm`.
    ReferenceCycle,
    /// The API server refused a child.
    ApplyFailed,
    /// Another manager owns a child of that name.
    Conflict,
    /// The operator lacks a permission.
    Denied,
    /// The document exceeds what a ConfigMap holds.
    DocumentTooLarge,
    /// Pods have not loaded the revision yet.
    Loading,
    /// A pod refused the revision; the last good one goes on serving.
    LoadFailed,
    /// No pod, or too few, can serve.
    PodsUnavailable,
    /// The pods of a new template did not become available in time; the message has the cause.
    ProgressDeadlineExceeded,
    /// `spec.suspend` is set.
    Suspended,
    /// A Secret or a key of it is missing; the last good value goes on being used.
    CredentialsMissing,
    /// The server refuses the credential.
    CredentialsRejected,
    /// The server does not answer.
    EndpointUnreachable,
    /// The server does not offer a model that is asked of it.
    ModelNotFound,
    /// The server does not say which models it offers.
    NoModelList,
    /// A model is left alone for a while after too many failures.
    CircuitOpen,
    /// A model that the Agent may call cannot be called; the message names it.
    ProviderUnavailable,
    /// A tool has failed too often and is left alone for a while; the message names it.
    ToolUnavailable,
    /// The budget is far from its end.
    WithinBudget,
    /// At least 80 % of the budget is used.
    NearLimit,
    /// The budget is used up until the next window.
    BudgetExceeded,
    /// A new generation is being worked on.
    NewGeneration,
    /// Pods are being replaced.
    Rollout,
    /// Nothing has reported yet, because no agent uses it.
    Unused,
}

impl Reason {
    /// The whole set, in the order of the reference.
    pub const ALL: &[Self] = &[
        Self::Succeeded,
        Self::Invalid,
        Self::ProviderNotFound,
        Self::ConfigMapNotFound,
        Self::ProviderNotAccepted,
        Self::RefNotPermitted,
        Self::AgentNotFound,
        Self::ReferenceCycle,
        Self::ApplyFailed,
        Self::Conflict,
        Self::Denied,
        Self::DocumentTooLarge,
        Self::Loading,
        Self::LoadFailed,
        Self::PodsUnavailable,
        Self::ProgressDeadlineExceeded,
        Self::Suspended,
        Self::CredentialsMissing,
        Self::CredentialsRejected,
        Self::EndpointUnreachable,
        Self::ModelNotFound,
        Self::NoModelList,
        Self::CircuitOpen,
        Self::ProviderUnavailable,
        Self::ToolUnavailable,
        Self::WithinBudget,
        Self::NearLimit,
        Self::BudgetExceeded,
        Self::NewGeneration,
        Self::Rollout,
        Self::Unused,
    ];

    /// The reason that stands in a condition; `None` for one of another release.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }

    /// The reason as it stands in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Invalid => "Invalid",
            Self::ProviderNotFound => "ProviderNotFound",
            Self::ConfigMapNotFound => "ConfigMapNotFound",
            Self::ProviderNotAccepted => "ProviderNotAccepted",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::AgentNotFound => "AgentNotFound",
            Self::ReferenceCycle => "ReferenceCycle",
            Self::ApplyFailed => "ApplyFailed",
            Self::Conflict => "Conflict",
            Self::Denied => "Denied",
            Self::DocumentTooLarge => "DocumentTooLarge",
            Self::Loading => "Loading",
            Self::LoadFailed => "LoadFailed",
            Self::PodsUnavailable => "PodsUnavailable",
            Self::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            Self::Suspended => "Suspended",
            Self::CredentialsMissing => "CredentialsMissing",
            Self::CredentialsRejected => "CredentialsRejected",
            Self::EndpointUnreachable => "EndpointUnreachable",
            Self::ModelNotFound => "ModelNotFound",
            Self::NoModelList => "NoModelList",
            Self::CircuitOpen => "CircuitOpen",
            Self::ProviderUnavailable => "ProviderUnavailable",
            Self::ToolUnavailable => "ToolUnavailable",
            Self::WithinBudget => "WithinBudget",
            Self::NearLimit => "NearLimit",
            Self::BudgetExceeded => "BudgetExceeded",
            Self::NewGeneration => "NewGeneration",
            Self::Rollout => "Rollout",
            Self::Unused => "Unused",
        }
    }
}

/// Conditions merge by `type`, so that several managers can own one each.
pub(crate) fn conditions_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<Vec<Condition>>();
    schema.insert("x-kubernetes-list-type".into(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".into(), serde_json::json!(["type"]));
    schema.insert("maxItems".into(), 16.into());
    schema
}

/// A free-form object: passed on as written, and the one place in a kind where keys are not checked.
pub(crate) fn free_form_schema(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
