//! Budgets of the running binary. The model server counts 11 tokens for each call.

use std::path::Path;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Folder, Pod};
use crate::model_server::ModelServer;
use crate::stores::Redis;

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

/// `support` with a budget that is counted where its conversations are.
fn sharing(model: &ModelServer, tokens_max: u64) -> Folder {
    let folder = Folder::new();
    folder.provider(&model.url, "");
    let memory = "  memory: {conversational: {backend: redis, connection: {secretKeyRef: {name: store, key: url}}}}\n";
    folder.agent("support", "fine", &format!("{memory}  budget: {{window: 744h, maxTokens: {tokens_max}}}\n"));
    folder
}

async fn replica(folder: &Folder, redis: &Redis) -> Pod {
    let pod = Pod::on_folder(folder, &[("ASTROMESH_SECRET_STORE_URL", &redis.url)]).await;
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "support").await;
    pod
}

/// The answer, or the error's code.
async fn run(pod: &Pod) -> Value {
    pod.ask("support", &json!({"query": "hi"})).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn two_pods_share_a_budget_and_its_count_outlives_them() {
    let Some(redis) = Redis::start().await else { return };
    let model = ModelServer::start().await;
    let folder = sharing(&model, 60);
    let pods = [replica(&folder, &redis).await, replica(&folder, &redis).await];
    // Each run may use all that is left: one of them gets it, and gives back what it did not use.
    let runs = join_all((0..40).map(|number| run(&pods[number % 2]))).await;
    let answered = runs.iter().filter(|run| run["answer"] == "fine").count();
    assert!(runs.iter().all(|run| run["answer"] == "fine" || run["error"]["code"] == "budget_exceeded"), "{runs:?}");
    assert!((1..=6).contains(&answered), "{answered}");
    let mut answers = answered;
    for number in 0.. {
        let said = run(&pods[number % 2]).await;
        if said["error"]["code"] == "budget_exceeded" {
            break;
        }
        assert_eq!((&said["answer"], &said["degraded"]), (&json!("fine"), &json!([])), "{said}");
        answers += 1;
    }
    assert_eq!((answers, model.asked().len()), (6, 6), "66 tokens: the sixth run had 5 left");
    for pod in &pods {
        assert_eq!(run(pod).await["error"]["code"], "budget_exceeded");
        let budget = pod.state().await["agents"][0]["budget"].clone();
        assert_eq!((&budget["tokens"], &budget["state"]), (&json!(66), &json!("exceeded")));
    }
    drop(pods);
    assert_eq!(run(&replica(&folder, &redis).await).await["error"]["code"], "budget_exceeded", "after a restart, too");
}

#[tokio::test]
async fn while_the_store_is_down_a_pod_counts_for_itself_and_says_so() {
    let Some(mut redis) = Redis::start().await else { return };
    let model = ModelServer::start().await;
    let folder = sharing(&model, 30);
    let pod = replica(&folder, &redis).await;
    assert_eq!(run(&pod).await["degraded"], json!([]));
    redis.stop().await;
    let alone = run(&pod).await;
    let degraded = alone["degraded"].as_array().unwrap_or_else(|| panic!("no answer: {alone}"));
    assert!(degraded.contains(&json!("budget")), "{alone}");
    assert_eq!(run(&pod).await["answer"], "fine");
    assert_eq!(run(&pod).await["error"]["code"], "budget_exceeded", "it has used all of it by itself");
}
