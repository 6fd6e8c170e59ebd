//! `agent-pod validate`: all problems, their paths, and the exit code.

use std::path::Path;
use std::process::Command;

use rstest::rstest;

use crate::harness::Folder;

fn validate(paths: &[&Path]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_agent-pod")).arg("validate").args(paths).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn every_sample_is_valid() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/samples");
    for folder in std::fs::read_dir(samples).unwrap() {
        let folder = folder.unwrap().path();
        let (code, out) = validate(&[&folder]);
        assert_eq!(code, Some(0), "{}: {out}", folder.display());
        let providers = if folder.ends_with("routing") { "2 providers" } else { "1 provider" };
        let team = folder.ends_with("research") || folder.ends_with("triage");
        let agents = if team { "3 agents" } else { "1 agent" };
        assert_eq!(out.trim_end(), format!("valid: {agents}, {providers}"));
    }
}

#[test]
fn all_problems_of_all_files_are_reported_with_their_fields() {
    let folder = Folder::new();
    folder.provider("not a url", "");
    folder.agent("broken", "{{ oops", "");
    folder.agent("typo", "fine", "  promts: {}\n");
    folder.agent("orphan", "{{ also broken", "");
    folder.write("elsewhere.yaml", "apiVersion: astromesh.io/v1\nkind: Agent\nmetadata: {name: x}\n");
    folder.write("foreign.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n---\n");
    let (code, out) = validate(&[folder.path()]);
    assert_eq!(code, Some(1));
    for expected in [
        "provider.yaml: Provider/echo: spec.endpoint: endpoint \"not a url\" must be an absolute http or https URL",
        "typo.yaml: Agent/typo: spec.promts: unknown field",
        "orphan.yaml: Agent/orphan: spec.model.candidates[0].providerRef.name: there is no Provider `echo`",
        "orphan.yaml: Agent/orphan: spec.prompts.system: line 1:",
        "elsewhere.yaml: Agent/x: apiVersion: `astromesh.io/v1` is not served",
    ] {
        assert!(out.contains(expected), "`{expected}` is missing in:\n{out}");
    }
    folder.provider("http://127.0.0.1:1", "");
    let (code, out) = validate(&[folder.path()]);
    assert_eq!(code, Some(1));
    assert!(out.contains("broken.yaml: Agent/broken: spec.prompts.system: line 1:"), "{out}");
}

#[rstest]
#[case::filter("{{ query | nofilter }}", "", "prompts.system: line 1: there is no filter `nofilter`")]
#[case::function("{{ nope() }}", "", "prompts.system: line 1: there is no function `nope`")]
#[case::include("{% include 'nope' %}", "", "prompts.system: line 1: there is no template `nope`")]
#[case::stage(
    "fine",
    "  orchestration: {pattern: pipeline, stages: [{name: one, prompt: fine}, {name: two, prompt: '{{ oops'}]}\n",
    "orchestration.stages[1].prompt: line 1:"
)]
fn what_a_template_names_and_is_not_there_is_a_problem(
    #[case] prompt: &str,
    #[case] more: &str,
    #[case] expected: &str,
) {
    let folder = Folder::new();
    folder.provider("http://127.0.0.1:1", "");
    folder.agent("broken", prompt, more);
    let (code, out) = validate(&[folder.path()]);
    assert_eq!(code, Some(1));
    assert!(out.contains(&format!("broken.yaml: Agent/broken: spec.{expected}")), "{out}");
}

#[test]
fn templates_of_an_agent_that_is_left_out_include_each_other() {
    let folder = Folder::new();
    let spec = "  model: {candidates: [{providerRef: {name: nobody}}]}\n  prompts: {system: \"{% include 'greeting' %}\", templates: {greeting: Hello}}\n";
    folder.write(
        "orphan.yaml",
        &format!("apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: orphan}}\nspec:\n{spec}"),
    );
    let (code, out) = validate(&[folder.path()]);
    assert_eq!(code, Some(1));
    assert!(out.contains("there is no Provider `nobody`") && out.trim_end().ends_with("\n1 problem"), "{out}");
}

