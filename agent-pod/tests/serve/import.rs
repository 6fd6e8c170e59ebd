//! `agent-pod import`: manifests on standard output or in files, the report on standard error, and agents that answer.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::harness::{Folder, Pod};
use crate::model_server::ModelServer;

fn import(arguments: &[&Path]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-pod"));
    let Output { status, stdout, stderr } = command.arg("import").args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Writes a file in a folder below.
fn write(folder: &Folder, name: &str, text: &str) {
    std::fs::write(folder.path().join(name), text).unwrap();
}

/// A folder of the original with one agent, whose models are at this URL.
fn original(url: &str) -> Folder {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("agents")).unwrap();
    folder.write(
        "providers.yaml",
        &format!("kind: ProviderConfig\nspec:\n  providers:\n    echo: {{type: openai_compat, endpoint: '{url}', api_key_env: ECHO_KEY, models: [m]}}\n"),
    );
    write(
        &folder,
        "agents/support.agent.yaml",
        "apiVersion: astromesh/v1\nkind: Agent\nmetadata: {name: Support}\nspec:\n  identity: {display_name: Ada}\n  model: {default: {candidates: [{providerRef: echo}]}}\n  prompts: {system: 'You are {{ identity.displayName }}.'}\n  orchestration: {narrate: true}\n",
    );
    folder
}

#[tokio::test]
async fn what_was_imported_is_served() {
    let model = ModelServer::start().await;
    let (from, out) = (original(&model.url), Folder::new());
    let (code, stdout, report) = import(&[from.path(), Path::new("--out"), out.path()]);
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{report}");
    assert!(report.contains("agents/support.agent.yaml: spec.orchestration.narrate: has no counterpart"), "{report}");
    let pod = Pod::on_folder(&out, &[("ASTROMESH_SECRET_ECHO_KEY_ECHO_KEY", "sk-filled-in")]).await;
    pod.await_state("a revision", |state| state["revision"].is_string()).await;
    let answer: serde_json::Value =
        pod.ask("support", &json!({"query": "hi"})).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["answer"], "You are Ada.", "{answer}");
    assert_eq!(model.asked()[0].authorization.as_deref(), Some("Bearer sk-filled-in"));
}

#[test]
fn everything_that_comes_of_the_whole_format_is_valid_together() {
    let (from, out) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("import/tests/original"), Folder::new());
    let (code, _, report) = import(&[&from, Path::new("--out"), out.path()]);
    assert_eq!(code, Some(1), "two of its files are broken: {report}");
    let validate = Command::new(env!("CARGO_BIN_EXE_agent-pod")).arg("validate").arg(out.path()).output().unwrap();
    let said = String::from_utf8(validate.stdout).unwrap();
    assert_eq!(validate.status.code(), Some(0), "{said}");
    assert!(said.starts_with("valid: 3 agents"), "{said}");
}

#[test]
fn manifests_go_to_standard_output_as_documents() {
    let from = original("http://models/v1");
    let (code, stdout, report) = import(&[from.path()]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(stdout.matches("---\n").count(), 3, "{stdout}");
    assert!(report.trim_end().ends_with("files or documents that could not be read: 0"), "{report}");
}

#[test]
fn no_file_is_overwritten() {
    let (from, out) = (original("http://models/v1"), Folder::new());
    out.write("agent.support.yaml", "mine");
    let (code, stdout, said) = import(&[from.path(), Path::new("--out"), out.path()]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(said.contains("agent.support.yaml` exists already; remove it or name another --out folder"), "{said}");
    assert_eq!(std::fs::read_to_string(out.path().join("agent.support.yaml")).unwrap(), "mine");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1, "nothing else was written");
}

#[test]
fn a_broken_file_is_named_with_its_line_and_the_others_are_converted() {
    let from = original("http://models/v1");
    write(&from, "agents/bad.agent.yaml", "kind: Agent\nspec: [1\napi_key: sk-bad\n");
    let (code, stdout, report) = import(&[from.path()]);
    assert_eq!(code, Some(1));
    assert!(report.contains("agents/bad.agent.yaml: is not valid YAML") && report.contains("line "), "{report}");
    assert!(!report.contains("sk-bad"), "{report}");
    assert!(stdout.contains("kind: Agent"), "{stdout}");
}
