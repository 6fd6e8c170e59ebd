//! The tools of an agent, and what of them outlives a reload.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::{AgentDocument, RejectedProblem, ToolByDocument, ToolDocument, WebhookAuthDocument};
use agent_pod_core::sandbox::Sandbox;
use agent_pod_core::service::ToolSummary;
use agent_pod_core::tool::internal::{Cache, Calculator, DatetimeNow, JsonTransform, TextSummarize};
use agent_pod_core::tool::{
    AgentTool, ApprovalSettings, Arguments, Limits, Permissions, RateLimit, Registered, Tool, ToolKind, ToolSet,
    ToolSpec, any_object,
};
use agent_pod_infra::secret::{SecretId, SecretStore};
use agent_pod_infra::tool::{HttpRequest, Webhook, WebhookSettings};
use astromesh_crds::v1alpha1::WebhookMethod;
use http::Method;

use super::peers::Peers;
use super::problem;

/// Calls of one reply that go on at the same time.
const PARALLEL_MAX: usize = 16;

/// What outlives reloads: unchanged tools go on with their connections, limits, breakers and entries.
pub(super) struct Tools {
    secrets: SecretStore,
    sandbox: Option<Arc<dyn Sandbox>>,
    pub(super) peers: Peers,
    known: KnownTools,
}

/// Tools as they are declared and as they were made, by `namespace/name` of their agents and their own names.
pub(super) type KnownTools = HashMap<(String, String), Made>;

/// A tool as it is declared and as it was made.
pub(super) type Made = (ToolDocument, Arc<Registered>);

impl Tools {
    pub(super) fn new(secrets: SecretStore, peers: Peers) -> Self {
        Self { secrets, sandbox: None, peers, known: KnownTools::new() }
    }

    /// Templates of callers and models are rendered there.
    pub(super) fn render_in(&mut self, sandbox: Arc<dyn Sandbox>) {
        self.sandbox = Some(sandbox);
    }

    /// The tools of an agent; `key` is its `namespace/name`.
    pub(super) fn made(&self, key: &str, agent: &AgentDocument, path: &str) -> Result<Vec<Made>, RejectedProblem> {
        let mut tools = Vec::new();
        for (index, tool) in agent.tools.iter().enumerate() {
            let known = self.known.get(&(key.to_owned(), tool.name.clone()));
            let registered = match known.filter(|(document, _)| document == tool) {
                Some((_, registered)) => Arc::clone(registered),
                None => {
                    let made = self.tool(tool);
                    Arc::new(
                        made.map_err(|(field, message)| problem(format!("{path}.tools[{index}].{field}"), message))?,
                    )
                }
            };
            tools.push((tool.clone(), registered));
        }
        Ok(tools)
    }

    fn tool(&self, tool: &ToolDocument) -> Result<Registered, (&'static str, String)> {
        let (kind, port) = match &tool.by {
            ToolByDocument::Internal { allow } => (ToolKind::Internal, Some(self.internal(&tool.name, allow)?)),
            ToolByDocument::Webhook { .. } => (ToolKind::Webhook, Some(self.webhook(tool)?)),
            ToolByDocument::Agent { namespace, name, url, handoff } => {
                let target = self.peers.target(namespace, name, url.as_deref()).map_err(|error| ("agent", error))?;
                let port = AgentTool::new(&tool.name, tool.description.as_deref(), target);
                let port = if *handoff { port.hands_over() } else { port };
                (ToolKind::Agent, Some(Arc::new(port) as Arc<dyn Tool>))
            }
            ToolByDocument::Client {} => (ToolKind::Client, None),
        };
        let own = port.as_ref().map_or_else(|| spec(tool), |port: &Arc<dyn Tool>| port.spec());
        // An agent tool has taken the manifest's description in.
        let said = tool.description.clone().filter(|_| kind != ToolKind::Agent);
        let spec = ToolSpec { description: said.unwrap_or(own.description), ..own };
        Ok(Registered {
            arguments: Arguments::compile(&spec.parameters).map_err(|error| ("parameters", error.to_string()))?,
            spec,
            kind,
            rate: tool.rate_limit.as_ref().map(|limit| RateLimit {
                window: Duration::from_secs(limit.window_seconds.into()),
                calls_max: usize::try_from(limit.max_calls).unwrap_or(usize::MAX),
            }),
            timeout: Duration::from_millis(tool.timeout_ms),
            approval: tool.approval_timeout_ms.map(|wait| ApprovalSettings { timeout: Duration::from_millis(wait) }),
            port,
            state: Arc::default(),
        })
    }

