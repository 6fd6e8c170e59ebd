//! How many tokens a request has, before a server has counted them: four characters each, as is usual for English.

use crate::message::Message;
use crate::tool::ToolSpec;

/// Tokens around each message (role, borders) in common chat templates.
const TOKENS_PER_MESSAGE: u64 = 4;

/// What a middling image costs at the large vendors; servers count by size, which is not known here.
const TOKENS_PER_IMAGE: u64 = 1000;

/// Tokens of a text, rounded up.
#[must_use]
pub fn text_tokens(text: &str) -> u64 {
    characters(text).div_ceil(4)
}

/// Tokens of a request.
#[must_use]
pub fn request_tokens(messages: &[Message], tools: &[ToolSpec]) -> u64 {
    messages.iter().map(message_tokens).sum::<u64>() + tools.iter().map(tool_tokens).sum::<u64>()
}

fn message_tokens(message: &Message) -> u64 {
    let calls: u64 = message.tool_calls.iter().map(|call| text_tokens(&call.name) + json_tokens(&call.arguments)).sum();
    let images = u64::try_from(message.images.len()).unwrap_or(u64::MAX);
    TOKENS_PER_MESSAGE + text_tokens(&message.content) + calls + images.saturating_mul(TOKENS_PER_IMAGE)
}

fn tool_tokens(tool: &ToolSpec) -> u64 {
    text_tokens(&tool.name) + text_tokens(&tool.description) + json_tokens(&tool.parameters)
}

fn json_tokens(value: &serde_json::Value) -> u64 {
    match value {
        serde_json::Value::Null => 0,
        serde_json::Value::String(text) => text_tokens(text),
        serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => text_tokens(&value.to_string()),
    }
}

fn characters(text: &str) -> u64 {
    u64::try_from(text.chars().count()).unwrap_or(u64::MAX)
}
