//! `json_transform`: data through a template.

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crate::agent::Turn;
use crate::prompt::{PromptError, Prompts, SYSTEM};
use crate::tool::{Tool, ToolError, ToolSpec};

/// Renders a Jinja template over data; sandboxed as prompts are.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonTransform;

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

    async fn call(&self, arguments: &Value, _turn: &Turn<'_>) -> Result<String, ToolError> {
        let template = arguments.get("template").and_then(Value::as_str).unwrap_or_default();
        let refused = |error: PromptError| ToolError::refused(format!("the template: {error}"));
        let template = Prompts::compile([(SYSTEM, template)]).map_err(|(_, error)| refused(error))?;
        let data = arguments.get("data").cloned().unwrap_or_default();
        template.render(SYSTEM, || Map::from_iter([("data".to_owned(), data)])).map_err(refused)
    }
}
