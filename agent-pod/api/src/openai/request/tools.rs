//! The caller's own tools, and which of them the model shall ask for.

use agent_pod_core::model::ToolChoice;
use agent_pod_core::schema::{ALL_VALUES_MAX, SchemaError, inspect_adding};
use agent_pod_core::tool::ToolSpec;
use serde_json::{Value, json};

use crate::fields::Fields;

/// The most tools of a request, as at OpenAI.
const TOOLS_MAX: usize = 128;

/// The longest name of a tool or of a schema, in characters, as at OpenAI.
const NAME_CHARS_MAX: usize = 64;

/// Reads `tools`.
pub(super) fn read(fields: &mut Fields) -> Vec<ToolSpec> {
    let items = fields.list("tools", "must be an array of tools").unwrap_or_default();
    if items.len() > TOOLS_MAX {
        fields.refuse("tools", &format!("must have at most {TOOLS_MAX} items"));
        return Vec::new();
    }
    let (mut tools, mut values): (Vec<ToolSpec>, usize) = (Vec::with_capacity(items.len()), 0);
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("tools[{index}]");
        let Some(mut entry) = fields.nested(&path, item) else { continue };
        let spec = tool(&mut entry, &mut values);
        fields.absorb(entry);
        let Some(spec) = spec else { continue };
        if tools.iter().any(|known| known.name == spec.name) {
            fields.refuse(&format!("{path}.function.name"), "is the name of another tool, too");
        }
        tools.push(spec);
        if values > ALL_VALUES_MAX {
            fields.refuse("tools", &format!("must have schemas of at most {ALL_VALUES_MAX} values in all"));
            break;
        }
    }
    tools
}

fn tool(entry: &mut Fields, values: &mut usize) -> Option<ToolSpec> {
    if entry.required_text("type", "`function`")? != "function" {
        entry.refuse("type", "must be `function`");
        return None;
    }
    let value = entry.require("function", "an object with the `name`")?;
    let mut function = entry.nested("function", value)?;
    let name = name(&mut function, "the name of the tool");
    let description = function.text("description").unwrap_or_default();
    let parameters = function.object("parameters", "must be a JSON Schema").map(Value::Object);
    if let Some(schema) = &parameters {
        affordable(&mut function, "parameters", schema, values);
    }
    entry.absorb(function);
    let parameters = parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    Some(ToolSpec { name: name?, description, parameters })
}

/// Refuses a schema of the caller's own that costs more than a schema may. It goes on to a model server, which makes a grammar of
/// it; what else it makes of it is the server's to say.
/// Adds the number of its values, also of one that is refused.
pub(super) fn affordable(fields: &mut Fields, name: &str, schema: &Value, values: &mut usize) {
    if let Err(SchemaError::TooCostly(said)) = inspect_adding(schema, values) {
        fields.refuse(name, &said);
    }
}

/// A name as OpenAI takes them, which are the ones that every server takes.
pub(super) fn name(fields: &mut Fields, what: &str) -> Option<String> {
    let name = fields.required_text("name", what)?;
    let known = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(known) {
        return Some(name);
    }
    fields.refuse("name", &format!("must have 1 to {NAME_CHARS_MAX} of a-z, A-Z, 0-9, `_` and `-`"));
    None
}

/// Reads `tool_choice`.
pub(super) fn choice(fields: &mut Fields, tools: &[ToolSpec]) -> Option<ToolChoice> {
    match fields.take("tool_choice")? {
        Value::String(text) => match text.as_str() {
            "auto" => return Some(ToolChoice::Auto),
            "none" => return Some(ToolChoice::None),
            "required" => return Some(ToolChoice::Required),
            _other => {}
        },
        value @ Value::Object(_) => match value.pointer("/function/name").and_then(Value::as_str) {
            Some(name) if tools.iter().any(|tool| tool.name == name) => {
                return Some(ToolChoice::Named(name.to_owned()));
            }
            Some(_unknown) => {
                fields.refuse("tool_choice", "must name one of `tools`");
                return None;
            }
            None => {}
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {}
    }
    let message = "must be `auto`, `none`, `required` or {\"type\": \"function\", \"function\": {\"name\": \"…\"}}";
    fields.refuse("tool_choice", message);
    None
}
