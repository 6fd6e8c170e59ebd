//! Structured output in a turn: asked for, read, and repaired once.

use serde_json::Value;

use super::{Asking, Turn};
use crate::byte_pool::weight;
use crate::error::RunError;
use crate::message::{Message, Role};
use crate::output::OutputSchema;

/// What JSON that a model writes may take once it is parsed: some hundred thousand values. No schema of an answer means
/// more, and a short text of zeros takes thirty times its length.
const PARSED_BYTES_MAX: usize = 8 << 20;

/// Why there is no data in a text.
enum NoData {
    /// The model may mend this.
    Wrong(String),
    /// To show it to the model again would make it worse.
    TooLarge(String),
}

impl NoData {
    fn words(self) -> String {
        match self {
            Self::Wrong(problem) | Self::TooLarge(problem) => problem,
        }
    }
}

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
        let problem = match self.read(&reply.content, schema).await {
            Ok(value) => return Ok(Ok(value)),
            Err(NoData::TooLarge(problem)) => return Ok(Err(problem)),
            Err(NoData::Wrong(problem)) => problem,
        };
        messages.push(Message::new(Role::Assistant, reply.content));
        messages.push(Message::new(Role::User, repair(&problem, schema)));
        let reply = self.ask(&asking(role, &messages, schema)).await?;
        Ok(self.read(&reply.content, schema).await.map_err(NoData::words))
    }

    /// The data of an answer, for an agent with an output schema. A model whose answer does not fit is asked once to write
    /// it anew; the answer itself stays as it went out.
    pub(super) async fn data(&self, answer: &str, schema: &OutputSchema) -> Result<Value, String> {
        let problem = match self.read(answer, schema).await {
            Ok(value) => return Ok(value),
            Err(NoData::TooLarge(problem)) => return Err(problem),
            Err(NoData::Wrong(problem)) => problem,
        };
        let events = self.events.quiet();
        let quiet = Turn { events: &events, ..*self };
        let messages = [
            Message::new(Role::System, schema.instruction()),
            Message::new(Role::User, format!("{}\n\nThe answer was:\n{answer}", repair(&problem, schema))),
        ];
        match quiet.ask(&asking("default", &messages, schema)).await {
            Ok(reply) => self.read(&reply.content, schema).await.map_err(NoData::words),
            Err(error) => Err(format!("{problem}; it could not be repaired: {}", error.message)),
        }
    }

    /// The data in a text, if the run has the memory for it.
    async fn read(&self, text: &str, schema: &OutputSchema) -> Result<Value, NoData> {
        let parsed = weight::of_json(text.as_bytes());
        if parsed > PARSED_BYTES_MAX {
            return Err(NoData::TooLarge("the JSON in the answer has too many values".to_owned()));
        }
        if let Err(error) = self.ledger.draw(parsed).await {
            self.ledger.refuse(error);
            return Err(NoData::TooLarge("there is no memory for the JSON in the answer".to_owned()));
        }
        schema.read(text).await.map_err(NoData::Wrong)
    }
}

fn asking<'a>(role: &'a str, messages: &'a [Message], schema: &'a OutputSchema) -> Asking<'a> {
    Asking { format: Some(schema.format()), ..Asking::plain(role, messages) }
}

fn repair(problem: &str, schema: &OutputSchema) -> String {
    format!("That does not fit ({problem}). Write it again. {}", schema.instruction())
}