    fn webhook(&self, tool: &ToolDocument) -> Result<Arc<dyn Tool>, (&'static str, String)> {
        let ToolByDocument::Webhook { url, method, headers, auth } = &tool.by else {
            return Err(("by", "is no webhook".to_owned()));
        };
        let secret = |auth: &WebhookAuthDocument| {
            let id = SecretId { name: auth.secret.name.clone(), key: auth.secret.key.clone() };
            (self.secrets.handle(&id), auth.header.clone())
        };
        let settings = WebhookSettings {
            spec: spec(tool),
            url: url.clone(),
            method: match method {
                WebhookMethod::Post => Method::POST,
                WebhookMethod::Put => Method::PUT,
                WebhookMethod::Patch => Method::PATCH,
                WebhookMethod::Get => Method::GET,
                WebhookMethod::Delete => Method::DELETE,
            },
            headers: headers.clone(),
            auth: auth.as_ref().map(secret),
            timeout: Duration::from_millis(tool.timeout_ms),
        };
        Ok(Arc::new(Webhook::new(settings).map_err(|error| ("webhook", error.to_string()))?))
    }

    fn internal(&self, name: &str, allow: &[String]) -> Result<Arc<dyn Tool>, (&'static str, String)> {
        Ok(match name {
            "datetime_now" => Arc::new(DatetimeNow),
            "json_transform" => Arc::new(JsonTransform::new(self.sandbox.clone())),
            "calculator" => Arc::new(Calculator),
            "cache" => Arc::new(Cache::default()),
            "text_summarize" => Arc::new(TextSummarize),
            "http_request" => {
                Arc::new(HttpRequest::new(allow.to_vec()).map_err(|error| ("internal", error.to_string()))?)
            }
            _unknown => return Err(("name", format!("there is no internal tool `{name}`"))),
        })
    }

    /// From now on only these serve.
    pub(super) fn take_over(&mut self, tools: KnownTools) {
        self.known = tools;
    }
}

/// What an agent may do with its tools.
pub(super) fn set(agent: &AgentDocument, tools: &[Made]) -> ToolSet {
    let Some(limits) = &agent.tool_limits else { return ToolSet::default() };
    let permissions = Permissions { allow: limits.allow.clone(), deny: limits.deny.clone() };
    let parallel_max = if limits.parallel { PARALLEL_MAX } else { 1 };
    let limits = Limits { result_tokens_max: limits.max_result_tokens.into(), parallel_max };
    let tools: Vec<_> = tools.iter().map(|(_, tool)| Arc::clone(tool)).collect();
    ToolSet::configured(tools, permissions, limits)
}

fn spec(tool: &ToolDocument) -> ToolSpec {
    ToolSpec {
        name: tool.name.clone(),
        description: tool.description.clone().unwrap_or_default(),
        parameters: tool.parameters.clone().unwrap_or_else(any_object),
    }
}

/// The tools as callers may see them.
pub(super) fn summaries(tools: &ToolSet) -> Vec<ToolSummary> {
    let summary = |tool: &Registered| ToolSummary {
        name: tool.spec.name.clone(),
        kind: tool.kind.as_str(),
        description: tool.spec.description.clone(),
        parameters: tool.spec.parameters.clone(),
    };
    tools.permitted().map(summary).collect()
}
