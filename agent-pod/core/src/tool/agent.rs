//! `agent`: another agent carries the tool out.

use std::future::pending;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Tool, ToolError, ToolSpec};
use crate::agent::{Passed, Turn, Voice};
use crate::error::{Domain, ErrorCode, RunError};
use crate::event::TurnRequest;
use crate::peer::Target;

const ASKED: &str = "What the agent shall answer or do. It sees nothing but this text.";
const HANDED: &str = "What the agent should know or do. It sees the conversation, too.";

/// A tool that is another agent.
#[derive(Debug)]
pub struct AgentTool {
    name: String,
    description: Option<String>,
    target: Target,
    /// Whether a call hands the conversation over, rather than asks for an answer.
    hands_over: bool,
}

impl AgentTool {
    /// The tool of this name, which asks that agent. Without a description it says the least that there is to say.
    #[must_use]
    pub fn new(name: &str, description: Option<&str>, target: Target) -> Self {
        Self { name: name.to_owned(), description: description.map(ToOwned::to_owned), target, hands_over: false }
    }

    /// The same, as the model of a swarm shall see it.
    #[must_use]
    pub fn hands_over(self) -> Self {
        Self { hands_over: true, ..self }
    }
}

#[async_trait]
impl Tool for AgentTool {
    fn spec(&self) -> ToolSpec {
        let target = &self.target.name;
        // Whoever gets the conversation knows the question: a model need not say more.
        let required: &[&str] = if self.hands_over { &[] } else { &["query"] };
        let (description, query) = match (&self.description, self.hands_over) {
            (Some(said), false) => (said.clone(), ASKED),
            (None, false) => (format!("Asks the agent `{target}` and gives its answer."), ASKED),
            (said, true) => {
                let said = said.as_deref().unwrap_or_default();
                let over = format!(
                    "Hands the conversation over to the agent `{target}`, which answers the user from then on."
                );
                (format!("{over} {said}").trim_end().to_owned(), HANDED)
            }
        };
        ToolSpec {
            name: self.name.clone(),
            description,
            parameters: json!({
                "type": "object",
                "properties": {"query": {"type": "string", "description": query}},
                "required": required,
            }),
        }
    }

    async fn call(&self, arguments: &Value, turn: &Turn<'_>) -> Result<String, ToolError> {
        let query = arguments.get("query").and_then(Value::as_str).map(str::trim).unwrap_or_default();
        if let Some(passed) = turn.ledger.pass_on(&self.target.key(), query) {
            return said(&passed, &self.target.name);
        }
        if query.is_empty() {
            return Err(ToolError::refused("`query` must not be empty"));
        }
        let request = TurnRequest {
            query: query.to_owned(),
            session_id: Some(self.target.session(&turn.identity.session_id)),
            ..TurnRequest::default()
        };
        let answer = match turn.consult(&self.target, request, Voice::Inner).await {
            Ok(answer) => answer,
            // The tool's own wait says whether it was too slow, or its caller in a hurry.
            Err(error) if error.code == ErrorCode::DeadlineExceeded && turn.out_of_time() => pending().await,
            Err(error) if turn.ledger.block().is_some() => return Err(ToolError::refused(error.message)),
            Err(error) => return Err(failure(&self.target.name, &error)),
        };
        if answer.blocked {
            let name = &self.target.name;
            return Err(ToolError::refused(format!(
                "a guardrail of the agent `{name}` has blocked it: {}",
                answer.answer
            )));
        }
        Ok(answer.answer)
    }

    fn target(&self) -> Option<&Target> {
        Some(&self.target)
    }
}

/// What a model is told that has handed its conversation over, or wanted to.
fn said(passed: &Passed, name: &str) -> Result<String, ToolError> {
    match passed {
        Passed::Over => Ok(format!("the conversation is handed over to the agent `{name}`")),
        Passed::Already(other) => {
            Err(ToolError::refused(format!("the conversation has been handed over to `{other}` already")))
        }
        Passed::NotTo => Err(ToolError::refused(format!(
            "the conversation cannot be handed over to `{name}` from here; answer it yourself"
        ))),
        Passed::NoMore => Err(ToolError::refused(
            "the conversation has been handed over as often as it may be in one turn; answer it yourself now",
        )),
    }
}

/// Why an agent gave no answer, in words for a model.
fn failure(name: &str, error: &RunError) -> ToolError {
    let sentence = format!("the agent `{name}` gave no answer: {}", error.message);
    match error.code.domain() {
        Domain::Provider | Domain::Own => ToolError::broken(sentence),
        Domain::Caller | Domain::Policy => ToolError::refused(sentence),
    }
}
