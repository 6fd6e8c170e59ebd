//! JSON Schemas: the original also takes the properties alone.

use serde_json::{Map, Value, json};

/// A schema of an object, from one or from its properties alone.
pub(super) fn object(written: Value) -> Value {
    let Value::Object(fields) = written else { return written };
    let is_schema = fields.get("type").is_some_and(Value::is_string) || fields.contains_key("properties");
    if is_schema {
        return Value::Object(fields);
    }
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (name, mut property) in fields {
        if let Some(asked) = property.as_object_mut().and_then(|property| {
            property.get("required").is_some_and(Value::is_boolean).then(|| property.shift_remove("required")).flatten()
        }) && asked == Value::Bool(true)
        {
            required.push(Value::String(name.clone()));
        }
        properties.insert(name, property);
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = Value::Array(required);
    }
    schema
}
