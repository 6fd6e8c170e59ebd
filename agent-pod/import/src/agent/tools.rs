//! What an agent can do.

use serde_json::{Map, Value, json};

use super::{Context, schema};
use crate::section::Section;

/// Why a built-in function of the original is not among ours.
const NO_BUILTIN: &str = "is not a function of the runtime; serve it as a webhook tool";

const RAG: &str = "not possible yet: the kind RagPipeline comes in a later release; the tool is left out";
const MCP: &str = "not possible yet: tools of MCP servers come in a later release; the tool is left out";

pub(super) fn convert(mut tool: Section<'_>, context: &Context<'_>) -> Option<Value> {
    let name = tool.text("name").unwrap_or_default();
    let kind = tool.text("type").unwrap_or_else(|| "builtin".to_owned());
    let mut made = Map::new();
    made.insert("name".into(), name.clone().into());
    let arm = match kind.as_str() {
        "builtin" | "internal" => internal(&mut tool, &name, &mut made),
        "webhook" => webhook(&mut tool, &mut made),
        "client" => {
            made.insert("type".into(), "client".into());
            parameters(&mut tool, &mut made);
            Ok(())
        }
        "agent" => agent(&mut tool, context, &mut made),
        "rag" => Err(RAG.to_owned()),
        "mcp" | "mcp_stdio" | "mcp_sse" | "mcp_http" => Err(MCP.to_owned()),
        "integration" => {
            Err("integrations of the original have no counterpart; call the service as a webhook tool".to_owned())
        }
        "api" => Err("make each operation a webhook tool, with the address of its connection and a Secret".to_owned()),
        "a2a" => Err("agents of others cannot be called by A2A; call them as a webhook tool".to_owned()),
        _ => Err(format!("`{kind}` is not a type of the original; the tool is left out")),
    };
    if let Err(why) = arm {
        tool.remark("", format!("tool `{name}`: {why}"));
        // Its fields go with it: they are all named by the line above.
        tool.take_all();
        return None;
    }
    valid_name(&tool, &name, &mut made);
    if let Some(description) = tool.text("description").filter(|text| !text.is_empty()) {
        made.insert("description".into(), description.into());
    }
    if let Some(mut limit) = tool.section("rate_limit") {
        let mut rate = Map::new();
        for (key, ours) in [("window_seconds", "windowSeconds"), ("max_calls", "maxCalls")] {
            rate.extend(limit.integer(key).map(|number| (ours.to_owned(), number.into())));
        }
        made.insert("rateLimit".into(), Value::Object(rate));
    }
    tool.refuse("max_result_tokens", "is one for all tools: orchestration.maxToolResultTokens");
    tool.refuse("confirm", "set requireApproval: true, and let the caller approve over the WebSocket or by REST");
    tool.refuse("mode", "has no counterpart; requireApproval: true asks before every call");
    Some(Value::Object(made))
}

fn valid_name(tool: &Section<'_>, name: &str, made: &mut Map<String, Value>) {
    let clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' })
        .take(64)
        .collect();
    if made.get("type").and_then(Value::as_str) != Some("internal") && clean != name {
        tool.remark("name", format!("is called `{clean}` now; permissions must name it so"));
        made.insert("name".into(), clean.into());
    }
}

fn internal(tool: &mut Section<'_>, name: &str, made: &mut Map<String, Value>) -> Result<(), String> {
    let ours = match name {
        "datetime_now" | "json_transform" | "http_request" | "calculator" | "cache" | "text_summarize" => name,
        "cache_store" => "cache",
        "rag_query" | "rag_ingest" => return Err(RAG.to_owned()),
        _ => return Err(format!("{NO_BUILTIN}; left out")),
    };
    if ours != name {
        tool.remark("name", format!("is called `{ours}` now; permissions must name it so"));
    }
    made.insert("name".into(), ours.into());
    made.insert("type".into(), "internal".into());
    tool.refuse("parameters", "an internal tool has parameters of its own; left out");
    if let Some(mut config) = tool.section("config") {
        if let Some(timeout) = config.seconds("timeout_seconds") {
            made.insert("timeout".into(), timeout.into());
        }
        if config.flag("allow_localhost") == Some(true) {
            config.remark("allow_localhost", "not carried over; name the hosts that may be called in internal.allow");
        }
        config.refuse("max_response_bytes", "is bounded by the runtime, and by orchestration.maxToolResultTokens");
    }
    Ok(())
}

fn webhook(tool: &mut Section<'_>, made: &mut Map<String, Value>) -> Result<(), String> {
    let Some(url) = tool.text("endpoint").or_else(|| tool.text("url")) else {
        return Err("a webhook needs an endpoint; left out".to_owned());
    };
    let mut webhook = json!({"url": url});
    if let Some(method) = tool.text("method") {
        webhook["method"] = method.to_uppercase().into();
    }
    if let Some(timeout) = tool.seconds("timeout").or_else(|| tool.seconds("timeout_seconds")) {
        webhook["timeout"] = timeout.into();
    }
    tool.refuse("headers", "may hold a credential; write it as webhook.headers, or webhook.auth with a Secret");
    tool.refuse("auth", "write it as webhook.auth with a Secret");
    made.insert("type".into(), "webhook".into());
    made.insert("webhook".into(), webhook);
    parameters(tool, made);
    Ok(())
}

fn agent(tool: &mut Section<'_>, context: &Context<'_>, made: &mut Map<String, Value>) -> Result<(), String> {
    let original = tool.text("agent").unwrap_or_default();
    let Some(name) = context.resources.agent(&original) else {
        return Err(format!("there is no agent `{original}`; left out"));
    };
    made.insert("type".into(), "agent".into());
    made.insert("agent".into(), json!({"agentRef": {"name": name}}));
    tool.refuse("parameters", "an agent takes a `query`; left out");
    tool.refuse("context_transform", "has no counterpart; an agent takes a `query` alone");
    Ok(())
}

fn parameters(tool: &mut Section<'_>, made: &mut Map<String, Value>) {
    if let Some(parameters) = tool.take("parameters") {
        made.insert("parameters".into(), schema::object(parameters));
    }
}
