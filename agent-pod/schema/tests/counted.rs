//! The bound of the work, held against a count of every look at a value.

use agent_pod_schema::inspect;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// How often subschemas look at places of the value; none: more often than is worth counting.
fn looks(root: &Value, schema: &Value, value: &Value, left: &mut u64) -> Option<()> {
    *left = left.checked_sub(1)?;
    let Value::Object(keywords) = schema else { return Some(()) };
    for (keyword, said) in keywords {
        match (keyword.as_str(), said) {
            ("$ref", Value::String(reference)) => {
                looks(root, root.pointer(reference.trim_start_matches('#'))?, value, left)?;
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                parts.iter().try_for_each(|part| looks(root, part, value, left))?;
            }
            ("not" | "if" | "then" | "else", said) => looks(root, said, value, left)?,
            ("properties", Value::Object(named)) => {
                let present = named.iter().filter_map(|(name, said)| Some((said, value.get(name)?)));
                for (said, member) in present {
                    looks(root, said, member, left)?;
                }
            }
            ("additionalProperties", said) => {
                let members = value.as_object().into_iter().flat_map(Map::values);
                members.into_iter().try_for_each(|member| looks(root, said, member, left))?;
            }
            ("items" | "contains", said) => {
                value.as_array().into_iter().flatten().try_for_each(|item| looks(root, said, item, left))?;
            }
            _other => {}
        }
    }
    Some(())
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({"type": "object"})),
        (0..4_usize).prop_map(|target| json!({"$ref": format!("#/$defs/d{target}")})),
    ];
    let part = leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (prop_oneof![Just("allOf"), Just("anyOf"), Just("oneOf")], prop::collection::vec(inner.clone(), 1..4))
                .prop_map(|(keyword, parts)| json!({keyword: parts})),
            (prop_oneof![Just("not"), Just("items"), Just("contains"), Just("additionalProperties")], inner.clone())
                .prop_map(|(keyword, part)| json!({keyword: part})),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"properties": {"a": a, "b": b}, "required": ["a"]})),
        ]
    });
    prop::collection::vec(part, 5).prop_map(|mut parts| {
        let first = parts.pop().unwrap_or_default();
        let defs: Map<String, Value> = (0..).zip(parts).map(|(index, part)| (format!("d{index}"), part)).collect();
        json!({"$defs": defs, "allOf": [first]})
    })
}

fn value() -> impl Strategy<Value = Value> {
    Just(json!(1)).prop_recursive(5, 40, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            (inner.clone(), inner).prop_map(|(a, b)| json!({"a": a, "b": b, "c": 1})),
        ]
    })
}

proptest! {
    #[test]
    fn a_check_never_looks_more_often_than_was_counted_before(schema in schema(), value in value()) {
        let Ok(work) = inspect(&schema) else { return Ok(()) };
        let mut left = 1_000_000_u64;
        let most = work.of(&value);
        if looks(&schema, &schema, &value, &mut left).is_some() {
            prop_assert!(1_000_000 - left <= most, "{} looks, {most} counted: {schema} {value}", 1_000_000 - left);
        } else {
            prop_assert!(most >= 1_000_000, "more than a million looks, {most} counted: {schema} {value}");
        }
    }
}
