//! Work on what strangers wrote, away from the threads that serve.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::prompt::{PromptError, Prompts};

/// Renders templates where nothing that they do touches anyone else: they may use up the stack, the memory and the time
/// that they are given, and no more.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// What the template becomes. It is given up, and its work ends, at the deadline and when the future is dropped.
    ///
    /// # Errors
    /// What is wrong with the template, or that it used up what it was given.
    async fn render(&self, rendering: &Rendering<'_>, deadline: Instant) -> Result<String, PromptError>;
}

/// A template to be rendered, with all that it may include.
#[derive(Clone, Debug, Serialize)]
pub struct Rendering<'a> {
    /// The templates by name.
    pub templates: BTreeMap<&'a str, &'a str>,
    /// The one to be rendered.
    pub name: &'a str,
    /// What it may name.
    pub variables: &'a Map<String, Value>,
}

/// The same on the other side of a wire.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    templates: BTreeMap<String, String>,
    name: String,
    variables: Map<String, Value>,
}

impl Received {
    /// Renders it here and now, with all the fuel that there is. Nothing bounds the stack and the memory but the place.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn render(self) -> Result<String, PromptError> {
        let Self { templates, name, variables } = self;
        let sources = templates.iter().map(|(name, source)| (name.as_str(), source.as_str()));
        let prompts = Prompts::compile(sources).map_err(|(_name, error)| error)?;
        prompts.render_here(&name, &variables)
    }
}
