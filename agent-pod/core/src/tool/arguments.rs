//! The arguments of calls, held against the tool's JSON Schema.

use std::sync::Arc;

use agent_pod_schema::{Schema, SchemaError};
use serde_json::{Map, Value};

use crate::cpu::offload;
use crate::schema::OFFLOADED_WORK;

/// A compiled schema of arguments. Clones are the same one.
///
/// Nothing is fetched: a reference to another document is an error of the schema. Patterns match in linear time.
#[derive(Clone, Debug)]
pub struct Arguments(Arc<Schema>);

impl Arguments {
    /// Compiles a schema.
    ///
    /// # Errors
    /// When it is none or costs too much, with the place in the schema.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        Schema::compile(schema).map(|schema| Self(Arc::new(schema)))
    }

    /// Checks arguments, large ones on a thread that serves no sockets.
    ///
    /// # Errors
    /// One sentence of bounded length that names what is wrong and where.
    pub async fn check(&self, arguments: Value) -> Result<Value, String> {
        let (schema, large) = (Arc::clone(&self.0), self.0.work(&arguments) > OFFLOADED_WORK);
        let check = move || match schema.check(&arguments) {
            Ok(()) => Ok(arguments),
            Err(problems) => Err(format!("the arguments do not match the tool's schema: {}", problems.join("; "))),
        };
        if large { offload(check).await } else { check() }
    }
}

/// What a model means by its arguments: nothing at all is an object without fields.
pub(super) fn normalized(arguments: &Value) -> Value {
    match arguments {
        Value::Null => Value::Object(Map::new()),
        Value::String(text) if text.trim().is_empty() => Value::Object(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => arguments.clone(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn order() -> Arguments {
        let schema = json!({
            "type": "object",
            "properties": {"id": {"type": "integer", "minimum": 1}, "note": {"type": "string", "pattern": "^[a-z]+$"}},
            "required": ["id"],
            "additionalProperties": false,
        });
        Arguments::compile(&schema).unwrap()
    }

    #[rstest]
    #[case(json!({"id": 7}), None)]
    #[case(json!({"id": 7, "note": "abc"}), None)]
    #[case(json!({}), Some("\"id\" is a required property"))]
    #[case(json!({"id": "seven"}), Some("/id: the value is not of type \"integer\""))]
    #[case(json!({"id": 0}), Some("/id: the value is less than the minimum of 1"))]
    #[case(json!({"id": 7, "other": 1}), Some("Additional properties are not allowed"))]
    #[case(json!({"id": 7, "note": "A"}), Some("/note: the value does not match"))]
    #[case(json!("{\"id\": 7"), Some("the value is not of type \"object\""))]
    #[tokio::test]
    async fn a_violation_is_told_with_its_place(#[case] arguments: Value, #[case] problem: Option<&str>) {
        match (order().check(arguments.clone()).await, problem) {
            (Ok(checked), None) => assert_eq!(checked, arguments),
            (Err(said), Some(expected)) => assert!(said.contains(expected), "{said}"),
            (result, _) => panic!("{arguments}: {result:?}"),
        }
    }

    #[rstest]
    #[case(Value::Null, json!({}))]
    #[case(json!("  "), json!({}))]
    #[case(json!({"a": 1}), json!({"a": 1}))]
    #[case(json!("x"), json!("x"))]
    fn nothing_is_an_object_without_fields(#[case] given: Value, #[case] meant: Value) {
        assert_eq!(normalized(&given), meant);
    }
}
