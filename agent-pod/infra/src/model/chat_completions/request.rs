//! The request: from ours to the protocol's JSON.
//!
//! Pure; the golden files are in `tests/fixtures`.

use agent_pod_core::message::{Message, Role, ToolCall};
use agent_pod_core::model::{ModelRequest, Parameters, ResponseFormat, ToolChoice};
use agent_pod_core::tool::ToolSpec;
use serde_json::{Map, Value, json};

use super::Dialect;

/// The body of `POST /chat/completions`.
///
/// Absent parameters and empty lists are left out: some servers refuse an empty `tools`. The vendor's own parameters
/// come last and win.
#[must_use]
pub fn translate(request: &ModelRequest<'_>, dialect: Dialect) -> Value {
    let ModelRequest { model, messages, tools, tool_choice, response_format, parameters } = *request;
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("messages".to_owned(), messages.iter().map(message).collect());
    body.insert("stream".to_owned(), json!(true));
    // Without it a stream does not say what it used.
    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    insert_tools(&mut body, tools, tool_choice, dialect);
    if let Some(format) = response_format {
        insert(&mut body, "response_format", self::response_format(format, dialect, !tools.is_empty()));
    }
    insert_parameters(&mut body, parameters, dialect);
    if dialect == Dialect::LlamaCpp {
        // The server's default, said aloud: a turn of several calls sends the same beginning again and again.
        insert(&mut body, "cache_prompt", Some(true));
    }
    body.extend(parameters.extra.iter().map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(body)
}

fn insert_parameters(body: &mut Map<String, Value>, parameters: &Parameters, dialect: Dialect) {
    let Parameters { temperature, top_p, max_tokens, stop, seed, extra: _ } = parameters;
    insert(body, "temperature", *temperature);
    // TGI refuses 1, which means that nothing is left out, like saying nothing.
    insert(body, "top_p", top_p.filter(|share| dialect != Dialect::HfTgi || *share < 1.0));
    // OpenAI's reasoning models want `max_completion_tokens`, which servers that are only compatible do not know: it is
    // written as an extra parameter.
    insert(body, "max_tokens", *max_tokens);
    insert(body, "stop", (!stop.is_empty()).then_some(stop.as_slice()));
    match dialect {
        // It takes no negative numbers; the same bits are the same seed.
        Dialect::HfTgi => insert(body, "seed", seed.map(i64::cast_unsigned)),
        Dialect::OpenAiCompat | Dialect::Vllm | Dialect::LlamaCpp => insert(body, "seed", *seed),
    }
}

fn insert_tools(body: &mut Map<String, Value>, tools: &[ToolSpec], choice: Option<&ToolChoice>, dialect: Dialect) {
    // llama.cpp knows no named choice: it is offered the one tool and told that it must call.
    let only = match (dialect, choice) {
        (Dialect::LlamaCpp, Some(ToolChoice::Named(name))) => Some(name),
        _ => None,
    };
    let offered: Vec<_> = tools.iter().filter(|tool| only.is_none_or(|name| tool.name == *name)).map(tool).collect();
    if offered.is_empty() {
        return;
    }
    body.insert("tools".to_owned(), Value::Array(offered));
    let choice = match choice {
        None => return,
        Some(ToolChoice::Auto) => json!("auto"),
        Some(ToolChoice::None) => json!("none"),
        Some(ToolChoice::Named(_)) if only.is_some() => json!("required"),
        Some(ToolChoice::Required) => json!("required"),
        Some(ToolChoice::Named(name)) => json!({"type": "function", "function": {"name": name}}),
    };
    body.insert("tool_choice".to_owned(), choice);
}

/// The form of the reply. TGI has it as a grammar of its own, which it refuses beside tools.
fn response_format(format: &ResponseFormat, dialect: Dialect, with_tools: bool) -> Option<Value> {
    match (format, dialect) {
        (_, Dialect::HfTgi) if with_tools => None,
        (ResponseFormat::JsonObject, Dialect::HfTgi) => {
            Some(json!({"type": "json_object", "value": {"type": "object"}}))
        }
        (ResponseFormat::JsonSchema { name: _, schema, strict: _ }, Dialect::HfTgi) => {
            Some(json!({"type": "json_object", "value": schema}))
        }
        (ResponseFormat::JsonObject, _) => Some(json!({"type": "json_object"})),
        (ResponseFormat::JsonSchema { name, schema, strict }, _) => {
            let mut named = Map::new();
            named.insert("name".to_owned(), json!(name));
            named.insert("schema".to_owned(), schema.clone());
            insert(&mut named, "strict", *strict);
            Some(json!({"type": "json_schema", "json_schema": named}))
        }
    }
}

fn insert<T: Into<Value>>(body: &mut Map<String, Value>, name: &str, value: Option<T>) {
    // A number that JSON cannot write has become null.
    if let Some(value) = value.map(Into::into).filter(|value: &Value| !value.is_null()) {
        body.insert(name.to_owned(), value);
    }
}

fn message(message: &Message) -> Value {
    let Message { role, content, images, reasoning, tool_calls, tool_call_id } = message;
    match role {
        Role::System => json!({"role": "system", "content": content}),
        Role::User if images.is_empty() => json!({"role": "user", "content": content}),
        Role::User => json!({"role": "user", "content": parts(content, images)}),
        Role::Assistant if tool_calls.is_empty() => json!({"role": "assistant", "content": content}),
        Role::Assistant => {
            let mut message = Map::new();
            message.insert("role".to_owned(), json!("assistant"));
            message.insert("content".to_owned(), json!((!content.is_empty()).then_some(content)));
            // Models that think before they call want to be told what they thought; a server that sends no such thing
            // never gets one.
            insert(&mut message, "reasoning_content", reasoning.as_deref());
            message.insert("tool_calls".to_owned(), tool_calls.iter().map(tool_call).collect());
            Value::Object(message)
        }
        Role::Tool => json!({"role": "tool", "tool_call_id": tool_call_id, "content": content}),
    }
}

/// A text with images, which are URLs or data URLs.
fn parts(content: &str, images: &[String]) -> Value {
    let text = (!content.is_empty()).then(|| json!({"type": "text", "text": content}));
    let images = images.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url}}));
    text.into_iter().chain(images).collect()
}

/// The arguments are JSON text, also where the model wrote none: servers parse what they get back for their template.
fn tool_call(call: &ToolCall) -> Value {
    let ToolCall { id, name, arguments } = call;
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()}})
}

/// A tool as OpenAI writes it, and Ollama, too.
pub(in crate::model) fn tool(tool: &ToolSpec) -> Value {
    let ToolSpec { name, description, parameters } = tool;
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(name));
    if !description.is_empty() {
        function.insert("description".to_owned(), json!(description));
    }
    let parameters =
        if parameters.is_null() { json!({"type": "object", "properties": {}}) } else { parameters.clone() };
    function.insert("parameters".to_owned(), parameters);
    json!({"type": "function", "function": function})
}
