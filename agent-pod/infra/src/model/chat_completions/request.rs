//! The request: from ours to the protocol's JSON.
//!
//! Pure; the golden files are in `tests/fixtures`.

use agent_pod_core::message::{Message, Role, ToolCall};
use agent_pod_core::model::{ModelRequest, Parameters};
use agent_pod_core::tool::ToolSpec;
use serde_json::{Map, Value, json};

use super::Dialect;

/// What ids of tool calls begin with when the server has sent none.
const CALL_PREFIX: &str = "call_";

/// The body of `POST /chat/completions`.
///
/// Absent parameters and empty lists are left out: some servers refuse an empty `tools`. The vendor's own parameters
/// come last and win.
#[must_use]
pub fn translate(request: &ModelRequest<'_>, dialect: Dialect) -> Value {
    let ModelRequest { model, messages, tools, tool_choice: _, response_format: _, parameters } = *request;
    let Parameters { temperature, top_p, max_tokens, stop, seed, extra } = parameters;
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("messages".to_owned(), messages.iter().map(message).collect());
    body.insert("stream".to_owned(), json!(true));
    // Without it a stream does not say what it used.
    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    if !tools.is_empty() {
        body.insert("tools".to_owned(), tools.iter().map(tool).collect());
    }
    insert(&mut body, "temperature", *temperature);
    insert(&mut body, "top_p", *top_p);
    insert(&mut body, max_tokens_name(dialect), *max_tokens);
    insert(&mut body, "stop", (!stop.is_empty()).then_some(stop.as_slice()));
    insert(&mut body, "seed", *seed);
    match dialect {
        Dialect::OpenAiCompat => {}
        // The server's default, said aloud: a turn of several calls sends the same beginning again and again.
        Dialect::LlamaCpp => insert(&mut body, "cache_prompt", Some(true)),
    }
    body.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
    Value::Object(body)
}

/// The number of the first tool call that may be named `call_<n>` without repeating an id of the conversation.
#[must_use]
pub fn first_free_call(request: &ModelRequest<'_>) -> u64 {
    let calls = request.messages.iter().flat_map(|message| &message.tool_calls);
    let numbers = calls.filter_map(|call| call.id.strip_prefix(CALL_PREFIX)?.parse::<u64>().ok());
    numbers.max().map_or(1, |last| last.saturating_add(1))
}

/// The id of the tool call of this number.
pub(super) fn call_id(number: u64) -> String {
    format!("{CALL_PREFIX}{number}")
}

/// The name that a dialect has for the most tokens of a reply. OpenAI's reasoning models want
/// `max_completion_tokens`, which servers that are only compatible do not know: it is written as an extra parameter.
fn max_tokens_name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAiCompat | Dialect::LlamaCpp => "max_tokens",
    }
}

fn insert<T: Into<Value>>(body: &mut Map<String, Value>, name: &str, value: Option<T>) {
    // A number that JSON cannot write has become null.
    if let Some(value) = value.map(Into::into).filter(|value: &Value| !value.is_null()) {
        body.insert(name.to_owned(), value);
    }
}

fn message(message: &Message) -> Value {
    let Message { role, content, images: _, reasoning: _, tool_calls, tool_call_id } = message;
    match role {
        Role::System => json!({"role": "system", "content": content}),
        Role::User => json!({"role": "user", "content": content}),
        Role::Assistant if tool_calls.is_empty() => json!({"role": "assistant", "content": content}),
        Role::Assistant => json!({
            "role": "assistant",
            "content": (!content.is_empty()).then_some(content),
            "tool_calls": tool_calls.iter().map(tool_call).collect::<Value>(),
        }),
        Role::Tool => json!({"role": "tool", "tool_call_id": tool_call_id, "content": content}),
    }
}

/// The arguments are JSON text, also where the model wrote none: servers parse what they get back for their template.
fn tool_call(call: &ToolCall) -> Value {
    let ToolCall { id, name, arguments } = call;
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()}})
}

fn tool(tool: &ToolSpec) -> Value {
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
