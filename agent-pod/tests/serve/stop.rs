//! SIGTERM: nothing that runs is lost.

use serde_json::{Value, json};

use crate::harness::{Folder, Pod};
use crate::model_server::ModelServer;

#[tokio::test]
async fn a_run_in_flight_ends_and_then_the_process() {
    let (model, folder) = (ModelServer::gated().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "a whole answer", "");
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "support").await;
    let asked = tokio::runtime::Handle::current().spawn(pod.ask("support", &json!({"query": "hi"})).send());
    pod.await_state("the run", |state| state["inFlight"] == 1).await;
    pod.terminate().await;
    pod.await_state("the drain", |state| state["draining"] == true).await;
    assert!(!pod.ready().await, "not ready at once, while runs end");
    model.open_gate();
    let answer: Value = asked.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(answer["answer"], "a whole answer");
    let (code, log) = pod.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("\"run ended\"") && log.contains("\"stopped\""), "{log}");
}

#[tokio::test]
async fn a_run_that_does_not_end_is_cut_off_after_the_drain_timeout() {
    let (model, folder) = (ModelServer::gated().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "never", "  runtime: {drainTimeout: 200ms}\n");
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "support").await;
    let asked = tokio::runtime::Handle::current().spawn(pod.ask("support", &json!({"query": "hi"})).send());
    pod.await_state("the run", |state| state["inFlight"] == 1).await;
    pod.terminate().await;
    let (code, log) = pod.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(asked.await.unwrap().is_err());
    assert!(log.contains("cut off"), "{log}");
}

#[tokio::test]
async fn logs_are_json_and_hold_no_secret() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "  auth: {secretKeyRef: {name: s, key: k}}\n");
    folder.agent("support", "hello", "");
    folder.write("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {k: canary-value}\n");
    let arguments = ["--manifests", folder.path().to_str().unwrap(), "--log", "trace"];
    let pod = Pod::start(&arguments, &[]).await;
    pod.await_answer("support", "hello").await;
    let state = pod.state().await.to_string();
    pod.terminate().await;
    let (_, log) = pod.ended().await;
    assert!(log.lines().count() > 5 && !log.contains("canary-value"), "a secret is in the log");
    assert!(!state.contains("canary-value"));
}
