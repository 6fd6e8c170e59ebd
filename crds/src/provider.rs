//! `Provider`: a model server and how to reach it.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

mod model;
mod sharing;
mod status;
mod traffic;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::SecretKeyRef;
use crate::rules;

pub use model::*;
pub use sharing::*;
pub use status::*;
pub use traffic::*;

/// A server that runs language models: where it is, how to log in, which models it has.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "astromesh.io",
    version = "v1alpha1",
    kind = "Provider",
    plural = "providers",
    singular = "provider",
    shortname = "prov",
    category = "astromesh",
    namespaced,
    status = "ProviderStatus",
    derive = "PartialEq",
    doc = "A server that runs language models: where it is, how to log in, which models it has.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type", description = "Protocol of the server."),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".spec.endpoint", description = "Base URL."),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether agents can use it."),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why they can, or cannot."),
    printcolumn(name = "Agents", type_ = "integer", json_path = ".status.agents", description = "How many agents use it."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since creation."),
    validation = Rule::new("size(self.metadata.name) <= 50").message("metadata.name must have at most 50 characters"),
)]
#[x_kube(validation = Rule::new("has(self.endpoint) || self.type in ['openai_compat', 'ollama']").message("endpoint is required for this type; only openai_compat and ollama have one of their own"))]
#[serde(rename_all = "camelCase")]
pub struct ProviderSpec {
    /// The protocol that the server speaks.
    #[serde(rename = "type")]
    pub provider_type: ProviderType,
    /// Base URL, the part before `/chat/completions` (for `ollama`: before `/api`); without a path, `/v1` is added (not for `ollama`). Absent: `https://api.openai.com/v1` for `openai_compat`, `http://localhost:11434` for `ollama`; the other types need one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = rules::url("endpoint", "https://api.openai.com/v1"))]
    #[x_kube(validation = rules::no_credentials("endpoint", "spec.auth"))]
    pub endpoint: Option<String>,
    /// How to log in; absent: no credentials are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ProviderAuth>,
    /// Headers of every request, for example `OpenAI-Organization`; credentials belong in `auth`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 1024})))]
    #[x_kube(validation = rules::each("headers", "item.matches('^[A-Za-z0-9_-]{1,128}$')", "is not a header: use 1 to 128 letters, digits, `-` and `_`"))]
    #[x_kube(validation = rules::header_values("headers"))]
    #[x_kube(validation = Rule::new("!self.exists(name, name.matches('(?i)^(authorization|proxy-authorization)$'))").message("headers must not hold Authorization; credentials belong in spec.auth"))]
    #[x_kube(validation = Rule::new("!self.exists(name, name.matches('(?i)^(host|connection|content-type|content-length|transfer-encoding)$'))").message("headers must not hold Host, Connection, Content-Type, Content-Length or Transfer-Encoding; each request has its own"))]
    pub headers: BTreeMap<String, String>,
    /// How the server proves who it is; absent: by the certificate authorities of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProviderTls>,
    /// The models to offer, with what is known of them; the first is the default of agents that name none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub models: Vec<ProviderModel>,
    /// How long to wait for what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ProviderTimeouts>,
    /// When a model that fails is left alone for a while.
    #[serde(default)]
    pub circuit_breaker: CircuitBreaker,
    /// How often a call that fails is tried again.
    #[serde(default)]
    pub retry: ProviderRetry,
    /// What one pod sends in a minute; absent: as much as there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<ProviderRateLimit>,
    /// Requests of one pod at the same time.
    #[serde(default = "ProviderSpec::default_max_concurrent_requests")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_concurrent_requests: u32,
    /// Whose agents may use the Provider. One with credentials serves its own namespace only: pods mount the Secrets of theirs.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
}

impl ProviderSpec {
    fn default_max_concurrent_requests() -> u32 {
        256
    }

    /// Where the server is: as written, else the vendor's own address.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref().or(match self.provider_type {
            ProviderType::OpenaiCompat => Some("https://api.openai.com/v1"),
            ProviderType::Ollama => Some("http://localhost:11434"),
            ProviderType::Vllm | ProviderType::Llamacpp | ProviderType::HfTgi => None,
        })
    }

    /// The Secret keys that it names: the credential, unless none is sent, and the certificate authorities.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretKeyRef> {
        let auth = self.auth.as_ref().filter(|auth| auth.scheme != AuthScheme::None);
        let credential = auth.and_then(|auth| auth.secret_key_ref.as_ref());
        credential.into_iter().chain(self.tls.as_ref().and_then(|tls| tls.ca_secret_key_ref.as_ref()))
    }
}

/// The protocols of model servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProviderType {
    /// OpenAI, and any server with its chat completions API.
    OpenaiCompat,
    /// The server of vLLM.
    Vllm,
    /// The server of llama.cpp.
    Llamacpp,
    /// Text Generation Inference of Hugging Face.
    HfTgi,
    /// Ollama, by its own API.
    Ollama,
}

/// Credentials: a Secret's key and where it goes in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.scheme == 'none' || has(self.secretKeyRef)").message("auth.secretKeyRef is required unless auth.scheme is none"))]
#[x_kube(validation = Rule::new("(self.scheme == 'header') == has(self.header)").message("auth.header is required with auth.scheme header, and only then allowed"))]
pub struct ProviderAuth {
    /// The Secret's key that holds the credential, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// Where the credential goes: `Authorization: Bearer`, a header of its own, or nowhere.
    #[serde(default)]
    pub scheme: AuthScheme,
    /// Name of the header for the scheme `header`, for example `api-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::header("auth.header"))]
    pub header: Option<String>,
}

/// Where a credential goes in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthScheme {
    /// `Authorization: Bearer <credential>`.
    #[default]
    Bearer,
    /// `<header>: <credential>`.
    Header,
    /// No credential is sent.
    None,
}

/// How a server proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderTls {
    /// The Secret's key that holds the certificate authorities (PEM) to trust in place of the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_key_ref: Option<SecretKeyRef>,
    /// Believe any certificate: for trials only, because the credential may then reach somebody else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
}
