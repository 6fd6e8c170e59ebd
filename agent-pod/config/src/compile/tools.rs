//! The tools of an agent as the document holds them.

use astromesh_crds::v1alpha1::{AgentSpec, Tool, ToolType, WebhookTool};
use serde_json::Value;

use super::Lookup;
use super::agent::Compiler;
use super::model::sorted;
use crate::document::{
    SecretKey, ToolByDocument, ToolDocument, ToolLimitsDocument, ToolRateLimitDocument, WebhookAuthDocument,
};

/// The tools in declared order.
pub(super) fn tools(compiler: &mut Compiler, spec: &AgentSpec, lookup: &Lookup<'_>) -> Vec<ToolDocument> {
    spec.tools.iter().enumerate().filter_map(|(index, tool)| compile(compiler, (index, tool), lookup)).collect()
}

/// What holds for all of them; absent where there is none to hold anything for.
pub(super) fn limits(spec: &AgentSpec) -> Option<ToolLimitsDocument> {
    let permissions = spec.permissions.clone().unwrap_or_default();
    (!spec.tools.is_empty()).then_some(ToolLimitsDocument {
        parallel: spec.orchestration.parallel_tool_calls,
        max_result_tokens: spec.orchestration.max_tool_result_tokens,
        allow: permissions.allow,
        deny: permissions.deny,
    })
}

/// Headers that are not a webhook's to set: credentials belong in `auth`, the others each request has of its own.
const OWN_HEADERS: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "host",
    "connection",
    "content-type",
    "content-length",
    "transfer-encoding",
];

/// The schema's rules cannot look into so many maps within the cost that the API server allows.
fn check_headers(compiler: &mut Compiler, path: &str, webhook: &WebhookTool) {
    for name in webhook.headers.keys() {
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let message = if name.is_empty() || name.len() > 128 || !letters {
            "must have a name of 1 to 128 letters, digits, `-` and `_`"
        } else if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            "cannot be set: credentials belong in webhook.auth, and the others each request has of its own"
        } else {
            continue;
        };
        compiler.invalid(&format!("{path}.webhook.headers.{name}"), message.to_owned());
    }
}

fn compile(compiler: &mut Compiler, (index, tool): (usize, &Tool), lookup: &Lookup<'_>) -> Option<ToolDocument> {
    let path = format!("spec.tools[{index}]");
    let mut timeout_ms = compiler.millis(&format!("{path}.timeout"), &tool.timeout);
    if let Some(own) = tool.webhook.as_ref().and_then(|webhook| webhook.timeout.as_ref()) {
        timeout_ms = compiler.millis(&format!("{path}.webhook.timeout"), own).min(timeout_ms);
    }
    let approval_timeout_ms =
        tool.require_approval.then(|| compiler.millis(&format!("{path}.approvalTimeout"), &tool.approval_timeout));
    let mut description = tool.description.clone();
    let by = match (tool.tool_type, &tool.webhook) {
        (ToolType::Agent, _) => {
            let (by, of_target) = lookup.peers.tool(compiler, &path, tool.agent.as_ref())?;
            description = description.or(of_target);
            by
        }
        (ToolType::Internal, _) => ToolByDocument::Internal { allow: tool.internal.clone().unwrap_or_default().allow },
        (ToolType::Webhook, Some(webhook)) => {
            check_headers(compiler, &path, webhook);
            by_webhook(webhook)
        }
        (ToolType::Client, _) => ToolByDocument::Client {},
        (ToolType::Webhook, None) => {
            compiler.invalid(&format!("{path}.webhook"), "is required with type webhook".to_owned());
            return None;
        }
    };
    Some(ToolDocument {
        name: tool.name.clone(),
        description,
        by,
        parameters: tool.parameters.as_ref().map(|schema| {
            let schema = sorted(&Value::Object(schema.clone()));
            compiler.schema(&format!("{path}.parameters"), &schema);
            schema
        }),
        rate_limit: tool
            .rate_limit
            .as_ref()
            .map(|limit| ToolRateLimitDocument { window_seconds: limit.window_seconds, max_calls: limit.max_calls }),
        timeout_ms,
        approval_timeout_ms,
    })
}

fn by_webhook(webhook: &WebhookTool) -> ToolByDocument {
    ToolByDocument::Webhook {
        url: webhook.url.clone(),
        method: webhook.method,
        headers: webhook.headers.clone(),
        auth: webhook.auth.as_ref().map(|auth| WebhookAuthDocument {
            secret: SecretKey { name: auth.secret_key_ref.name.clone(), key: auth.secret_key_ref.key.clone() },
            header: auth.header.clone(),
        }),
    }
}
