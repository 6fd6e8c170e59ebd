//! Prompts: Jinja templates, compiled once, rendered for every turn.
//!
//! ```text
//!  source ─► gate (how deep it nests) ─► engine compiles ─► names (what is not there) ─► nature
//!                                                                                          │
//!             plain, small variables: in place, with little fuel ◄─────────────────────────┤
//!             everything else, and what runs out of that fuel: the sandbox ◄───────────────┘
//! ```

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::sandbox::{Rendering, Sandbox};

mod gate;
mod names;
mod plain;
mod weight;

pub(crate) use gate::check as check_nesting;

/// Steps that a rendering in place may take, about a millisecond of them. One that needs more goes to the sandbox.
const FUEL_IN_PLACE: u64 = 10_000;

/// Steps that one rendering may take in a sandbox: far more than any prompt needs, and an end to a loop that never would.
const FUEL: u64 = 1_000_000;

/// How heavy variables may be that are rendered in place.
const WEIGHT_IN_PLACE: usize = 20_000;

/// The same where values are compared with each other: each of [`FUEL_IN_PLACE`] steps may go through all of them.
const WEIGHT_COMPARED: usize = 500;

/// How deep includes, macros and loops that call themselves go. The engine uses the stack for them; in place it is that
/// of a thread that serves.
const RECURSION_MAX: usize = 60;

/// The largest result, in bytes. What is longer fits no model's window.
pub const RENDERED_MAX: usize = 1024 * 1024;

/// The prompts of an agent: templates, compiled once.
///
/// A missing variable, at any depth, renders empty. Templates may include each other by name; there is nothing else that
/// they could reach.
#[derive(Clone)]
pub struct Prompts {
    environment: Arc<Environment<'static>>,
    sources: Arc<BTreeMap<String, Source>>,
    nature: Arc<plain::Nature>,
    sandbox: Option<Arc<dyn Sandbox>>,
}

struct Source {
    text: String,
    /// Whether there is nothing to fill in: it is given as it is.
    literal: bool,
    /// The variables that it names, with the dots as written.
    variables: HashSet<String>,
}

