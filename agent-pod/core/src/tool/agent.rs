//! `agent`: another agent carries the tool out.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Tool, ToolError, ToolSpec};
use crate::agent::{Turn, Voice};
use crate::error::{Domain, RunError};
use crate::event::TurnRequest;
use crate::peer::Target;

/// A tool that is another agent.
#[derive(Debug)]
pub struct AgentTool {
    name: String,
    description: Option<String>,
    target: Target,
}

impl AgentTool {
    /// The tool of this name, which asks that agent. Without a description it says the least that there is to say.
    #[must_use]
    pub fn new(name: &str, description: Option<&str>, target: Target) -> Self {
        Self { name: name.to_owned(), description: description.map(ToOwned::to_owned), target }
    }
}

#[async_trait]
impl Tool for AgentTool {
    fn spec(&self) -> ToolSpec {
        let described = || format!("Asks the agent `{}` and gives its answer.", self.target.name);
        ToolSpec {
            name: self.name.clone(),
            description: self.description.clone().unwrap_or_else(described),
            parameters: json!({
                "type": "object",
                "properties": {"query": {
                    "type": "string",
                    "minLength": 1,
                    "description": "What the agent shall answer or do. It sees nothing but this text.",
                }},
                "required": ["query"],
            }),
        }
    }

    async fn call(&self, arguments: &Value, turn: &Turn<'_>) -> Result<String, ToolError> {
        let query = arguments.get("query").and_then(Value::as_str).map(str::trim).unwrap_or_default();
        if query.is_empty() {
            return Err(ToolError::refused("`query` must not be empty"));
        }
        let request = TurnRequest {
            query: query.to_owned(),
            session_id: Some(self.target.session(&turn.identity.session_id)),
            ..TurnRequest::default()
        };
        let answer = turn.consult(&self.target, request, Voice::Inner).await;
        let answer = answer.map_err(|error| failure(&self.target.name, &error))?;
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

/// Why an agent gave no answer, in words for a model.
fn failure(name: &str, error: &RunError) -> ToolError {
    let sentence = format!("the agent `{name}` gave no answer: {}", error.message);
    match error.code.domain() {
        Domain::Provider | Domain::Own => ToolError::broken(sentence),
        Domain::Caller | Domain::Policy => ToolError::refused(sentence),
    }
}
