//! The body of `POST /v1/chat/completions`, as a question to an agent. Pure.

mod content;
mod messages;
mod options;
mod tools;

use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{ChatRequest, TurnRequest};
use serde_json::{Map, Value};

use crate::fields::{Fields, faulty, problem, validation_failed};
use messages::Conversation;

/// What a body asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ParsedChat {
    /// Name of the agent.
    pub(crate) model: String,
    /// The question and the conversation around it.
    pub(crate) turn: TurnRequest,
    /// Whether the answer shall be a stream of chunks.
    pub(crate) stream: bool,
    /// Whether the stream shall tell the tokens used.
    pub(crate) include_usage: bool,
}

/// Reads a body. Null is absent, unknown fields are ignored.
///
/// # Errors
/// `validation_failed` with every problem; without one, `unsupported_content` with all that agents do not take.
pub(crate) fn parse_chat(body: Value) -> Result<ParsedChat, RunError> {
    let Value::Object(object) = body else {
        return Err(validation_failed(vec![problem("$", "must be an object with `model` and `messages`")]));
    };
    let mut fields = Fields::new(object, "");
    let model = fields.required_text("model", "the name of an agent").unwrap_or_default();
    let Conversation { system, messages } = messages::read(&mut fields);
    let tools = tools::read(&mut fields);
    let chat = ChatRequest {
        system,
        tool_choice: tools::choice(&mut fields, &tools),
        tools,
        response_format: options::response_format(&mut fields),
        parameters: options::parameters(&mut fields),
        messages,
    };
    let stream = fields.switch("stream");
    let include_usage = options::include_usage(&mut fields);
    options::refuse_others(&mut fields);
    outcome(fields)?;
    Ok(ParsedChat { model, turn: turn(chat), stream, include_usage })
}

fn outcome(fields: Fields) -> Result<(), RunError> {
    match (fields.problems.is_empty(), fields.unsupported.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(faulty(ErrorCode::UnsupportedContent, "request", fields.unsupported)),
        (false, _) => Err(validation_failed(fields.problems)),
    }
}

/// The question is what the user has said last.
fn turn(chat: ChatRequest) -> TurnRequest {
    let question = messages::question(&chat.messages);
    TurnRequest {
        handoff: None,
        query: question.map(|message| message.content.clone()).unwrap_or_default(),
        session_id: None,
        context: Map::new(),
        images: question.map(|message| message.images.clone()).unwrap_or_default(),
        chat: Some(Box::new(chat)),
    }
}
