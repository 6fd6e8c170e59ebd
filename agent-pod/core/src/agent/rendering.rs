//! The prompts of a turn, filled in.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Turn;
use crate::error::{ErrorCode, RunError};
use crate::prompt::PromptError;

impl Turn<'_> {
    /// Renders one of the agent's templates. `more` stands beside the variables that every template has, and wins.
    ///
    /// # Errors
    /// `internal`: what is wrong with a template is its owner's business, and in the log.
    pub async fn render(&self, template: &str, more: &[(&str, &str)]) -> Result<String, RunError> {
        let variables = || {
            let mut variables = self.variables();
            variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
            variables
        };
        let rendered = self.agent.prompts.render(template, variables, self.deadline).await;
        rendered.map_err(|error| failed(template, &error))
    }

    /// What a prompt may name: the request's context at the top level, and our own names, which win.
    fn variables(&self) -> Map<String, Value> {
        let Turn { agent, request, identity, memory, .. } = *self;
        // What no template can name may be large, and is not copied for each of them.
        let named = request.context.iter().filter(|(name, _)| agent.prompts.looks_up(name));
        let mut variables: Map<String, Value> = named.map(|(name, value)| (name.clone(), value.clone())).collect();
        let own = json!({
            "query": request.query,
            "identity": {
                "name": agent.name,
                "displayName": agent.display_name.as_ref().unwrap_or(&agent.name),
                "description": agent.description,
            },
            "today": agent.environment.today(),
            "session": identity.session_id,
            "memory": memory,
            "tools": agent.tools.specs().iter().map(|tool| &tool.name).collect::<Vec<_>>(),
        });
        if let Value::Object(own) = own {
            // A long question weighs nothing in a prompt that does not show it.
            variables.extend(own.into_iter().filter(|(name, _)| agent.prompts.looks_up(name)));
        }
        variables
    }
}

/// When whoever finds too many before it may ask again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

fn failed(template: &str, error: &PromptError) -> RunError {
    if let PromptError::Busy(words) = error {
        return RunError::new(ErrorCode::Overloaded, words.clone()).retry_after(AGAIN_AFTER);
    }
    tracing::error!(template, cause = %error, "prompt could not be rendered");
    RunError::new(
        ErrorCode::Internal,
        "the agent's prompt could not be rendered; its owner finds the cause in the pod's log",
    )
}
