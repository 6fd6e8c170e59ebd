//! What is said of an object has bounds, whatever the object holds.

use astromesh_crds::manifest::{Problem, check};
use rstest::rstest;
use serde_json::{Map, Value, json};

fn agent() -> Value {
    json!({"apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "support"},
           "spec": {"model": {"candidates": [{"providerRef": {"name": "openai"}}]}, "prompts": {"system": "Be kind."}}})
}

fn with(pointer: &str, key: &str, value: Value) -> Value {
    let mut object = agent();
    if let Some(place) = object.pointer_mut(pointer) {
        place[key] = value;
    }
    object
}

fn map(length: usize, value: &Value) -> Value {
    Value::Object((0..length).map(|index| (format!("x{index}"), value.clone())).collect::<Map<_, _>>())
}

/// The object's problems; all of them together are short.
fn problems(object: &Value) -> Vec<Problem> {
    let problems = check(object);
    let length: usize = problems.iter().map(|problem| problem.to_string().chars().count()).sum();
    assert!((1..=21).contains(&problems.len()) && length < 12_000, "{} problems, {length} characters", problems.len());
    problems
}

#[rstest]
#[case::unknown_fields(with("/spec", "identity", map(10_000, &json!(1))), 9_980)]
#[case::of_metadata({ let mut object = with("", "metadata", map(10_000, &json!(1))); object["metadata"]["name"] = json!("a"); object }, 9_980)]
#[case::items(with("/spec/model", "candidates", Value::from(vec![1; 10_000])), 9_981)]
#[case::of_a_map(with("/spec", "runtime", json!({"nodeSelector": map(10_000, &json!(1))})), 9_981)]
#[case::duplicates(with("/spec", "tools", Value::from(vec![json!({"name": "a", "type": "client"}); 10_000])), 9_980)]
fn many_problems_are_counted(#[case] object: Value, #[case] more: usize) {
    let problems = problems(&object);
    assert_eq!(problems.len(), 21);
    let expected = Problem { path: String::new(), message: format!("and {more} more problems of this object") };
    assert_eq!(problems[20], expected);
}

#[test]
fn the_first_problems_do_not_depend_on_where_they_are_found() {
    let problems = problems(&with("/spec", "identity", map(10_000, &json!(1))));
    assert_eq!(problems[0].path, "spec.identity.x0");
    assert_eq!(problems[19].path, "spec.identity.x1014");
}

#[rstest]
#[case::of_a_type("/spec/prompts", "context", json!(["v".repeat(1_000_000)]), "is not of type \"string\"")]
#[case::of_a_choice("/spec/model", "strategy", json!("v".repeat(1_000_000)), "… is not one of")]
#[case::of_a_duration("/spec/orchestration", "timeout", json!("v".repeat(1_000_000)), "… is longer than 20 characters")]
#[case::of_a_pattern("/metadata", "name", json!("V".repeat(1_000_000)), "…` is not a valid name")]
#[case::of_a_namespace("/metadata", "namespace", json!("v".repeat(1_000_000)), "…` is not a valid namespace")]
#[case::of_a_kind("", "kind", json!("v".repeat(1_000_000)), "…` is not a kind")]
#[case::of_a_field("/spec", &"k".repeat(1_000_000), json!(1), "…: a key has at most 512 bytes")]
#[case::of_metadata("/metadata", &"k".repeat(500), json!(1), "…: unknown field")]
#[case::of_a_long_list("/spec/model", "candidates", Value::from(vec![json!({"providerRef": {"name": "a"}}); 1_000]), "… has more than 16 items")]
fn a_long_value_is_quoted_in_part(
    #[case] pointer: &str,
    #[case] key: &str,
    #[case] value: Value,
    #[case] expected: &str,
) {
    let mut object = agent();
    object["spec"]["orchestration"] = json!({});
    object.pointer_mut(pointer).unwrap()[key] = value;
    let problems = problems(&object);
    assert!(problems.iter().any(|problem| problem.to_string().contains(expected)), "{problems:?}");
}

#[rstest]
#[case::longest("n".repeat(63), true)]
#[case::too_long("n".repeat(64), false)]
#[case::of_letters("shop-1".to_owned(), true)]
#[case::of_others("shop.a".to_owned(), false)]
#[case::ends("shop-".to_owned(), false)]
fn a_namespace_is_a_label(#[case] namespace: String, #[case] valid: bool) {
    assert_eq!(check(&with("/metadata", "namespace", json!(namespace))).is_empty(), valid);
}

#[rstest]
#[case::fields(with("", "spec", map(60_000, &json!(1))), "spec")]
#[case::items(with("/spec/model", "candidates", Value::from(vec![1; 60_000])), "spec.model.candidates")]
#[case::of_items(with("/spec", "tools", Value::from(vec![map(1_000, &json!(1)); 60])), "spec.tools[49]")]
fn what_is_far_too_large_is_not_looked_at(#[case] object: Value, #[case] path: &str) {
    let message = "the object has more than 50000 values up to here; take some of them out".to_owned();
    assert_eq!(problems(&object), [Problem { path: path.to_owned(), message }]);
}

#[test]
fn free_form_values_are_not_counted() {
    let schema = json!({"type": "object", "properties": map(60_000, &json!({}))});
    assert_eq!(check(&with("/spec", "outputSchema", schema)), []);
}
