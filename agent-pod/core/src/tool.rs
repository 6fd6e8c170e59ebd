//! Tools: what the model may ask for, behind one port.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Value,
}

/// Something that an agent can do.
#[async_trait]
pub trait Tool: Send + Sync {
    /// As the model sees it.
    fn spec(&self) -> ToolSpec;
    /// Carries out a call. A failure is a result that the model can react to.
    ///
    /// # Errors
    /// A sentence for the model.
    async fn call(&self, arguments: &Value) -> Result<String, String>;
}

/// The tools of an agent by name.
#[derive(Clone, Default)]
pub struct ToolSet {
    tools: BTreeMap<String, Arc<dyn Tool>>,
    specs: Arc<[ToolSpec]>,
}

impl ToolSet {
    /// The set of these tools; a later one of the same name wins.
    #[must_use]
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        let tools: BTreeMap<_, _> = tools.into_iter().map(|tool| (tool.spec().name, tool)).collect();
        Self { specs: tools.values().map(|tool| tool.spec()).collect(), tools }
    }

    /// The tools as the model sees them, by name.
    #[must_use]
    pub fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Carries out a call; a tool that does not exist is a failure that the model is told of.
    ///
    /// # Errors
    /// The tool's sentence for the model.
    pub async fn call(&self, name: &str, arguments: &Value) -> Result<String, String> {
        match self.tools.get(name) {
            Some(tool) => tool.call(arguments).await,
            None => Err(format!("there is no tool `{name}`")),
        }
    }
}
