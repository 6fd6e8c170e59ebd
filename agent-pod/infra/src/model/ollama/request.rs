//! The request: from ours to Ollama's JSON.
//!
//! Pure; the golden files are in `tests/fixtures/ollama`.

use agent_pod_core::message::{Message, Role, ToolCall};
use agent_pod_core::model::{ModelError, ModelErrorKind, ModelRequest, Parameters, ResponseFormat, ToolChoice};
use agent_pod_core::tool::ToolSpec;
use serde_json::{Map, Value, json};

use crate::model::chat_completions::request::tool;

/// The body of `POST /api/chat`.
///
/// Absent parameters and empty lists are left out. The vendor's own parameters come last and win; those in `options` win
/// over ours there.
///
/// # Errors
/// When a message has an image that is no data URL: Ollama fetches none.
pub fn translate(request: &ModelRequest<'_>) -> Result<Value, ModelError> {
    let ModelRequest { model, messages, tools, tool_choice, response_format, parameters } = *request;
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    let messages: Result<Vec<_>, _> = messages.iter().map(|one| message(one, messages)).collect();
    body.insert("messages".to_owned(), Value::Array(messages?));
    body.insert("stream".to_owned(), json!(true));
    let offered: Vec<_> = tools.iter().filter(|tool| may_call(tool, tool_choice)).map(tool).collect();
    if !offered.is_empty() {
        body.insert("tools".to_owned(), Value::Array(offered));
    }
    match response_format {
        None => {}
        Some(ResponseFormat::JsonObject) => insert(&mut body, "format", Some("json")),
        Some(ResponseFormat::JsonSchema { name: _, schema, strict: _ }) => {
            insert(&mut body, "format", Some(schema.clone()));
        }
    }
    let mut options = options(parameters);
    for (name, value) in &parameters.extra {
        match (name.as_str(), value) {
            ("options", Value::Object(more)) => options.extend(more.clone()),
            _ => insert(&mut body, name, Some(value.clone())),
        }
    }
    if !options.is_empty() {
        body.entry("options").or_insert(Value::Object(options));
    }
    Ok(Value::Object(body))
}

/// Ollama knows no choice of tools, so those that must not be called are not offered.
fn may_call(tool: &ToolSpec, choice: Option<&ToolChoice>) -> bool {
    match choice {
        None | Some(ToolChoice::Auto | ToolChoice::Required) => true,
        Some(ToolChoice::None) => false,
        Some(ToolChoice::Named(name)) => tool.name == *name,
    }
}

fn options(parameters: &Parameters) -> Map<String, Value> {
    let Parameters { temperature, top_p, max_tokens, stop, seed, extra: _ } = parameters;
    let mut options = Map::new();
    insert(&mut options, "temperature", *temperature);
    insert(&mut options, "top_p", *top_p);
    insert(&mut options, "num_predict", *max_tokens);
    insert(&mut options, "stop", (!stop.is_empty()).then_some(stop.as_slice()));
    insert(&mut options, "seed", *seed);
    options
}

fn insert<T: Into<Value>>(object: &mut Map<String, Value>, name: &str, value: Option<T>) {
    // A number that JSON cannot write has become null.
    if let Some(value) = value.map(Into::into).filter(|value: &Value| !value.is_null()) {
        object.insert(name.to_owned(), value);
    }
}

fn message(message: &Message, conversation: &[Message]) -> Result<Value, ModelError> {
    let Message { role, content, images, reasoning, tool_calls, tool_call_id } = message;
    let mut object = Map::new();
    object.insert("role".to_owned(), json!(role));
    object.insert("content".to_owned(), json!(content));
    match role {
        Role::System => {}
        Role::User if images.is_empty() => {}
        Role::User => {
            let images: Result<Vec<_>, _> = images.iter().map(|url| image(url)).collect();
            insert(&mut object, "images", Some(images?));
        }
        Role::Assistant if tool_calls.is_empty() => {}
        Role::Assistant => {
            insert(&mut object, "thinking", reasoning.as_deref());
            object.insert("tool_calls".to_owned(), tool_calls.iter().map(tool_call).collect());
        }
        Role::Tool => {
            let calls = conversation.iter().flat_map(|message| &message.tool_calls);
            let name = calls.rev().find(|call| Some(&call.id) == tool_call_id.as_ref()).map(|call| call.name.as_str());
            insert(&mut object, "tool_name", name);
            insert(&mut object, "tool_call_id", tool_call_id.as_deref());
        }
    }
    Ok(Value::Object(object))
}

/// The base64 text of a data URL.
fn image(url: &str) -> Result<String, ModelError> {
    let rejected = |phrase: &str| ModelError::new(ModelErrorKind::Rejected, phrase);
    let data = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).and_then(|_| url.get(5..));
    let data = data.ok_or_else(|| rejected("Ollama fetches no images: send each as a data URL"))?;
    match data.split_once(',') {
        Some((media, text)) if media.ends_with(";base64") => Ok(text.to_owned()),
        Some(_) | None => Err(rejected("an image's data URL must be `data:<media type>;base64,<data>`")),
    }
}

/// Ollama's templates want an object; what the model wrote otherwise goes in as what it is.
fn tool_call(call: &ToolCall) -> Value {
    let ToolCall { id, name, arguments } = call;
    let arguments = match arguments {
        Value::Object(_) => arguments.clone(),
        Value::Null => json!({}),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => json!({"arguments": arguments}),
    };
    json!({"id": id, "function": {"name": name, "arguments": arguments}})
}
