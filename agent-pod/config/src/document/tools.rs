//! What an agent can do, and what of it it may.

use std::collections::BTreeMap;

use astromesh_crds::v1alpha1::WebhookMethod;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SecretKey;

/// Something that the model may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolDocument {
    /// The name under which the model asks for it.
    pub name: String,
    /// What it is for; absent: as the tool itself says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who carries it out.
    pub by: ToolByDocument,
    /// JSON Schema of its arguments; absent: as the tool itself says, else any object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    /// How often one session may call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<ToolRateLimitDocument>,
    /// How long one call may take.
    pub timeout_ms: u64,
    /// How long a call waits for a person to agree; absent: none has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval_timeout_ms: Option<u64>,
}

/// Who carries a tool out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields, tag = "type")]
pub enum ToolByDocument {
    /// The function of the runtime that has the tool's name.
    Internal {
        /// The hosts that `http_request` may call; none: every one with a public address.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allow: Vec<String>,
    },
    /// A web service.
    Webhook {
        /// Where it is.
        url: String,
        /// How the arguments are sent.
        method: WebhookMethod,
        /// Headers of every call.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
        /// The credential.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        auth: Option<WebhookAuthDocument>,
    },
    /// Another agent.
    Agent {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The base URL of its API; absent: this document holds it too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        /// Whether a call hands the conversation over, rather than asks for an answer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        handoff: bool,
    },
    /// The caller.
    Client {},
}

/// The credential of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookAuthDocument {
    /// The Secret's key.
    pub secret: SecretKey,
    /// The header that it is sent in as it is; absent: `Authorization`, after `Bearer `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

/// How often a session may call a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolRateLimitDocument {
    /// How far back calls count.
    pub window_seconds: u32,
    /// The most calls within it.
    pub max_calls: u32,
}

/// What holds for all tools of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolLimitsDocument {
    /// Whether the calls of one reply go on at the same time.
    pub parallel: bool,
    /// The most tokens of a result that reach the model.
    pub max_result_tokens: u32,
    /// Globs over the names of the tools that may be used; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Globs over the names of those that may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl ToolByDocument {
    /// The type's name in manifests.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Internal { .. } => "internal",
            Self::Webhook { .. } => "webhook",
            Self::Agent { .. } => "agent",
            Self::Client {} => "client",
        }
    }
}

impl ToolDocument {
    /// The Secret's key that it names, with the path of the field that names it.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &SecretKey)> {
        let auth = match &self.by {
            ToolByDocument::Webhook { auth, .. } => auth.as_ref(),
            ToolByDocument::Internal { .. } | ToolByDocument::Agent { .. } | ToolByDocument::Client {} => None,
        };
        auth.map(|auth| ("webhook.auth", &auth.secret)).into_iter()
    }
}
