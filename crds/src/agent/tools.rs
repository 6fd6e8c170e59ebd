//! What an agent can do, and what of it it may.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::{SecretKeyRef, free_form_schema};
use crate::duration::DurationString;
use crate::rules;

/// Something that the model may ask for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.type == 'webhook') == has(self.webhook)").message("tools: `webhook` is required with type webhook, and only then allowed"))]
#[x_kube(validation = Rule::new("(self.type == 'agent') == has(self.agent)").message("tools: `agent` is required with type agent, and only then allowed"))]
#[x_kube(validation = Rule::new("self.type != 'agent' || !has(self.parameters)").message("tools: an agent takes `query`; remove `parameters`"))]
#[x_kube(validation = Rule::new("self.type == 'internal' || !has(self.internal)").message("tools: `internal` belongs to the type internal; remove it, or set type: internal"))]
#[x_kube(validation = Rule::new("self.type != 'internal' || self.name in ['datetime_now', 'json_transform', 'http_request', 'calculator', 'cache', 'text_summarize']").message("tools: the internal tools are datetime_now, json_transform, http_request, calculator, cache and text_summarize; name one of them"))]
#[x_kube(validation = Rule::new("!has(self.internal) || self.name == 'http_request'").message("tools: `internal.allow` has a meaning for http_request only"))]
#[x_kube(validation = Rule::new("self.type != 'internal' || !has(self.parameters)").message("tools: an internal tool has parameters of its own; remove `parameters`"))]
pub struct Tool {
    /// The name under which the model asks for it; an internal tool's own name.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = rules::text("tools: name", "self.matches('^[A-Za-z0-9_-]+$')", "is not a name: use letters, digits, `-` and `_`"))]
    pub name: String,
    /// What it is for; the model decides by it. Absent: an internal tool has a description of its own, and an agent that of its `identity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub description: Option<String>,
    /// Who carries it out.
    #[serde(rename = "type")]
    pub tool_type: ToolType,
    /// Settings of an internal tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal: Option<InternalTool>,
    /// The web service that carries it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookTool>,
    /// The agent that carries it out. It is asked with a `query`, and its answer is the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentTool>,
    /// JSON Schema (2020-12) of the arguments, which are checked before every call; absent: any object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form_schema")]
    pub parameters: Option<serde_json::Map<String, serde_json::Value>>,
    /// How often one session may call it, per pod; calls without a session count together for their caller. Absent: as often as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<ToolRateLimit>,
    /// How long one call may take.
    #[serde(default = "Tool::default_timeout")]
    #[x_kube(validation = rules::duration("tools: timeout", "10ms", "1h"))]
    pub timeout: DurationString,
    /// Whether a person has to agree to each call, over the WebSocket or by REST.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_approval: bool,
    /// How long a call waits to be agreed to; then it is denied.
    #[serde(default = "Tool::default_approval_timeout")]
    #[x_kube(validation = rules::duration("tools: approvalTimeout", "100ms", "1h"))]
    pub approval_timeout: DurationString,
}

impl Tool {
    fn default_timeout() -> DurationString {
        "30s".into()
    }

    fn default_approval_timeout() -> DurationString {
        "5m".into()
    }
}

/// Who carries a tool out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolType {
    /// A function of the runtime: `datetime_now`, `json_transform`, `http_request`, `calculator`, `cache` or `text_summarize`.
    Internal,
    /// A web service.
    Webhook,
    /// Another agent.
    Agent,
    /// The caller: over a WebSocket it answers the `tool_call` event, at the chat completions door the run ends with the call.
    Client,
}

/// Settings of an internal tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InternalTool {
    /// The hosts that `http_request` may call, as `host` or `*.domain`; those named may have private addresses. Absent or empty: every host with a public address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = rules::each("tools: internal.allow", "item.matches('^([*][.])?[A-Za-z0-9_.:-]+$')", "is not a host: use its name or address, such as shop.example.com, or *.example.com for those of a domain"))]
    pub allow: Vec<String>,
}

/// An agent that carries a tool out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentTool {
    /// Which agent.
    pub agent_ref: AgentRef,
}

/// An agent by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentRef {
    /// Its name.
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = rules::object_name("agentRef.name"))]
    pub name: String,
    /// Its namespace; absent: the agent's own. An agent of another namespace has to let this one in by its `access`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = rules::namespace("agentRef.namespace"))]
    pub namespace: Option<String>,
}

/// A web service that carries a tool out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookTool {
    /// The URL that is called. Redirects are not followed, and link-local and metadata addresses are never called.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = rules::url("tools: webhook.url", "https://shop.example.com/orders"))]
    #[x_kube(validation = rules::no_credentials("tools: webhook.url", "webhook.auth"))]
    pub url: String,
    /// The method: POST, PUT and PATCH send the arguments as JSON, GET and DELETE as query.
    #[serde(default)]
    pub method: WebhookMethod,
    /// Headers of every call: letters, digits, `-` and `_`; neither credentials nor what each request has of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 4096})))]
    #[x_kube(validation = rules::header_values("tools: webhook.headers"))]
    pub headers: BTreeMap<String, String>,
    /// The credential that is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<WebhookAuth>,
    /// How long one call may take; absent: `timeout` of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::duration("tools: webhook.timeout", "10ms", "1h"))]
    pub timeout: Option<DurationString>,
}

/// The methods of webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum WebhookMethod {
    /// The arguments are the JSON body.
    #[default]
    Post,
    /// The arguments are the JSON body.
    Put,
    /// The arguments are the JSON body.
    Patch,
    /// The arguments are the query.
    Get,
    /// The arguments are the query.
    Delete,
}

/// The credential of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookAuth {
    /// The Secret's key that holds it.
    pub secret_key_ref: SecretKeyRef,
    /// The header that it is sent in as it is; absent: `Authorization`, after `Bearer `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::header("tools: webhook.auth.header"))]
    pub header: Option<String>,
}

/// How often a session may call a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolRateLimit {
    /// How far back calls count, in seconds.
    #[serde(default = "ToolRateLimit::default_window_seconds")]
    #[schemars(range(min = 1, max = 86_400))]
    pub window_seconds: u32,
    /// The most calls within the window.
    #[serde(default = "ToolRateLimit::default_max_calls")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_calls: u32,
}

impl ToolRateLimit {
    fn default_window_seconds() -> u32 {
        60
    }

    fn default_max_calls() -> u32 {
        10
    }
}

/// CEL that is true of a name of tools.
const IS_GLOB: &str = "item.matches('^[A-Za-z0-9_*?-]+$')";

/// Which tools an agent may use, by globs over their names: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// The tools that may be used; absent or empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    #[x_kube(validation = rules::each("permissions.allow", IS_GLOB, "is not a name of tools: use letters, digits, `-` and `_`, with `*` for any characters and `?` for one"))]
    pub allow: Vec<String>,
    /// The tools that may not be used, whatever `allow` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)))]
    #[x_kube(validation = rules::each("permissions.deny", IS_GLOB, "is not a name of tools: use letters, digits, `-` and `_`, with `*` for any characters and `?` for one"))]
    pub deny: Vec<String>,
}
