//! What becomes of agents when their files are written as people write files.

use std::fs;
use std::io::Write as _;

use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use crate::harness::{Folder, Pod};
use crate::model_server::ModelServer;

async fn pod(model: &ModelServer, folder: &Folder) -> Pod {
    folder.provider(&model.url, "");
    folder.agent("support", "one", "");
    folder.agent("other", "steady", "");
    let pod = Pod::on_folder(folder, &[]).await;
    pod.await_answer("support", "one").await;
    pod
}

#[tokio::test]
async fn a_file_that_is_rewritten_slowly_serves_its_last_form_until_it_is_whole() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    let pod = pod(&model, &folder).await;
    let path = folder.path().join("support.yaml");
    let next = fs::read_to_string(&path).unwrap().replace("\"one\"", "\"two\"");
    let mut file = fs::File::create(&path).unwrap();
    let state = pod.await_state("the report", |state| state["rejected"].is_object()).await;
    let problem = &state["rejected"]["problems"][0];
    assert!(problem["file"].as_str().unwrap().ends_with("support.yaml"), "{state:#}");
    assert!(problem["message"].as_str().unwrap().starts_with("is empty"), "{state:#}");
    assert_eq!(pod.answer("support").await, "one");
    for byte in next.as_bytes().chunks(40) {
        file.write_all(byte).unwrap();
        file.sync_all().unwrap();
        let answer = pod.answer("support").await;
        assert!(["one", "two"].contains(&answer.as_str()), "{answer}");
    }
    pod.await_answer("support", "two").await;
    pod.await_state("no report", |state| state["rejected"].is_null()).await;
    fs::remove_file(&path).unwrap();
    pod.await_state("one agent", |state| state["agents"].as_array().unwrap().len() == 1).await;
    assert_eq!(pod.ask("support", &json!({"query": "hi"})).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_pipe_in_the_folder_holds_up_nothing() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    let pod = pod(&model, &folder).await;
    let pipe = folder.path().join("pipe.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let state = pod.await_state("the report", |state| state["rejected"].is_object()).await;
    let problem = &state["rejected"]["problems"][0];
    assert_eq!(problem["message"].as_str().unwrap().find("is not a regular file"), Some(0), "{state:#}");
    folder.agent("support", "two", "");
    pod.await_answer("support", "two").await;
    // A pipe that is found at the start is none of a start's business either.
    let pod = Pod::on_folder(&folder, &[]).await;
    assert_eq!(pod.answer("support").await, "two");
}

#[tokio::test]
async fn one_file_too_many_is_reported_with_the_folder() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    let pod = pod(&model, &folder).await;
    for number in 0..1000 {
        let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: n{number}}}\n");
        fs::write(folder.path().join(format!("z{number}.yaml")), text).unwrap();
    }
    let state = pod.await_state("the report", |state| state["rejected"].is_object()).await;
    let problem = &state["rejected"]["problems"][0];
    assert_eq!(problem["file"], folder.path().to_str().unwrap(), "{state:#}");
    assert!(problem["message"].as_str().unwrap().contains("1003 manifest files"), "{state:#}");
    folder.agent("support", "two", "");
    pod.await_answer("support", "two").await;
}

#[tokio::test]
async fn the_state_is_told_and_calls_are_answered_while_hundreds_of_manifests_load() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    for number in 0..298 {
        folder.agent(&format!("agent-{number}"), &"{{ identity.displayName }} and {{ query }}. ".repeat(20), "");
    }
    folder.agent("support", "one", "");
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_answer("support", "one").await;
    folder.agent("support", "two", "");
    let (end, mut slowest) = (Instant::now() + crate::harness::DEADLINE, Duration::ZERO);
    while pod.answer("support").await != "two" {
        assert!(Instant::now() < end, "the edit was never served");
        let begun = Instant::now();
        assert!(pod.state().await["revision"].is_string());
        slowest = slowest.max(begun.elapsed());
        sleep(Duration::from_millis(1)).await;
    }
    // Before, whoever asked waited for the whole load.
    assert!(slowest < Duration::from_secs(2), "the state took {slowest:?}");
}
