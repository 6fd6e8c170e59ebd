//! What is carried over, what is not, and that nothing is dropped in silence.

use agent_pod_import::{InputFile, import};
use astromesh_crds::manifest;
use rstest::rstest;

use crate::fixture::{agent, object, original, report};

#[test]
fn the_whole_format_is_carried_over_or_reported() {
    let imported = import(&original());
    let texts: Vec<String> = imported.manifests.iter().map(|manifest| manifest.to_yaml().unwrap()).collect();
    insta::assert_snapshot!("manifests", texts.join("---\n"));
    insta::assert_snapshot!("report", report(&imported));
}

#[test]
fn the_order_of_the_files_changes_nothing() {
    let mut files = original();
    let first = import(&files);
    files.reverse();
    let second = import(&files);
    assert_eq!(first.manifests, second.manifests);
    assert_eq!(report(&first), report(&second));
}

#[test]
fn every_manifest_passes_the_check() {
    let imported = import(&original());
    assert!(imported.manifests.len() > 8, "{}", report(&imported));
    for manifest in imported.manifests.iter().filter(|manifest| manifest.kind() != "Secret") {
        assert_eq!(manifest::check(&manifest.object), [], "{}", manifest.name());
    }
}

#[test]
fn no_credential_is_in_manifests_or_report() {
    let imported = import(&original());
    let all: String = imported.manifests.iter().map(|manifest| manifest.to_yaml().unwrap()).collect();
    assert!(!all.contains("sk-"), "{all}");
    assert!(!report(&imported).contains("sk-"), "{}", report(&imported));
}

#[rstest]
#[case::unknown_field("  model: {primary: {provider: ollama, model: m}}\n  typo: 1\n", "spec.typo: not a field")]
#[case::nested("  model: {primary: {provider: ollama, model: m, foo: 1}}\n", "spec.model.primary.foo: not a field")]
#[case::wrong_type(
    "  model: {primary: {provider: ollama, model: m}}\n  identity: [1]\n",
    "spec.identity: must be a mapping"
)]
#[case::out_of_bounds(
    "  model: {primary: {provider: ollama, model: m, parameters: {temperature: 9}}}\n",
    "spec.model.candidates[0].parameters.temperature is left out"
)]
#[case::rule_of_a_tool(
    "  model: {primary: {provider: ollama, model: m}}\n  tools: [{name: t, type: odd}]\n",
    "`odd` is not a type"
)]
fn what_is_not_carried_over_is_reported(#[case] spec: &str, #[case] expected: &str) {
    let imported = agent(spec);
    assert!(report(&imported).contains(expected), "{}", report(&imported));
    object(&imported, "Agent", "a");
}

#[test]
fn an_agent_whose_permissions_cannot_be_kept_is_left_out() {
    let imported =
        agent("  model: {primary: {provider: ollama, model: m}}\n  permissions: {denied_actions: ['[ab]*']}\n");
    assert!(imported.manifests.iter().all(|manifest| manifest.kind() != "Agent"));
    assert!(
        report(&imported).contains("Agent `a` is left out as a whole: spec.permissions.deny: "),
        "{}",
        report(&imported)
    );
}

#[test]
fn a_provider_whose_address_is_refused_never_calls_the_vendor_instead() {
    let imported = agent("  model: {primary: {provider: openai_compat, model: m, endpoint: '${HOST}'}}\n");
    assert!(imported.manifests.iter().all(|manifest| manifest.kind() == "Secret"), "{:?}", imported.manifests);
}

#[test]
fn a_broken_file_is_a_problem_and_the_others_are_converted() {
    let bad = InputFile { path: "agents/bad.agent.yaml".into(), text: "kind: Agent\nspec: [1\nx: 2\n".into() };
    let odd = InputFile { path: "odd.yaml".into(), text: "a: 1\n---\napiVersion: x\nkind: Odd\n".into() };
    let good = InputFile {
        path: "agents/good.agent.yaml".into(),
        text: "kind: Agent\nmetadata: {name: good}\nspec: {model: {primary: {provider: ollama, model: m}}}\n".into(),
    };
    let imported = import(&[bad, odd, good]);
    object(&imported, "Agent", "good");
    assert_eq!(imported.report.problems(), 3);
    let report = report(&imported);
    assert!(report.contains("agents/bad.agent.yaml: is not valid YAML") && report.contains("line"), "{report}");
    assert!(report.contains("odd.yaml: line 4: `Odd` is not a kind"), "{report}");
}
