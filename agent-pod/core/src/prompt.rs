//! Prompts: Jinja templates, compiled once, rendered for every turn.

use std::collections::HashSet;
use std::sync::Arc;

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

/// Steps that one rendering may take: far more than any prompt needs, and an end to a loop that never would.
const FUEL: u64 = 1_000_000;

/// A compiled template.
///
/// A missing variable, at any depth, renders empty. There are no includes: a template sees its variables only.
#[derive(Clone)]
pub struct Prompt {
    environment: Arc<Environment<'static>>,
    /// Variables that it names, with the dots as written.
    variables: Arc<HashSet<String>>,
}

/// A template that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// It does not compile.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Line of the template, counting from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be rendered.
    #[error("the prompt could not be rendered: {0}")]
    Render(String),
}

const NAME: &str = "prompt";

impl Prompt {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`PromptError::Syntax`] with the line.
    pub fn compile(source: &str) -> Result<Self, PromptError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        environment.add_template_owned(NAME, source.to_owned()).map_err(|error| PromptError::Syntax {
            line: error.line().unwrap_or(1),
            reason: error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned),
        })?;
        let variables =
            environment.get_template(NAME).map_or_else(|_| HashSet::new(), |t| t.undeclared_variables(true));
        Ok(Self { environment: Arc::new(environment), variables: Arc::new(variables) })
    }

    /// Whether it names this variable, for example `memory.conversation`.
    #[must_use]
    pub fn mentions(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }

    /// Renders with these variables at the top level.
    ///
    /// # Errors
    /// [`PromptError::Render`], for example when a template loops for ever.
    pub fn render(&self, variables: &Map<String, Value>) -> Result<String, PromptError> {
        let context = minijinja::value::Serde(variables);
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(minijinja::Value::from(context)))
            .map_err(|error| PromptError::Render(error.kind().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("You are {{ identity.displayName }}.", "You are Ada.")]
    #[case("[{{ missing }}{{ missing.deeper.still }}]", "[]")]
    #[case("{% if customer %}For {{ customer }}{% else %}For all{% endif %}", "For all")]
    #[case("plain {braces}", "plain {braces}")]
    fn templates_render_and_missing_variables_are_empty(#[case] source: &str, #[case] expected: &str) {
        let variables = json!({"identity": {"displayName": "Ada"}});
        let prompt = Prompt::compile(source).unwrap();
        assert_eq!(prompt.render(variables.as_object().unwrap()).unwrap(), expected);
    }

    #[rstest]
    #[case("{{ memory.conversation }}", true)]
    #[case("{% for said in memory.conversation %}{{ said.content }}{% endfor %}", true)]
    #[case("{{ memory.conversation_summary }}", false)]
    #[case("memory.conversation", false)]
    fn a_prompt_knows_what_it_names(#[case] source: &str, #[case] expected: bool) {
        assert_eq!(Prompt::compile(source).unwrap().mentions("memory.conversation"), expected);
    }

    #[test]
    fn a_broken_template_names_its_line() {
        let error = Prompt::compile("one\ntwo {{ unclosed").err().unwrap();
        assert!(error.to_string().starts_with("line 2:"), "{error}");
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let prompt =
            Prompt::compile("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}").unwrap();
        assert!(matches!(prompt.render(&Map::new()), Err(PromptError::Render(_))));
    }

    #[test]
    fn a_template_reaches_no_other_file() {
        let prompt = Prompt::compile("{% include '/etc/passwd' %}").unwrap();
        assert!(prompt.render(&Map::new()).is_err());
    }
}