/// A template that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptError {
    /// It does not compile, nests too deeply, or names a filter, test, function or template that there is not.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Line of the template, counting from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be rendered.
    #[error("the template could not be rendered: {0}")]
    Render(String),
    /// It can, and where that is done something is broken.
    #[error("{0}")]
    Unavailable(String),
    /// It can, and where that is done too many wait already.
    #[error("{0}")]
    Busy(String),
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
        environment.set_fuel(Some(FUEL_IN_PLACE));
        environment.set_recursion_limit(RECURSION_MAX);
        let mut kept = BTreeMap::new();
        for (name, source) in sources {
            gate::check(source, false).map_err(|error| (name.to_owned(), error))?;
            environment.add_template_owned(name.to_owned(), source.to_owned()).map_err(|error| {
                let reason = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
                (name.to_owned(), PromptError::Syntax { line: error.line().unwrap_or(1), reason })
            })?;
            let literal = !["{{", "{%", "{#"].iter().any(|mark| source.contains(mark));
            let template = environment.get_template(name).ok().filter(|_| !literal);
            let variables = template.map(|template| template.undeclared_variables(true)).unwrap_or_default();
            kept.insert(name.to_owned(), Source { text: source.to_owned(), literal, variables });
        }
        names::check(&environment)?;
        let nature = Arc::new(plain::nature(&environment));
        Ok(Self { environment: Arc::new(environment), sources: Arc::new(kept), nature, sandbox: None })
    }

    /// The same, where this renders what is not small work. Without one, such templates are refused when they render.
    #[must_use]
    pub fn in_sandbox(self, sandbox: Arc<dyn Sandbox>) -> Self {
        Self { sandbox: Some(sandbox), ..self }
    }

    /// Whether what is in every conversation, the system prompt or the context, names this variable itself, for example
    /// `memory.conversation`.
    #[must_use]
    pub fn mentions(&self, variable: &str) -> bool {
        [SYSTEM, CONTEXT]
            .iter()
            .any(|name| self.sources.get(*name).is_some_and(|source| source.variables.contains(variable)))
    }

    /// Whether any template names this variable or something in it.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        let within = |named: &String| named.split('.').next() == Some(variable);
        self.sources.values().flat_map(|source| &source.variables).any(within)
    }

    /// Whether a template could look this variable up; what none can needs not be given to them.
    #[must_use]
    pub fn looks_up(&self, variable: &str) -> bool {
        let names = &self.nature.names;
        names.contains(variable) || names.contains("debug")
    }

    /// Whether there is a template of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.sources.contains_key(name)
    }

    /// Renders a template with variables at the top level; they are made only where the template has places for them.
    ///
    /// Small work is done at once, in about a millisecond at most; everything else is waited for until the deadline.
    ///
    /// # Errors
    /// [`PromptError::Render`], for example when a template loops for ever.
    pub async fn render(
        &self,
        name: &str,
        variables: impl FnOnce() -> Map<String, Value> + Send,
        deadline: Instant,
    ) -> Result<String, PromptError> {
        if let Some(source) = self.sources.get(name).filter(|source| source.literal) {
            return Ok(source.text.clone());
        }
        let variables = variables();
        if let Some(rendered) = self.render_in_place(name, &variables) {
            return rendered;
        }
        let Some(sandbox) = &self.sandbox else {
            return Err(PromptError::Unavailable("this template needs a sandbox, and there is none".to_owned()));
        };
        let templates = self.sources.iter().map(|(name, source)| (name.as_str(), source.text.as_str())).collect();
        let rendered = sandbox.render(&Rendering { templates, name, variables: &variables }, deadline).await?;
        bounded(rendered)
    }

    /// The result, if it is small work.
    fn render_in_place(&self, name: &str, variables: &Map<String, Value>) -> Option<Result<String, PromptError>> {
        if !self.nature.plain {
            return None;
        }
        let heavy = if self.nature.compares { WEIGHT_COMPARED } else { WEIGHT_IN_PLACE } / self.nature.growth;
        if weight::of(variables, heavy) >= heavy {
            return None;
        }
        match rendered(&self.environment, name, variables) {
            Err(error) if error.kind() == ErrorKind::OutOfFuel || out_of_fuel_within(&error) => None,
            result => Some(result.map_err(|error| failed(&error)).and_then(bounded)),
        }
    }

    /// Renders a template here, whatever it costs: for sandboxes.
    pub(crate) fn render_here(&self, name: &str, variables: &Map<String, Value>) -> Result<String, PromptError> {
        let mut environment = (*self.environment).clone();
        environment.set_fuel(Some(FUEL));
        rendered(&environment, name, variables).map_err(|error| failed(&error)).and_then(bounded)
    }
}

fn rendered(
    environment: &Environment<'_>,
    name: &str,
    variables: &Map<String, Value>,
) -> Result<String, minijinja::Error> {
    let context = minijinja::value::Serde(variables);
    environment.get_template(name).and_then(|template| template.render(minijinja::Value::from(context)))
}

fn bounded(text: String) -> Result<String, PromptError> {
    if text.len() > RENDERED_MAX {
        let length = text.len();
        return Err(PromptError::Render(format!(
            "the result has {length} bytes, more than the {RENDERED_MAX} that it may have"
        )));
    }
    Ok(text)
}

/// An error in an included template stands inside of the one of the template that includes it.
fn out_of_fuel_within(error: &minijinja::Error) -> bool {
    std::iter::successors(std::error::Error::source(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<minijinja::Error>())
        .any(|error| error.kind() == ErrorKind::OutOfFuel)
}

/// What the engine says may hold values, which are not for logs; the kind is enough to find the place by.
fn failed(error: &minijinja::Error) -> PromptError {
    if error.kind() == ErrorKind::OutOfFuel || out_of_fuel_within(error) {
        return PromptError::Render(format!("it takes more than the {FUEL} steps that it may take"));
    }
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    PromptError::Render(format!("{line}{}", error.kind()))
}

#[cfg(test)]
mod tests;
