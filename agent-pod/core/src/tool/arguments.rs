//! The arguments of calls, held against the tool's JSON Schema.

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::schema_fault::schema_fault;

/// The most problems that are told of one call: enough to mend it.
const PROBLEMS_MAX: usize = 8;

/// A schema that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON Schema of draft 2020-12: {0}")]
pub struct SchemaError(String);

/// A compiled schema of arguments.
///
/// Nothing is fetched: a reference to another document is an error of the schema. Patterns match in linear time.
#[derive(Debug)]
pub struct Arguments(Validator);

impl Arguments {
    /// Compiles a schema.
    ///
    /// # Errors
    /// With the place in the schema.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let options = jsonschema::draft202012::options().with_pattern_options(jsonschema::PatternOptions::regex());
        options.build(schema).map(Self).map_err(|error| SchemaError(schema_fault(&error)))
    }

    /// Checks arguments.
    ///
    /// # Errors
    /// One sentence that names what is wrong and where.
    pub fn check(&self, arguments: &Value) -> Result<(), String> {
        let mut problems: Vec<String> = self
            .0
            .iter_errors(arguments)
            .take(PROBLEMS_MAX + 1)
            .map(|error| {
                let place = error.instance_path().to_string();
                // The value itself is the model's own and may be long.
                let said = error.masked_with("the value").to_string();
                if place.is_empty() { said } else { format!("{place}: {said}") }
            })
            .collect();
        if problems.is_empty() {
            return Ok(());
        }
        if problems.len() > PROBLEMS_MAX {
            problems.truncate(PROBLEMS_MAX);
            problems.push("and more".to_owned());
        }
        Err(format!("the arguments do not match the tool's schema: {}", problems.join("; ")))
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
    fn a_violation_is_told_with_its_place(#[case] arguments: Value, #[case] problem: Option<&str>) {
        match (order().check(&arguments), problem) {
            (Ok(()), None) => {}
            (Err(said), Some(expected)) => assert!(said.contains(expected), "{said}"),
            (result, _) => panic!("{arguments}: {result:?}"),
        }
    }

    #[rstest]
    #[case(json!({"type": "objekt"}))]
    #[case(json!({"properties": 7}))]
    #[case(json!({"$ref": "#/$defs/nothing"}))]
    fn a_broken_schema_is_refused(#[case] schema: Value) {
        assert!(Arguments::compile(&schema).is_err());
    }

    #[rstest]
    #[case("https://example.com/schema.json")]
    #[case("file:///etc/passwd")]
    #[case("other.json#/$defs/address")]
    fn a_reference_to_elsewhere_is_refused_in_the_words_of_the_schema(#[case] reference: &str) {
        let schema = json!({"type": "object", "properties": {"address": {"$ref": reference}}});
        let said = Arguments::compile(&schema).unwrap_err().to_string();
        let document = reference.split('#').next().unwrap_or_default();
        assert!(said.contains(document) && said.contains("references must be within the schema"), "{said}");
        assert!(!said.contains("resolve-"), "{said}");
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
