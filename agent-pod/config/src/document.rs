//! The document: everything that a pod needs, resolved and checked.

mod budget;
mod guardrail;
mod memory;
mod peers;
mod tools;

use std::collections::BTreeMap;

use astromesh_crds::v1alpha1::{AuthScheme, Capability, Merge, Pattern, ProviderType, Strategy};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use budget::*;
pub use guardrail::*;
pub use memory::*;
pub use peers::*;
pub use tools::*;

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
    /// Its models: the default role.
    pub model: ModelDocument,
    /// Models for single jobs, by role.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, ModelDocument>,
    /// Its prompts.
    pub prompts: PromptsDocument,
    /// How a run proceeds.
    pub orchestration: OrchestrationDocument,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDocument>,
    /// What holds for all its tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_limits: Option<ToolLimitsDocument>,
    /// JSON Schema of the answer's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<serde_json::Value>,
    /// What it remembers; absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryDocument>,
    /// What questions, tool results and answers are held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrails: Option<GuardrailsDocument>,
    /// What it may use in a window of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetDocument>,
    /// Who may call; absent: the default of the place where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessDocument>,
    /// What one pod takes on at a time.
    pub limits: LimitsDocument,
    /// Which further doors open to it.
    pub expose: ExposeDocument,
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

/// The models of a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelDocument {
    /// In which order they are tried.
    pub strategy: Strategy,
    /// At least one, in declared order.
    pub candidates: Vec<CandidateDocument>,
    /// What every call of this role needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Capability>,
}

/// Which further doors open to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExposeDocument {
    /// `/v1/chat/completions`.
    pub openai: bool,
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
    /// Put before the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Templates that the others can include, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub templates: BTreeMap<String, String>,
}

/// How a run proceeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrchestrationDocument {
    /// The pattern.
    pub pattern: Pattern,
    /// The most model calls with tools of each part.
    pub max_iterations: u32,
    /// The whole run.
    pub timeout_ms: u64,
    /// Of a pipeline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageDocument>,
    /// Of `parallel_fan_out`; none: a planner splits the question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<BranchDocument>,
    /// Of `parallel_fan_out`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
    /// Of `plan_and_execute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u32>,
    /// Of `swarm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handoffs: Option<HandoffsDocument>,
}

/// A stage of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageDocument {
    /// Its name.
    pub name: String,
    /// Its instructions, a template.
    pub prompt: String,
}

/// One of several that work at the same question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BranchDocument {
    /// The role whose models it uses.
    pub role: String,
    /// Its instructions, a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

/// Who may call, as written in the Agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, tag = "mode")]
pub enum AccessDocument {
    /// Tokens of service accounts.
    #[serde(rename = "service_account")]
    ServiceAccount {
        /// The callers let in; nobody where there are none.
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
    /// Runs that wait for a place.
    pub max_queued_runs: u32,
    /// How long a run waits for a place.
    pub queue_timeout_ms: u64,
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
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How the server proves who it is; absent: by the certificate authorities of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsDocument>,
    /// What is known of its models, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ProviderModelDocument>,
    /// Bounds of the waits.
    pub timeouts: TimeoutsDocument,
    /// When a model is left alone.
    pub circuit_breaker: CircuitBreakerDocument,
    /// How often a call is tried.
    pub retry: RetryDocument,
    /// What one pod sends in a minute; absent: as much as there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitDocument>,
    /// Requests of one pod at the same time.
    pub max_concurrent_requests: u32,
}

/// How a server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsDocument {
    /// Secret key with the certificate authorities (PEM) to trust in place of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKey>,
    /// Whether its certificate is believed unseen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}

/// What is known of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderModelDocument {
    /// Tokens of question and answer together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// What it can do; absent: tools, and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<Capability>>,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceDocument>,
}

/// US dollars per million tokens, as decimal numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PriceDocument {
    /// Tokens of the prompt.
    pub input_per_million: String,
    /// Tokens of the reply.
    pub output_per_million: String,
    /// Tokens of the prompt that the server had cached; absent: as others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input_per_million: Option<String>,
}

/// When a model is left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CircuitBreakerDocument {
    /// Failed requests in a row.
    pub failure_threshold: u32,
    /// For how long.
    pub cooldown_ms: u64,
}

/// How often a call is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryDocument {
    /// Tries of one candidate, the first included.
    pub max_attempts: u32,
    /// Second tries in a hundred calls that succeed.
    pub budget_percent: u32,
}

/// What one pod sends in a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimitDocument {
    /// Requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
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
        let of_agents = self.agents.values().flat_map(AgentDocument::secrets).map(|(_, key)| key);
        let of_providers = self.providers.values().flat_map(ProviderDocument::secrets).map(|(_, key)| key);
        let mut secrets: Vec<_> = of_providers.chain(of_agents).cloned().collect();
        secrets.sort();
        secrets.dedup();
        secrets
    }
}

impl AgentDocument {
    /// The Secrets' keys that it names, each with the path of the field that names it.
    pub fn secrets(&self) -> impl Iterator<Item = (String, &SecretKey)> {
        let of_memory = self.memory.iter().flat_map(MemoryDocument::secrets);
        let of_tools =
            self.tools.iter().enumerate().flat_map(|(index, tool)| {
                tool.secrets().map(move |(field, key)| (format!("tools[{index}].{field}"), key))
            });
        of_memory.map(|(field, key)| (field.to_owned(), key)).chain(of_tools)
    }
}

impl ProviderDocument {
    /// The Secrets' keys that it names, each with the path of the field that names it.
    pub fn secrets(&self) -> impl Iterator<Item = (&'static str, &SecretKey)> {
        let credential = self.auth.as_ref().map(|auth| ("auth.secret", &auth.secret));
        let authorities = self.tls.as_ref().and_then(|tls| tls.ca.as_ref()).map(|key| ("tls.ca", key));
        credential.into_iter().chain(authorities)
    }
}

/// The SHA-256 of `bytes`, in hexadecimal.
#[must_use]
pub fn revision_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
