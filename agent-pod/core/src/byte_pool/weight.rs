//! How many bytes something takes in memory.
//!
//! Estimates from above, by the layout of `serde_json::Value` with the order of fields kept.

use serde_json::Value;

use crate::event::Step;
use crate::memory::{Conversation, StoredTurn};
use crate::message::{Message, ToolCall};

/// What is made of a call beside what came: the rendered prompt, the conversation, the request to the model.
pub const COPIES: usize = 3;

/// An element of a list, or a value of an object: its `Value`, and the room that a growing list has to spare.
const VALUE_BYTES: usize = 112;

/// A field of an object: its name, hash and place in the index.
const FIELD_BYTES: usize = 112;

/// A list or object that is not empty: a growing one begins with room for four.
const CONTAINER_BYTES: usize = 352;

/// What the allocator adds to a text.
const TEXT_BYTES: usize = 32;

/// What a message has beside its texts.
const MESSAGE_BYTES: usize = 256;

/// How many bytes this JSON takes once it is parsed, without parsing it: texts by their length, the rest by the marks
/// between them. What is no JSON gets a number, too.
#[must_use]
pub fn of_json(json: &[u8]) -> usize {
    let (mut weight, mut rest) = (VALUE_BYTES, json);
    while let [byte, tail @ ..] = rest {
        rest = tail;
        weight += match byte {
            b'"' => {
                let text = text_len(rest);
                rest = rest.get(text + 1..).unwrap_or_default();
                text + TEXT_BYTES
            }
            b',' => VALUE_BYTES,
            b':' => FIELD_BYTES,
            b'[' | b'{' => CONTAINER_BYTES,
            _of_no_weight => 0,
        };
    }
    weight
}

/// The length of the text that begins here, up to its closing quote.
fn text_len(json: &[u8]) -> usize {
    let mut index = 0;
    while let Some(byte) = json.get(index) {
        match byte {
            b'"' => return index,
            b'\\' => index += 2,
            _ => index += 1,
        }
    }
    json.len()
}

/// How many bytes a value takes.
#[must_use]
pub fn of_value(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len() + TEXT_BYTES,
            Value::Array(items) => CONTAINER_BYTES + items.iter().map(of_value).sum::<usize>(),
            Value::Object(fields) => {
                let of_field = |(name, value): (&String, &Value)| name.len() + FIELD_BYTES + of_value(value);
                CONTAINER_BYTES + fields.iter().map(of_field).sum::<usize>()
            }
        }
}

/// How many bytes a message takes.
#[must_use]
pub fn of_message(message: &Message) -> usize {
    let texts = message.images.iter().chain(&message.reasoning).map(|text| text.len() + TEXT_BYTES);
    let calls = message.tool_calls.iter().map(of_call);
    MESSAGE_BYTES + message.content.len() + texts.chain(calls).sum::<usize>()
}

/// How many bytes a tool's call takes.
#[must_use]
pub fn of_call(call: &ToolCall) -> usize {
    call.id.len() + call.name.len() + 2 * TEXT_BYTES + of_value(&call.arguments)
}

/// How many bytes a step takes.
#[must_use]
pub fn of_step(step: &Step) -> usize {
    step.name.len() + of_value(&step.arguments) + step.result.len() + MESSAGE_BYTES
}

/// How many bytes a turn takes.
#[must_use]
pub fn of_turn(turn: &StoredTurn) -> usize {
    let agent = turn.agent.as_ref().map_or(0, String::len);
    turn.timestamp.len() + agent + MESSAGE_BYTES + turn.messages.iter().map(of_message).sum::<usize>()
}

/// How many bytes a conversation takes.
#[must_use]
pub fn of_conversation(conversation: &Conversation) -> usize {
    let summary = conversation.summary.as_ref().map_or(0, String::len);
    summary + MESSAGE_BYTES + conversation.turns.iter().map(of_turn).sum::<usize>()
}
