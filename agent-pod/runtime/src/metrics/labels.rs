//! The label sets: every label is from a set that the manifests or the code bound.

use prometheus_client::encoding::EncodeLabelSet;

/// The operation of a model call.
pub(super) const CHAT: &str = "chat";

/// `outcome` is `ok`, `cancelled`, or an error code.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RunLabels {
    pub(super) agent: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AgentLabels {
    pub(super) agent: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TokenLabels {
    pub(super) gen_ai_agent_name: String,
    pub(super) gen_ai_operation_name: &'static str,
    pub(super) gen_ai_provider_name: String,
    pub(super) gen_ai_request_model: String,
    pub(super) gen_ai_token_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TokenUsageLabels {
    pub(super) gen_ai_operation_name: &'static str,
    pub(super) gen_ai_provider_name: String,
    pub(super) gen_ai_request_model: String,
    pub(super) gen_ai_token_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OperationLabels {
    pub(super) gen_ai_operation_name: &'static str,
    pub(super) gen_ai_provider_name: String,
    pub(super) gen_ai_request_model: String,
    /// Absent for a call that succeeded.
    pub(super) error_type: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CostLabels {
    pub(super) agent: String,
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) role: String,
}

/// `outcome` is `ok`, `cancelled`, `deadline_exceeded`, or how the try failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ModelLabels {
    pub(super) namespace: String,
    pub(super) provider: String,
    pub(super) model: String,
}

/// `direction`, `type` and `action` are those of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GuardrailLabels {
    pub(super) agent: String,
    pub(super) direction: &'static str,
    pub(super) r#type: &'static str,
    pub(super) action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReloadLabels {
    pub(super) result: &'static str,
}
