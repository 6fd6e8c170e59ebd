//! What the API server shows to a person of our schema: our own words, and no regular expression.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;

/// Calls `visit` with the path and the schema of everything in both kinds, the status included.
fn everything(mut visit: impl FnMut(&str, &Value)) {
    for definition in astromesh_crds::all() {
        let schema = definition.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        walk(&definition.spec.names.kind, &serde_json::to_value(schema).unwrap(), &mut visit);
    }
}

fn walk(path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, visit);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(property) = schema.get(inner).filter(|inner| inner.is_object()) {
            walk(&format!("{path}[]"), property, visit);
        }
    }
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn nothing_in_a_schema_shows_a_regular_expression() {
    // Kubernetes prints a `pattern`, and the expression of most formats; it knows nothing of those of numbers.
    everything(|path, schema| {
        assert!(schema.get("pattern").is_none(), "{path} has a pattern: use a rule with a message");
        let of_numbers =
            ["", "int32", "int64", "uint8", "uint32", "uint64", "double"].contains(&text(schema, "format"));
        let of_conditions = path.ends_with(".status.conditions[].lastTransitionTime");
        assert!(of_numbers || of_conditions, "{path} has the format {}", schema["format"]);
    });
}

#[test]
fn every_rule_has_words_and_they_are_no_regular_expression() {
    let mut rules = 0;
    everything(|path, schema| {
        for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
            rules += 1;
            let words = format!("{}{}", text(rule, "message"), without_conditions(text(rule, "messageExpression")));
            assert!(words.len() > 20, "{path} has a rule without words: {rule}");
            for sign in ["^", "$", "[a", "[A", "[0-", ".*", ")?", "]+", "{1", "\\d", "matches"] {
                assert!(!words.contains(sign), "{path}: `{sign}` in `{words}`");
            }
        }
    });
    assert!(rules > 90, "{rules}");
}

/// The texts of a message without what CEL asks on the way: `matches('…')`.
fn without_conditions(expression: &str) -> String {
    let mut parts = expression.split(".matches('");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once("')").map_or("", |(_, rest)| rest))
}

#[test]
fn fields_are_named_and_typed_by_the_conventions() {
    let mut floats = Vec::new();
    everything(|path, schema| {
        let name = path.rsplit('.').next().unwrap_or_default();
        let camel_case = name.trim_end_matches("[]").chars().all(|c| c.is_ascii_alphanumeric());
        assert!(camel_case && (name.starts_with(|c: char| c.is_ascii_lowercase()) || !path.contains('.')), "{path}");
        let fields = schema.get("properties").and_then(Value::as_object);
        let is_reference = fields.is_some_and(|fields| {
            let known = |field: &String| ["name", "namespace", "key"].contains(&field.as_str());
            fields.contains_key("name") && fields.keys().all(known)
        });
        let of_a_list = path.ends_with(".imagePullSecrets[]");
        assert!(!is_reference || name.ends_with("Ref") || of_a_list, "{path} is a reference: call it …Ref");
        if ["timeout", "Timeout", "Delay", "ttl", "window", "cooldown"].iter().any(|end| name.ends_with(end)) {
            assert_eq!(text(schema, "type"), "string", "{path} is a duration: use a text such as 30s");
        }
        if text(schema, "type") == "number" {
            floats.push(name.to_owned());
        }
    });
    floats.sort();
    floats.dedup();
    assert_eq!(floats, ["minScore", "temperature", "topP"], "see docs/adr/0002: what is added up is a text");
}
