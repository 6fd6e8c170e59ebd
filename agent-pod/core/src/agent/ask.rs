//! A turn asks its models: the one way, whatever the pattern.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::pin;

use futures::future::{Either, select};

use super::Turn;
use crate::error::RunError;
use crate::message::Message;
use crate::model::ResponseFormat;
use crate::model::router::{Ask, Reply};
use crate::tool::ToolSpec;

/// One call of a model, as a pattern wants it.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Whose job it is; roles without models of their own have the default ones.
    pub role: &'a str,
    /// The conversation.
    pub messages: &'a [Message],
    /// The tools that the model may ask for.
    pub tools: &'a [ToolSpec],
    /// Whether it is the first call of the run: the caller's choice of tools holds for that one, because a model that
    /// must ask for a tool every time would never answer.
    pub first: bool,
    /// What form the reply shall have, where the server can hold the model to it.
    pub format: Option<&'a ResponseFormat>,
    /// Whether the reply is the run's answer, or may become it: only then it has the form that the caller wants.
    pub answers: bool,
}

impl<'a> Asking<'a> {
    /// A call without tools.
    #[must_use]
    pub fn plain(role: &'a str, messages: &'a [Message]) -> Self {
        Self { role, messages, tools: &[], first: false, format: None, answers: false }
    }
}

impl Turn<'_> {
    /// Gets one reply and books it.
    ///
    /// # Errors
    /// As [`crate::model::router::Router::complete`]; and when a guardrail has blocked the run, or blocks what is said.
    pub async fn ask(&self, asking: &Asking<'_>) -> Result<Reply, RunError> {
        self.may_ask()?;
        let Asking { role, messages, tools, first, format, answers } = *asking;
        let chat = self.request.chat.as_deref();
        let wanted = chat.filter(|_| answers).and_then(|chat| chat.response_format.as_ref());
        let ask = Ask {
            messages,
            tools,
            tool_choice: chat.filter(|_| first).and_then(|chat| chat.tool_choice.as_ref()),
            response_format: wanted.or(format),
            // What the caller asks for must be had; what the agent would like need not.
            format_required: wanted.is_some(),
            parameters: chat.map(|chat| &chat.parameters),
            deadline: self.deadline,
            seed: seed(&self.identity.run_id),
        };
        let complete = self.agent.complete(role, &ask, self.ledger, self.events);
        if self.events.outgoing.is_none() {
            return complete.await;
        }
        match select(pin!(complete), pin!(self.silenced())).await {
            Either::Left((reply, _)) => reply,
            // Dropping the call closes the connection.
            Either::Right((error, _)) => Err(error),
        }
    }
}

fn seed(run_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    run_id.hash(&mut hasher);
    hasher.finish()
}
