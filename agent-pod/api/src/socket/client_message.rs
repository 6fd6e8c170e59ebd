//! What a client may say on a WebSocket.

use agent_pod_core::error::{ErrorCode, FieldProblem, RunError};
use agent_pod_core::event::TurnRequest;
use agent_pod_core::tool::Ruling;
use serde_json::Value;

use crate::fields::{Fields, faulty, problem};
use crate::json_body::no_json;
use crate::rulings::ruling;
use crate::turn_request::parse_turn;

/// A message of the client.
pub(super) enum ClientMessage {
    /// Starts a run.
    Query(TurnRequest),
    /// Ends the run in flight.
    Cancel,
    /// Carries out a call of a client tool.
    ToolResult {
        /// Id of the call.
        id: String,
        /// What came of it, or why nothing did.
        result: Result<String, String>,
    },
    /// Decides on a call that waits for an approval; who decides is not known here.
    Approval {
        /// Id of the call.
        id: String,
        /// What is decided.
        ruling: Ruling,
    },
}

impl ClientMessage {
    /// Reads a text frame. A message without a `type` is a query.
    ///
    /// # Errors
    /// `invalid_message`, with every problem of a query.
    pub(super) fn read(message: serde_json::Result<Value>) -> Result<Self, RunError> {
        let message = message.map_err(|error| RunError::new(ErrorCode::InvalidMessage, no_json("message", &error)))?;
        match message.get("type") {
            None | Some(Value::Null) => Self::query(message),
            Some(Value::String(name)) if name == "query" => Self::query(message),
            Some(Value::String(name)) if name == "cancel" => Ok(Self::Cancel),
            Some(Value::String(name)) if name == "tool_result" => Self::answer(message, tool_result),
            Some(Value::String(name)) if name == "approval" => Self::answer(message, approval),
            Some(_unknown) => Err(invalid(vec![problem(
                "type",
                "must be `query` (or absent), `cancel`, `tool_result` or `approval`",
            )])),
        }
    }

    fn answer(message: Value, read: fn(&mut Fields) -> Option<Self>) -> Result<Self, RunError> {
        let Value::Object(object) = message else { return Err(invalid(vec![problem("", "must be an object")])) };
        let mut fields = Fields::new(object, "");
        let answer = read(&mut fields);
        answer.filter(|_| fields.problems.is_empty()).ok_or_else(|| invalid(fields.problems))
    }

    fn query(message: Value) -> Result<Self, RunError> {
        parse_turn(message).map(|parsed| Self::Query(parsed.turn)).map_err(invalid)
    }
}

fn tool_result(fields: &mut Fields) -> Option<ClientMessage> {
    let id = fields.required_text("id", "the id of the call");
    let Some(Value::Bool(ok)) = fields.take("ok") else {
        fields.refuse("ok", "is required: true or false");
        return None;
    };
    let text = |value: Option<Value>| match value {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
    };
    let result = if ok { Ok(text(fields.take("result"))) } else { Err(text(fields.take("error"))) };
    Some(ClientMessage::ToolResult { id: id?, result })
}

fn approval(fields: &mut Fields) -> Option<ClientMessage> {
    let id = fields.required_text("id", "the id of the call");
    let ruling = ruling(fields, String::new());
    Some(ClientMessage::Approval { id: id?, ruling: ruling? })
}

fn invalid(problems: Vec<FieldProblem>) -> RunError {
    faulty(ErrorCode::InvalidMessage, "message", problems)
}