#[test]
fn a_prompt_is_looked_for_in_the_config_maps_of_the_files() {
    let verdict = |config_map: &str| {
        let folder = Folder::new();
        folder.provider("http://127.0.0.1:1", "");
        folder.write(
            "agent.yaml",
            "apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {name: support}\nspec:\n  model: {candidates: [{providerRef: {name: echo}}]}\n  prompts: {systemFrom: {configMapKeyRef: {name: prompts, key: system.md}}}\n",
        );
        folder.write("prompts.yaml", &format!("apiVersion: v1\nkind: ConfigMap\n{config_map}\n"));
        let (code, out) = validate(&[folder.path()]);
        assert_eq!(code == Some(0), out.starts_with("valid: 1 agent, 1 provider"), "{out}");
        out
    };
    let found = verdict("metadata: {name: prompts}\ndata: {system.md: Be kind.}");
    assert!(found.starts_with("valid"), "{found}");
    let field = "agent.yaml: Agent/support: spec.prompts.systemFrom.configMapKeyRef:";
    for (config_map, expected) in [
        ("metadata: {name: others}", format!("{field} there is no ConfigMap `prompts` in namespace `default`")),
        ("metadata: {name: prompts, namespace: zoo}\ndata: {system.md: x}", format!("{field} there is no ConfigMap")),
        (
            "metadata: {name: prompts}\ndata: {other.md: x}",
            format!("{field} ConfigMap `prompts` has no key `system.md`"),
        ),
        (
            "metadata: {name: prompts}\nbinaryData: {system.md: AA==}",
            format!("{field} key `system.md` of ConfigMap `prompts` is binary"),
        ),
        ("metadata: {name: prompts}\ndata: {system.md: \"{{ oops\"}", format!("{field} line 1:")),
        (
            "metadata: {name: prompts}\ndata: {system.md: 7}",
            "ConfigMap/prompts: data.system.md: must be a string".to_owned(),
        ),
        (
            "metadata: {name: prompts}\ndata: {system.md: x}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: prompts}",
            "ConfigMap/prompts: metadata.name: there are two ConfigMaps of this name".to_owned(),
        ),
    ] {
        let out = verdict(config_map);
        assert!(out.contains(&expected), "`{expected}` is missing in:\n{out}");
    }
}

#[test]
fn where_no_manifest_is_found_that_is_the_problem() {
    let folder = Folder::new();
    folder.write("foreign.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n");
    assert_eq!(validate(&[folder.path()]), (Some(0), "valid: 0 agents, 0 providers\n".to_owned()));
    let empty = Folder::new();
    let within = empty.path().join("within");
    std::fs::create_dir(&within).unwrap();
    empty.write("README.md", "hello");
    for (name, text) in [
        ("provider.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n"),
        ("empty.yaml", ""),
        ("comment.yaml", "# later\n---\n"),
    ] {
        std::fs::write(within.join(name), text).unwrap();
    }
    for path in ["", "within/empty.yaml", "within/comment.yaml"] {
        let path = empty.path().join(path);
        let (code, out) = validate(&[folder.path(), &path]);
        assert_eq!(code, Some(1), "{out}");
        assert!(out.starts_with(&format!("{}: no manifest was found;", path.display())), "{out}");
    }
    assert_eq!(validate(&[&within]).0, Some(0));
}

#[test]
fn a_file_that_is_not_there_is_a_problem() {
    let (code, out) = validate(&[Path::new("/nonexistent/agent.yaml")]);
    assert_eq!(code, Some(1));
    assert!(out.contains("/nonexistent/agent.yaml: cannot be read"), "{out}");
}

#[test]
fn a_provider_of_another_namespace_is_asked_for_its_consent() {
    let verdict = |label: &str| {
        let folder = Folder::new();
        let allowed =
            format!("{{from: Selector, selector: {{matchLabels: {{kubernetes.io/metadata.name: {label}}}}}}}");
        folder.write(
            "provider.yaml",
            &format!(
                "apiVersion: astromesh.io/v1alpha1\nkind: Provider\nmetadata: {{name: echo, namespace: models}}\nspec:\n  type: ollama\n  models: [{{name: m}}]\n  allowedNamespaces: {allowed}\n"
            ),
        );
        folder.write(
            "agent.yaml",
            "apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {name: borrower}\nspec:\n  model: {candidates: [{providerRef: {name: echo, namespace: models}}]}\n  prompts: {system: hello}\n",
        );
        validate(&[folder.path()])
    };
    assert_eq!(verdict("default").0, Some(0));
    let (code, out) = verdict("other");
    assert_eq!(code, Some(1));
    let refused =
        "Agent/borrower: spec.model.candidates[0].providerRef.namespace: Provider `echo` of namespace `models`";
    assert!(out.contains(refused), "{out}");
}
