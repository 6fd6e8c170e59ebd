//! What a container that does not come up says last, which is what the operator shows of it; and documents that an operator
//! writes when consent ends.

use std::process::Stdio;

use rstest::rstest;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::keyed_server::{KeyedServer, Mounts, document};
use crate::tokens::token;

/// The exit code and the last line of a pod that does not come up.
async fn last_line(arguments: &[&str]) -> (Option<i32>, String) {
    let mut pod = Command::new(env!("CARGO_BIN_EXE_agent-pod"));
    let pod = pod.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let output = tokio::time::timeout(crate::harness::DEADLINE, pod.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said.lines().last().unwrap_or_default().to_owned())
}

#[rstest]
#[case::unknown_argument(&["serve", "--document", "x", "--oops"], "--oops")]
#[case::no_source(&["serve"], "--manifests")]
#[case::address(&["serve", "--document", "x", "--listen", "nowhere"], "nowhere")]
#[case::log_filter(&["serve", "--document", "x", "--log", "a=b=c"], "a=b=c")]
#[case::no_folder(&["serve", "--document", "/nowhere/document.json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"], "/nowhere")]
#[case::no_manifests(&["serve", "--manifests", "/nowhere"], "/nowhere")]
#[tokio::test]
async fn the_last_line_says_the_cause(#[case] arguments: &[&str], #[case] cause: &str) {
    let (code, line) = last_line(arguments).await;
    assert!(matches!(code, Some(1 | 2)) && line.contains(cause), "{code:?}: {line}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_last() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("document.json");
    let arguments = ["serve", "--document", file.to_str().unwrap(), "--listen", &taken];
    let (code, line) = last_line(&arguments).await;
    assert!(code == Some(1) && line.contains(&taken) && line.contains("in use"), "{code:?}: {line}");
}

#[tokio::test]
async fn where_no_provider_may_be_used_any_more_a_run_says_so() {
    let model = KeyedServer::start("key").await;
    let mut written: Value = serde_json::from_slice(&document(&[("model", &model)], json!({}))).unwrap();
    written["agents"]["support"]["model"]["candidates"] = json!([]);
    written["providers"] = json!({});
    let mounts = Mounts::start(&serde_json::to_vec(&written).unwrap(), None, &[]).await;
    let (status, body) = mounts.run(json!({"query": "hi"})).await;
    assert_eq!((status, &body["error"]["code"]), (503, &json!("suspended")), "{body:#}");
    assert!(body["error"]["message"].as_str().unwrap().contains("no provider of this agent may be used"), "{body:#}");
    let stream = mounts.pod.ask("support", &json!({"query": "hi", "stream": true})).send().await.unwrap();
    assert!(stream.text().await.unwrap().contains("no provider of this agent may be used"));
}

#[tokio::test]
async fn an_empty_list_of_callers_lets_nobody_in() {
    let model = KeyedServer::start("key").await;
    let mut written: Value = serde_json::from_slice(&document(&[("model", &model)], json!({}))).unwrap();
    written["agents"]["support"]["access"] = json!({"mode": "service_account", "allowed": []});
    let mounts = Mounts::start(&serde_json::to_vec(&written).unwrap(), None, &[("model", b"key")]).await;
    let of_its_namespace = mounts.pod.ask("support", &json!({"query": "hi"})).bearer_auth(token("shop", "clerk"));
    let response = of_its_namespace.send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert!(model.answered().is_empty());
    // The operator reads the state all the same.
    assert_eq!(mounts.pod.state().await["agents"][0]["name"], "support");
}
