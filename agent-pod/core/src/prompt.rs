//! Prompts: Jinja templates, compiled once, rendered for every turn.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};

mod names;

/// Steps that one rendering may take: far more than any prompt needs, and an end to a loop that never would.
const FUEL: u64 = 1_000_000;

/// The prompts of an agent: templates, compiled once.
///
/// A missing variable, at any depth, renders empty. Templates may include each other by name; there is nothing else that
/// they could reach.
#[derive(Clone)]
pub struct Prompts {
    environment: Arc<Environment<'static>>,
    /// Templates without anything to fill in are given as they are.
    literal: Arc<BTreeMap<String, String>>,
    /// The variables that the others name, with the dots as written.
    variables: Arc<BTreeMap<String, HashSet<String>>>,
}

/// A template that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// It does not compile, or names a filter, test, function or template that there is not.
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

/// The name of the system prompt.
pub const SYSTEM: &str = "system";

/// The name of the template that stands before the question.
pub const CONTEXT: &str = "context";

impl Prompts {
    /// Compiles templates by name.
    ///
    /// # Errors
    /// The name of the broken one, and [`PromptError::Syntax`] with the line.
    pub fn compile<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, (String, PromptError)> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        let (mut literal, mut variables) = (BTreeMap::new(), BTreeMap::new());
        for (name, source) in sources {
            environment.add_template_owned(name.to_owned(), source.to_owned()).map_err(|error| {
                let reason = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
                (name.to_owned(), PromptError::Syntax { line: error.line().unwrap_or(1), reason })
            })?;
            if !["{{", "{%", "{#"].iter().any(|mark| source.contains(mark)) {
                literal.insert(name.to_owned(), source.to_owned());
            } else if let Ok(template) = environment.get_template(name) {
                variables.insert(name.to_owned(), template.undeclared_variables(true));
            }
        }
        names::check(&environment)?;
        Ok(Self { environment: Arc::new(environment), literal: Arc::new(literal), variables: Arc::new(variables) })
    }

    /// Whether what is in every conversation, the system prompt or the context, names this variable itself, for example
    /// `memory.conversation`.
    #[must_use]
    pub fn mentions(&self, variable: &str) -> bool {
        [SYSTEM, CONTEXT].iter().any(|name| self.variables.get(*name).is_some_and(|named| named.contains(variable)))
    }

    /// Whether any template names this variable or something in it.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        let within = |named: &String| named.split('.').next() == Some(variable);
        self.variables.values().flatten().any(within)
    }

    /// Whether there is a template of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.environment.get_template(name).is_ok()
    }

    /// Renders a template with variables at the top level; they are made only where the template has places for them.
    ///
    /// # Errors
    /// [`PromptError::Render`], for example when a template loops for ever.
    pub fn render(&self, name: &str, variables: impl FnOnce() -> Map<String, Value>) -> Result<String, PromptError> {
        if let Some(text) = self.literal.get(name) {
            return Ok(text.clone());
        }
        let variables = variables();
        let context = minijinja::value::Serde(&variables);
        self.environment
            .get_template(name)
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
    #[case("{% include 'greeting' %}!", "Hello Ada!")]
    fn templates_render_and_missing_variables_are_empty(#[case] source: &str, #[case] expected: &str) {
        let prompts = Prompts::compile([(SYSTEM, source), ("greeting", "Hello {{ identity.displayName }}")]).unwrap();
        let variables = || Map::from_iter([("identity".to_owned(), json!({"displayName": "Ada"}))]);
        assert_eq!(prompts.render(SYSTEM, variables).unwrap(), expected);
    }

    #[rstest]
    #[case("{{ memory.conversation }}", true)]
    #[case("{% for said in memory.conversation %}{{ said.content }}{% endfor %}", true)]
    #[case("{{ memory.conversation_summary }}", false)]
    #[case("memory.conversation", false)]
    fn a_prompt_knows_what_it_names(#[case] source: &str, #[case] expected: bool) {
        for name in [SYSTEM, CONTEXT] {
            let prompts = Prompts::compile([(name, source)]).unwrap();
            assert_eq!(prompts.mentions("memory.conversation"), expected, "{name}");
            assert_eq!(prompts.uses("memory"), source.contains('{'), "{name}");
        }
        assert!(!Prompts::compile([("notes", source)]).unwrap().mentions("memory.conversation"));
    }

    #[test]
    fn a_broken_template_names_its_line() {
        let (name, error) = Prompts::compile([("greeting", "one\ntwo {{ unclosed")]).err().unwrap();
        assert!(name == "greeting" && error.to_string().starts_with("line 2:"), "{name}: {error}");
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        let prompts = Prompts::compile([(SYSTEM, endless)]).unwrap();
        assert!(matches!(prompts.render(SYSTEM, Map::new), Err(PromptError::Render(_))));
    }

    #[test]
    fn a_template_reaches_no_other_file() {
        assert!(Prompts::compile([(SYSTEM, "{% include '/etc/passwd' %}")]).is_err());
        let prompts = Prompts::compile([(SYSTEM, "{% include file %}")]).unwrap();
        let variables = || Map::from_iter([("file".to_owned(), json!("/etc/passwd"))]);
        assert!(prompts.render(SYSTEM, variables).is_err());
    }
}
