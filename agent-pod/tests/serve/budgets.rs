//! Budgets of the running binary. The model server counts 11 tokens for each call.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Folder, Pod};
use crate::model_server::ModelServer;

/// The longest window, so that none ends while a test runs.
const BUDGET: &str = "  budget: {window: 744h, maxTokens: 20}\n";

async fn metrics(pod: &Pod) -> String {
    pod.http.get(format!("{}/metrics", pod.admin)).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_used_up_budget_is_refused_until_its_window_ends_and_survives_a_reload() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "one", BUDGET);
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_answer("support", "one").await;
    let budget = &pod.state().await["agents"][0]["budget"];
    assert_eq!((&budget["tokens"], &budget["maxTokens"], &budget["state"]), (&json!(11), &json!(20), &json!("ok")));
    assert_eq!(pod.answer("support").await, "one", "what is left is enough to begin");

    let before = pod.state().await["revision"].clone();
    folder.agent("support", "two", BUDGET);
    pod.await_state("the edit", |state| state["revision"] != before).await;
    let refused = pod.ask("support", &json!({"query": "hi"})).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait > 0 && wait <= 744 * 3600, "{wait}");
    let error = refused.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(
        (&error["code"], &error["domain"], &error["retryable"]),
        (&json!("budget_exceeded"), &json!("policy"), &json!(true))
    );
    assert_eq!(model.asked().len(), 2);

    let budget = &pod.state().await["agents"][0]["budget"];
    assert_eq!((&budget["tokens"], &budget["state"]), (&json!(22), &json!("exceeded")));
    let text = metrics(&pod).await;
    assert!(text.contains("astromesh_budget_used_ratio{agent=\"support\",resource=\"tokens\"} 1.1"), "{text}");
    assert!(text.contains("astromesh_budget_refusals_total{agent=\"support\"} 1"), "{text}");

    folder.agent("support", "three", "  budget: {window: 744h, maxTokens: 1000}\n");
    pod.await_state("the edit", |state| state["agents"][0]["budget"]["maxTokens"] == 1000).await;
    assert_eq!(pod.answer("support").await, "three");
    assert_eq!(pod.state().await["agents"][0]["budget"]["tokens"], 33, "a higher maximum goes on with the same count");
}

#[tokio::test]
async fn the_guarded_sample_counts_tokens_and_money() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/samples/guarded");
    let read = |file: &str| std::fs::read_to_string(sample.join(file)).unwrap();
    folder.write("agent.yaml", &read("agent.yaml").replace("window: 24h", "window: 744h"));
    folder.write(
        "provider.yaml",
        &read("provider.yaml").replace("  auth:", &format!("  endpoint: {}\n  auth:", model.url)),
    );
    let pod =
        Pod::start(&["--manifests", folder.path().to_str().unwrap()], &[("ASTROMESH_SECRET_OPENAI_API_KEY", "key")])
            .await;
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "teller").await;
    let answer: Value =
        pod.ask("teller", &json!({"query": "What is my balance?"})).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["usage"]["cost"], "0.00000255");
    let budget = pod.state().await["agents"][0]["budget"].clone();
    assert_eq!((&budget["tokens"], &budget["maxTokens"]), (&json!(11), &json!(2_000_000)));
    assert_eq!((&budget["cost"], &budget["maxCost"]), (&json!("0.00000255"), &json!("5")));
    assert!(budget["windowEnd"].as_str().unwrap().ends_with('Z'), "{budget}");
}
