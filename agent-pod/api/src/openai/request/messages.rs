//! The messages of a conversation.

use agent_pod_core::message::{Message, Role, ToolCall};
use serde_json::Value;

use super::content::{self, Content};
use crate::fields::Fields;
use crate::images::IMAGES_MAX;

/// What has been said.
#[derive(Default)]
pub(super) struct Conversation {
    /// The caller's own instructions.
    pub(super) system: Vec<String>,
    /// Everything else.
    pub(super) messages: Vec<Message>,
}

/// Reads `messages`.
pub(super) fn read(fields: &mut Fields) -> Conversation {
    let mut conversation = Conversation::default();
    let items = match fields.require("messages", "the conversation, with a question of the user") {
        Some(Value::Array(items)) => items,
        Some(_) => {
            fields.refuse("messages", "must be an array");
            return conversation;
        }
        None => return conversation,
    };
    for (index, item) in items.into_iter().enumerate() {
        let Some(mut message) = fields.nested(&format!("messages[{index}]"), item) else { continue };
        conversation.add(&mut message);
        fields.absorb(message);
    }
    if conversation.messages.iter().map(|message| message.images.len()).sum::<usize>() > IMAGES_MAX {
        fields.refuse("messages", &format!("must have at most {IMAGES_MAX} images"));
    }
    if fields.problems.is_empty() && question(&conversation.messages).is_none() {
        fields.refuse("messages", "must have a message of the user");
    }
    conversation
}

/// What the user has said last.
pub(super) fn question(messages: &[Message]) -> Option<&Message> {
    messages.iter().rfind(|message| message.role == Role::User)
}

impl Conversation {
    fn add(&mut self, message: &mut Fields) {
        match message.required_text("role", "who says it").as_deref() {
            Some("system" | "developer") => self.system.push(required(message, false).text),
            Some("user") => {
                let Content { text, images } = required(message, true);
                self.messages.push(Message { images, ..Message::new(Role::User, text) });
            }
            Some("assistant") => self.messages.push(assistant(message)),
            Some("tool") => {
                let id = message.required_text("tool_call_id", "the id of the call that it answers");
                self.messages.push(Message::tool_result(id.unwrap_or_default(), required(message, false).text));
            }
            Some(_other) => message.refuse("role", "must be `system`, `developer`, `user`, `assistant` or `tool`"),
            None => {}
        }
    }
}

fn required(message: &mut Fields, images_allowed: bool) -> Content {
    let content = content::read(message, images_allowed);
    if content.is_none() {
        message.refuse("content", "is required: a string or an array of parts");
    }
    content.unwrap_or_default()
}

fn assistant(message: &mut Fields) -> Message {
    let refusal = message.text("refusal");
    let text = content::read(message, false).map(|content| content.text).or(refusal);
    let tool_calls = calls(message);
    if message.take("audio").is_some() {
        message.decline("audio", "is nothing that agents take; send the text of it");
    }
    if text.is_none() && tool_calls.is_empty() && message.problems.is_empty() {
        message.refuse("content", "is required where there are no `tool_calls`");
    }
    Message { tool_calls, ..Message::new(Role::Assistant, text.unwrap_or_default()) }
}

fn calls(message: &mut Fields) -> Vec<ToolCall> {
    let items = message.list("tool_calls", "must be an array of calls").unwrap_or_default();
    let mut calls = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let Some(mut entry) = message.nested(&format!("tool_calls[{index}]"), item) else { continue };
        calls.extend(call(&mut entry));
        message.absorb(entry);
    }
    calls
}

/// `{"id", "type": "function", "function": {"name", "arguments": "JSON"}}`.
fn call(entry: &mut Fields) -> Option<ToolCall> {
    let id = entry.required_text("id", "the id of the call");
    let value = entry.require("function", "an object with `name` and `arguments`")?;
    let mut function = entry.nested("function", value)?;
    let name = function.required_text("name", "the name of the tool");
    let arguments = function.required_text("arguments", "JSON as text");
    entry.absorb(function);
    Some(ToolCall { id: id?, name: name?, arguments: parsed(arguments?) })
}

/// What is not JSON stays text, as a model may have written it.
fn parsed(arguments: String) -> Value {
    serde_json::from_str(&arguments).unwrap_or(Value::String(arguments))
}
