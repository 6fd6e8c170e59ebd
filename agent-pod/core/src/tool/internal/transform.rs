//! `json_transform`: data through a template.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::agent::Turn;
use crate::prompt::SYSTEM;
use crate::sandbox::{Rendering, Sandbox};
use crate::tool::{Tool, ToolError, ToolSpec};

/// Renders a Jinja template over data. Whoever calls has written it, so that it is never rendered here, but in the
/// sandbox.
#[derive(Clone)]
pub struct JsonTransform(Option<Arc<dyn Sandbox>>);

impl JsonTransform {
    /// The tool over a sandbox; without one, every call is refused.
    #[must_use]
    pub fn new(sandbox: Option<Arc<dyn Sandbox>>) -> Self {
        Self(sandbox)
    }
}

#[async_trait]
impl Tool for JsonTransform {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "json_transform".to_owned(),
            description: "Renders a Jinja template over JSON data, which it sees as `data`.".to_owned(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "data": {"description": "the data, any JSON"},
                    "template": {"type": "string", "minLength": 1, "maxLength": 20000, "description": "for example {% for o in data.orders %}{{ o.id }} {% endfor %}"},
                },
                "required": ["data", "template"],
                "additionalProperties": false,
            }),
        }
    }

    async fn call(&self, arguments: &Value, turn: &Turn<'_>) -> Result<String, ToolError> {
        let sandbox = self.0.as_ref().ok_or_else(|| ToolError::refused("no sandbox renders templates here"))?;
        let template = arguments.get("template").and_then(Value::as_str).unwrap_or_default();
        let data = arguments.get("data").cloned().unwrap_or_default();
        let variables = Map::from_iter([("data".to_owned(), data)]);
        let rendering =
            Rendering { templates: BTreeMap::from([(SYSTEM, template)]), name: SYSTEM, variables: &variables };
        let rendered = sandbox.render(&rendering, turn.deadline).await;
        rendered.map_err(|error| ToolError::refused(format!("the template: {error}")))
    }
}
