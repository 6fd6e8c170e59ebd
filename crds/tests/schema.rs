//! What the API server asks of a structural schema, and what we ask of ours.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use rstest::rstest;
use serde_json::Value;

fn schemas() -> Vec<(String, Value)> {
    astromesh_crds::all()
        .into_iter()
        .map(|definition| {
            let schema = definition.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
            (definition.spec.names.kind, serde_json::to_value(schema).unwrap())
        })
        .collect()
}

/// Calls `visit` with the path and the schema of every property of the spec.
fn walk(path: &str, schema: &Value, visit: &mut dyn FnMut(&str, &Value)) {
    visit(path, schema);
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            walk(&format!("{path}.{name}"), property, visit);
        }
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(property) = schema.get(inner).filter(|inner| inner.is_object()) {
            walk(&format!("{path}[]"), property, visit);
        }
    }
}

fn specs(mut visit: impl FnMut(&str, &Value)) {
    for (kind, schema) in schemas() {
        walk(&format!("{kind}.spec"), &schema["properties"]["spec"], &mut visit);
    }
}

#[test]
fn every_field_has_a_doc_sentence() {
    specs(|path, schema| {
        let item = path.ends_with("[]");
        assert!(item || schema.get("description").is_some(), "{path} has no description");
    });
}

#[test]
fn every_list_map_and_free_string_is_bounded() {
    specs(|path, schema| {
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        let bounded = match kind {
            "array" => schema.get("maxItems").is_some(),
            "string" => schema.get("maxLength").is_some() || schema.get("enum").is_some(),
            "object" => {
                schema.get("properties").is_some()
                    || schema.get("maxProperties").is_some()
                    || schema.get("x-kubernetes-preserve-unknown-fields").is_some()
            }
            _ => true,
        };
        assert!(bounded, "{path} has no bound");
    });
}

#[test]
fn only_vendor_parameters_and_json_schemas_are_free_form() {
    let mut free = Vec::new();
    specs(|path, schema| {
        if schema.get("x-kubernetes-preserve-unknown-fields").is_some() {
            free.push(path.to_owned());
        }
    });
    let [default, roles] =
        ["Agent.spec.model", "Agent.spec.roles[]"].map(|role| format!("{role}.candidates[].parameters.extra"));
    assert_eq!(
        free,
        [default, "Agent.spec.outputSchema".to_owned(), roles, "Agent.spec.tools[].parameters".to_owned()]
    );
}

#[test]
fn no_schema_has_what_the_api_server_refuses() {
    for (kind, schema) in schemas() {
        walk(&kind, &schema, &mut |path, schema| {
            assert!(schema.get("$ref").is_none(), "{path} has a $ref");
            assert!(schema.get("oneOf").is_none() && schema.get("anyOf").is_none(), "{path} has oneOf or anyOf");
            let both = schema.get("properties").is_some() && schema.get("additionalProperties").is_some();
            assert!(!both, "{path} has properties and additionalProperties");
        });
    }
}

#[rstest]
#[case("agents.astromesh.io", "ag")]
#[case("providers.astromesh.io", "prov")]
fn kinds_have_their_short_name_category_and_status(#[case] name: &str, #[case] short: &str) {
    let definition = astromesh_crds::all().into_iter().find(|d| d.metadata.name.as_deref() == Some(name)).unwrap();
    assert_eq!(definition.spec.names.short_names, Some(vec![short.to_owned()]));
    assert_eq!(definition.spec.names.categories, Some(vec!["astromesh".to_owned()]));
    assert_eq!(definition.spec.scope, "Namespaced");
    assert!(definition.spec.versions[0].subresources.as_ref().unwrap().status.is_some());
}

#[test]
fn reasons_are_written_as_they_are_called() {
    // A reason is written as its variant is called: the enum is the closed set that the reference lists.
    let json = serde_json::to_value(astromesh_crds::v1alpha1::Reason::ProviderNotFound).unwrap();
    assert_eq!(json, astromesh_crds::v1alpha1::Reason::ProviderNotFound.as_str());
}

#[test]
fn the_reference_explains_every_reason_and_no_other() {
    use astromesh_crds::v1alpha1::Reason;
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/conditions.md")).unwrap();
    let table = page.split("## Reasons").nth(1).unwrap();
    let documented: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let known: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(documented, known);
}
