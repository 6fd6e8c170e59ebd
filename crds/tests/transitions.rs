//! What an edit may not change.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use kube::core::cel::{compile_schema, validate_compiled};
use rstest::rstest;
use serde_json::{Value, json};

fn agent(memory: Value) -> Value {
    json!({"apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "support"},
           "spec": {"model": {"candidates": [{"providerRef": {"name": "openai"}}]}, "prompts": {"system": "Be kind."},
                    "orchestration": {}, "runtime": {"replicas": 1}, "memory": memory}})
}

fn volume(persistence: Value) -> Value {
    agent(json!({"conversational": {"backend": "sqlite", "ttl": "72h"}, "persistence": persistence}))
}

/// What the API server says of the edit.
fn refusals(before: &Value, after: &Value) -> Vec<String> {
    let definition = astromesh_crds::all().into_iter().next().unwrap();
    let schema = definition.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
    let rules = compile_schema(&serde_json::to_value(schema).unwrap());
    let result = validate_compiled(&rules, after, Some(before));
    result.err().into_iter().flat_map(|errors| errors.into_vec()).map(|error| error.message).collect()
}

#[rstest]
#[case::grows(volume(json!({"size": "1Gi"})), volume(json!({"size": "2Gi"})))]
#[case::says_the_same(volume(json!({"size": "1024Mi"})), volume(json!({"size": "1Gi"})))]
#[case::keeps_its_class(volume(json!({"size": "1Gi", "storageClassName": "fast"})), volume(json!({"size": "2Gi", "storageClassName": "fast"})))]
#[case::is_taken_away(volume(json!({"size": "1Gi"})), agent(json!({"conversational": {"backend": "in_memory", "ttl": "72h"}})))]
#[case::comes_later(agent(json!({"conversational": {"backend": "sqlite", "ttl": "72h"}})), volume(json!({"size": "1Gi", "storageClassName": "fast"})))]
fn a_volume_may_change_so(#[case] before: Value, #[case] after: Value) {
    assert_eq!(refusals(&before, &after), Vec::<String>::new());
}

#[rstest]
#[case::changed(json!({"size": "1Gi", "storageClassName": "fast"}), json!({"size": "1Gi", "storageClassName": "slow"}), "storageClassName \"slow\" was \"fast\", and cannot change")]
#[case::removed(json!({"size": "1Gi", "storageClassName": "fast"}), json!({"size": "1Gi"}), "storageClassName absent was \"fast\", and cannot change")]
#[case::added(json!({"size": "1Gi"}), json!({"size": "1Gi", "storageClassName": "slow"}), "storageClassName \"slow\" was absent, and cannot change")]
#[case::shrunk(json!({"size": "1Gi"}), json!({"size": "1000Mi"}), "size 1000Mi was 1Gi, and a volume cannot shrink")]
fn a_volume_may_not_change_so(#[case] before: Value, #[case] after: Value, #[case] message: &str) {
    let refusals = refusals(&volume(before), &volume(after));
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(refusals[0].starts_with(&format!("memory.persistence.{message}")), "{refusals:?}");
}
