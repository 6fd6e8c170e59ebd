//! Whatever the files say: no panic, and what comes out passes the check.

use agent_pod_import::{InputFile, import};
use astromesh_crds::manifest;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::original;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{"a": 1}])),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~äß{}%]{0,60}".prop_map(Value::from),
    ]
}

/// The places of all values in a document.
fn places(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            places(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found)
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| places(value, format!("{at}/{index}"), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    found.push(at);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_value_in_any_place_gives_manifests_that_pass(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), scalar()), 1..4)
    ) {
        let mut files = original();
        for (file, place, value) in edits {
            let file = file.get(&files).clone();
            let Ok(mut document) = serde_saphyr::from_str::<Value>(&file.text) else { continue };
            let mut all = Vec::new();
            places(&document, String::new(), &mut all);
            *document.pointer_mut(place.get(all.as_slice()).as_str()).unwrap() = value;
            files.retain(|other| other.path != file.path);
            files.push(InputFile { path: file.path, text: document.to_string() });
        }
        let imported = import(&files);
        for made in imported.manifests.iter().filter(|made| made.kind() != "Secret") {
            prop_assert_eq!(manifest::check(&made.object), []);
        }
    }
}
