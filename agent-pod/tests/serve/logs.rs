//! Logs that nobody reads hold up nobody.

use futures::StreamExt as _;
use futures::stream;
use serde_json::json;
use tokio::process::Command;

use crate::harness::{Folder, Pod};
use crate::model_server::ModelServer;

/// Far more than a pipe and the queue before it hold.
const CALLS: usize = 600;

#[tokio::test]
async fn a_pipe_that_nobody_empties_holds_up_no_call_and_no_end() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "hello", "");
    let program = Command::new(env!("CARGO_BIN_EXE_agent-pod"));
    // As much of it as there is: fewer calls are needed.
    let arguments = ["--manifests", folder.path().to_str().unwrap(), "--log", "trace"];
    let mut pod = Pod::run(program, &arguments, &[], false).await;
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "support").await;
    let calls = stream::iter(0..CALLS).map(|_| pod.ask("support", &json!({"query": "hi"})).send());
    let answered = calls.buffer_unordered(8).all(async |answer| answer.is_ok_and(|answer| answer.status() == 200));
    assert!(answered.await);
    assert!(pod.metric_value("astromesh_log_lines_dropped_total").await > 0.0, "the pipe never filled");
    pod.terminate().await;
    let status = tokio::time::timeout(crate::harness::DEADLINE, pod.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn what_keeps_a_pod_from_starting_is_its_last_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_agent-pod"))
        .args(["serve", "--manifests", "/nowhere"])
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.ends_with("agent-pod: `/nowhere` is not a folder; give --manifests a folder that holds your manifests\n"),
        "{said}"
    );
}

/// `agent-pod validate … | head -1`.
#[tokio::test]
async fn a_reader_who_has_seen_enough_is_no_panic() {
    let folder = Folder::new();
    folder.write("bad.yaml", "a: [1\n");
    let binary = env!("CARGO_BIN_EXE_agent-pod");
    let command = format!("{binary} validate {} | true; echo ${{PIPESTATUS[0]}}", folder.path().display());
    let output = Command::new("bash").args(["-c", &command]).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
