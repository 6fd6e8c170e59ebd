//! `Provider`: a model server and how to reach it.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{SecretKeyRef, conditions_schema};
use crate::duration::DurationString;

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
    printcolumn(name = "Agents", type_ = "integer", json_path = ".status.agents", description = "How many agents use it."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since creation."),
    validation = Rule::new("size(self.metadata.name) <= 50").message("metadata.name must have at most 50 characters"),
)]
#[serde(rename_all = "camelCase")]
pub struct ProviderSpec {
    /// The protocol that the server speaks.
    #[serde(rename = "type")]
    pub provider_type: ProviderType,
    /// Base URL, the part before `/chat/completions`; without a path, `/v1` is added.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new("isURL(self) && url(self).getScheme() in ['http', 'https']").message("endpoint must be an absolute http or https URL, for example https://api.openai.com/v1"))]
    #[x_kube(validation = Rule::new("!self.matches('^[a-z]+://[^/?#]*@')").message("endpoint must not hold credentials; use spec.auth"))]
    pub endpoint: String,
    /// How to log in; absent: no credentials are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ProviderAuth>,
    /// The models to offer; the first is the default of agents that name none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub models: Vec<ProviderModel>,
    /// How long to wait for what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ProviderTimeouts>,
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

/// What a model can do beside answering text with text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// It asks for tools.
    Tools,
    /// It sees images.
    Vision,
    /// Its server holds it to a JSON schema.
    JsonSchema,
}

/// Credentials of a provider: a Secret's key and where it goes in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.scheme == 'none' || has(self.secretKeyRef)").message("auth.secretKeyRef is required unless auth.scheme is none"))]
#[x_kube(validation = Rule::new("(self.scheme == 'header') == has(self.header)").message("auth.header is required with auth.scheme header, and only then allowed"))]
pub struct ProviderAuth {
    /// The Secret's key that holds the credential, in the Provider's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
    /// Where the credential goes: `Authorization: Bearer`, a header of its own, or nowhere.
    #[serde(default)]
    pub scheme: AuthScheme,
    /// Name of the header for the scheme `header`, for example `api-key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9-]+$"))]
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

/// A model that the server offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderModel {
    /// The name by which the server knows it.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
}

/// Bounds of the waits of one model call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderTimeouts {
    /// Until the connection stands, TLS included (default 5s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10ms') && duration(self) <= duration('10m')").message("timeouts.connect must be between 10ms and 10m"))]
    pub connect: Option<DurationString>,
    /// Until the first content arrives, before the next candidate is tried (default 30s); the last candidate has `total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10ms') && duration(self) <= duration('1h')").message("timeouts.firstToken must be between 10ms and 1h"))]
    pub first_token: Option<DurationString>,
    /// Between two pieces of a stream (default 30s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10ms') && duration(self) <= duration('1h')").message("timeouts.stall must be between 10ms and 1h"))]
    pub stall: Option<DurationString>,
    /// The whole call (default 120s).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10ms') && duration(self) <= duration('1h')").message("timeouts.total must be between 10ms and 1h"))]
    pub total: Option<DurationString>,
}

/// What the operator knows of a Provider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// The generation that the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What holds and what does not: `Ready`, `Accepted`, `CredentialsResolved`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// How many agents use it.
    #[serde(default)]
    pub agents: u32,
}
