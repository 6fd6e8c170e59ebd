//! What a client may say on a WebSocket.

use agent_pod_core::error::{ErrorCode, FieldProblem, RunError};
use agent_pod_core::event::TurnRequest;
use serde_json::Value;

use crate::fields::{faulty, problem};
use crate::turn_request::parse_turn;

/// A message of the client.
pub(super) enum ClientMessage {
    /// Starts a run.
    Query(TurnRequest),
    /// Ends the run in flight.
    Cancel,
}

impl ClientMessage {
    /// Reads a text frame. A message without a `type` is a query.
    ///
    /// # Errors
    /// `invalid_message`, with every problem of a query.
    pub(super) fn parse(text: &str) -> Result<Self, RunError> {
        let message: Value = serde_json::from_str(text)
            .map_err(|error| RunError::new(ErrorCode::InvalidMessage, format!("the message is not JSON: {error}")))?;
        match message.get("type") {
            None | Some(Value::Null) => Self::query(message),
            Some(Value::String(name)) if name == "query" => Self::query(message),
            Some(Value::String(name)) if name == "cancel" => Ok(Self::Cancel),
            Some(_unknown) => Err(invalid(vec![problem("type", "must be `query` (or absent) or `cancel`")])),
        }
    }

    fn query(message: Value) -> Result<Self, RunError> {
        parse_turn(message).map(|parsed| Self::Query(parsed.turn)).map_err(invalid)
    }
}

fn invalid(problems: Vec<FieldProblem>) -> RunError {
    faulty(ErrorCode::InvalidMessage, "message", problems)
}
