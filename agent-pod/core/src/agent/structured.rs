//! Structured output in a turn: asked for, read, and repaired once.

use serde_json::Value;

use super::{Asking, Turn};
use crate::error::RunError;
use crate::message::{Message, Role};
use crate::output::OutputSchema;

impl Turn<'_> {
    /// Asks for JSON of a schema: natively where the server has it, else in words, and once more with what was wrong.
    ///
    /// # Errors
    /// As [`Turn::ask`]. The inner error says what is still wrong after the repair.
    pub async fn ask_for(
        &self,
        role: &str,
        mut messages: Vec<Message>,
        schema: &OutputSchema,
    ) -> Result<Result<Value, String>, RunError> {
        let reply = self.ask(&asking(role, &messages, schema)).await?;
        let problem = match schema.read(&reply.content).await {
            Ok(value) => return Ok(Ok(value)),
            Err(problem) => problem,
        };
        messages.push(Message::new(Role::Assistant, reply.content));
        messages.push(Message::new(Role::User, repair(&problem, schema)));
        Ok(schema.read(&self.ask(&asking(role, &messages, schema)).await?.content).await)
    }

    /// The data of an answer, for an agent with an output schema. A model whose answer does not fit is asked once to write
    /// it anew; the answer itself stays as it went out.
    pub(super) async fn data(&self, answer: &str, schema: &OutputSchema) -> Result<Value, String> {
        let problem = match schema.read(answer).await {
            Ok(value) => return Ok(value),
            Err(problem) => problem,
        };
        let events = self.events.quiet();
        let quiet = Turn { events: &events, ..*self };
        let messages = [
            Message::new(Role::System, schema.instruction()),
            Message::new(Role::User, format!("{}\n\nThe answer was:\n{answer}", repair(&problem, schema))),
        ];
        match quiet.ask(&asking("default", &messages, schema)).await {
            Ok(reply) => schema.read(&reply.content).await,
            Err(error) => Err(format!("{problem}; it could not be repaired: {}", error.message)),
        }
    }
}

fn asking<'a>(role: &'a str, messages: &'a [Message], schema: &'a OutputSchema) -> Asking<'a> {
    Asking { format: Some(schema.format()), ..Asking::plain(role, messages) }
}

fn repair(problem: &str, schema: &OutputSchema) -> String {
    format!("That does not fit ({problem}). Write it again. {}", schema.instruction())
}
