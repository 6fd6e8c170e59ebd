//! The document: everything that a pod needs, resolved and checked.

use std::collections::BTreeMap;

use astromesh_crds::v1alpha1::{AuthScheme, ConversationalBackend, MemoryStrategy, Pattern, ProviderType};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The version of the document's format. A pod refuses another one: the operator pins the image of its release.
pub const DOCUMENT_VERSION: u32 = 1;

/// The most bytes of a document. A ConfigMap holds 1 MiB with its metadata.
pub const DOCUMENT_BYTES_MAX: usize = 1_000_000;

/// Everything that a pod needs to serve its agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// [`DOCUMENT_VERSION`].
    pub version: u32,
    /// The agents by name.
    pub agents: BTreeMap<String, AgentDocument>,
    /// The providers that they use, by `namespace/name`.
    pub providers: BTreeMap<String, ProviderDocument>,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentDocument {
    /// Namespace of the Agent.
    pub namespace: String,
    /// Name and purpose for people.
    pub identity: IdentityDocument,
    /// Its models.
    pub model: ModelDocument,
    /// Its prompts.
    pub prompts: PromptsDocument,
    /// How a run proceeds.
    pub orchestration: OrchestrationDocument,
    /// What it remembers; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryDocument>,
    /// Who may call; absent: the default of the place where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessDocument>,
    /// What one pod takes on at a time.
    pub limits: LimitsDocument,
    /// Answers nothing. In a cluster there are no pods then; elsewhere this is what holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
}

/// Name and purpose for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityDocument {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// One sentence of purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The models of a role in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelDocument {
    /// At least one.
    pub candidates: Vec<CandidateDocument>,
}

/// One model at one provider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CandidateDocument {
    /// Key into [`Document::providers`].
    pub provider: String,
    /// The model's name at the provider.
    pub model: String,
    /// Sampling parameters.
    #[serde(default)]
    pub parameters: ParametersDocument,
}

/// Sampling parameters, passed on as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParametersDocument {
    /// Randomness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The most tokens of a reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Texts that end a reply.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Seed of the sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// The vendor's own parameters, by sorted key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, serde_json::Value>,
}

/// The prompts, as templates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromptsDocument {
    /// The system prompt.
    pub system: String,
}

/// How a run proceeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrchestrationDocument {
    /// The pattern.
    pub pattern: Pattern,
    /// The most model calls.
    pub max_iterations: u32,
    /// The whole run.
    pub timeout_ms: u64,
}

/// What an agent remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemoryDocument {
    /// The turns of a session.
    pub conversational: ConversationalDocument,
}

/// The turns of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConversationalDocument {
    /// Where they are kept.
    pub backend: ConversationalBackend,
    /// What of them reaches the model.
    pub strategy: MemoryStrategy,
    /// How many turns reach the model.
    pub max_turns: u32,
    /// How long a session is kept after its last turn.
    pub ttl_ms: u64,
}

/// Who may call, as written in the Agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, tag = "mode")]
pub enum AccessDocument {
    /// Tokens of service accounts.
    #[serde(rename = "service_account")]
    ServiceAccount {
        /// The callers let in; never empty.
        allowed: Vec<CallerDocument>,
    },
    /// Everybody.
    #[serde(rename = "none")]
    None {},
}

/// A service account, or all of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallerDocument {
    /// The namespace.
    pub namespace: String,
    /// The service account; absent: every one of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}

/// What one pod takes on at a time, and how it stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsDocument {
    /// Runs at the same time.
    pub max_concurrent_runs: u32,
    /// The largest request body.
    pub max_body_bytes: u32,
    /// How long runs may go on after SIGTERM.
    pub drain_timeout_ms: u64,
    /// How long to serve on after SIGTERM.
    pub endpoint_delay_ms: u64,
}

/// A model server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderDocument {
    /// Name of the Provider.
    pub name: String,
    /// Namespace of the Provider.
    pub namespace: String,
    /// The protocol.
    #[serde(rename = "type")]
    pub provider_type: ProviderType,
    /// Base URL.
    pub endpoint: String,
    /// Credentials; absent: none are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthDocument>,
    /// Bounds of the waits.
    pub timeouts: TimeoutsDocument,
}

/// Where a credential comes from and where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthDocument {
    /// Bearer, or a header of its own.
    pub scheme: AuthScheme,
    /// The header's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The Secret's key; in a pod the file `<secrets>/<name>/<key>`.
    pub secret: SecretKey,
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// Key within it.
    pub key: String,
}

/// Bounds of the waits of one model call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeoutsDocument {
    /// Until connected.
    pub connect_ms: u64,
    /// Until the first content.
    pub first_token_ms: u64,
    /// Between two pieces.
    pub stall_ms: u64,
    /// The whole call.
    pub total_ms: u64,
}

impl Document {
    /// A document without agents.
    #[must_use]
    pub fn empty() -> Self {
        Self { version: DOCUMENT_VERSION, agents: BTreeMap::new(), providers: BTreeMap::new() }
    }

    /// The document as JSON text, indented for readers: the same document gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a document has string keys and finite numbers only");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a document and checks its version. Unknown keys are errors.
    ///
    /// # Errors
    /// One sentence with the line and column, or on the version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let document: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if document.version != DOCUMENT_VERSION {
            return Err(format!(
                "the document has version {}, this runtime reads version {DOCUMENT_VERSION}: run the image of the operator's release",
                document.version
            ));
        }
        Ok(document)
    }

    /// The revision: the SHA-256 of the document's bytes, in hexadecimal.
    #[must_use]
    pub fn revision(&self) -> String {
        revision_of(&self.to_bytes())
    }

    /// The Secrets' keys that the document names, each once, in order.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretKey> {
        let mut secrets: Vec<_> =
            self.providers.values().filter_map(|p| p.auth.as_ref()).map(|a| a.secret.clone()).collect();
        secrets.sort();
        secrets.dedup();
        secrets
    }
}

/// The SHA-256 of `bytes`, in hexadecimal.
#[must_use]
pub fn revision_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
