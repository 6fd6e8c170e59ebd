//! What agents remember, over a restart of the process and through the public API.

use serde_json::{Value, json};

use crate::harness::{Folder, Pod};
use crate::model_server::ModelServer;
use crate::stores::Redis;

/// `support` with a memory in a file, and `other` with the same.
fn agents(model: &ModelServer) -> Folder {
    let folder = Folder::new();
    folder.provider(&model.url, "");
    let memory = "  memory: {conversational: {backend: sqlite, maxTurns: 5}}\n";
    folder.agent("support", "fine", memory);
    folder.agent("other", "fine", memory);
    folder
}

async fn start(folder: &Folder, data: &tempfile::TempDir) -> Pod {
    let (manifests, data) = (folder.path().to_str().unwrap(), data.path().to_str().unwrap());
    let pod = Pod::start(&["--manifests", manifests, "--data-dir", data], &[]).await;
    pod.await_state("a revision", |state| state["revision"].is_string()).await;
    pod
}

async fn ask(pod: &Pod, agent: &str, query: &str) {
    let body = json!({"query": query, "sessionId": "s"});
    let answer: Value = pod.ask(agent, &body).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["degraded"], json!([]), "{answer}");
}

async fn history(pod: &Pod, agent: &str) -> Vec<String> {
    let url = format!("{}/v1/memory/{agent}/history/s", pod.api);
    let page: Value = pod.http.get(url).send().await.unwrap().json().await.unwrap();
    let messages = page["history"].as_array().unwrap_or_else(|| panic!("no history: {page}"));
    messages.iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_session_goes_on_after_a_restart_and_is_no_other_agents() {
    let (model, data) = (ModelServer::start().await, tempfile::tempdir().unwrap());
    let folder = agents(&model);
    let pod = start(&folder, &data).await;
    ask(&pod, "support", "one").await;
    drop(pod);
    let pod = start(&folder, &data).await;
    ask(&pod, "support", "two").await;
    ask(&pod, "other", "three").await;
    let said: Vec<Vec<String>> = model.asked().iter().map(|asked| contents(&asked.body["messages"])).collect();
    assert_eq!(said, [vec!["fine", "one"], vec!["fine", "one", "fine", "two"], vec!["fine", "three"]]);
    assert_eq!(history(&pod, "support").await, ["one", "fine", "two", "fine"]);
    assert_eq!(history(&pod, "other").await, ["three", "fine"]);
}

fn contents(messages: &Value) -> Vec<String> {
    messages.as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_runs_of_a_session_are_told_after_a_restart_until_they_are_cleared() {
    let (model, data) = (ModelServer::start().await, tempfile::tempdir().unwrap());
    let folder = Folder::new();
    folder.provider(&model.url, "");
    let prompt = "ran:{% for run in memory.episodic %} {{ run.question }}{% endfor %}";
    let memory = "  memory: {episodic: {backend: sqlite, maxEvents: 2}}\n";
    folder.agent("support", prompt, memory);
    folder.agent("other", prompt, memory);
    for query in ["one", "two", "three"] {
        ask(&start(&folder, &data).await, "support", query).await;
    }
    let pod = start(&folder, &data).await;
    ask(&pod, "other", "four").await;
    ask(&pod, "support", "five").await;
    let url = format!("{}/v1/memory/support/history/s", pod.api);
    let cleared: Value = pod.http.delete(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(cleared["status"], "cleared", "{cleared}");
    ask(&pod, "support", "six").await;
    let told: Vec<String> = model.asked().iter().map(|asked| contents(&asked.body["messages"]).remove(0)).collect();
    assert_eq!(told, ["ran:", "ran: one", "ran: one two", "ran:", "ran: two three", "ran:"]);
    assert_eq!(pod.http.get(&url).send().await.unwrap().status(), 404, "there are no turns to read");
}

/// A semantic memory of this many numbers.
fn semantic(model: &ModelServer, dimension: u32) -> String {
    let embeddings =
        format!("{{provider: openai_compat, model: words, endpoint: '{}', dimension: {dimension}}}", model.url);
    format!("  memory: {{semantic: {{backend: embedded, embeddings: {embeddings}, minScore: 0.6}}}}\n")
}

async fn results(pod: &Pod, agent: &str, query: &str) -> Value {
    let url = format!("{}/v1/memory/{agent}/semantic?query={query}", pod.api);
    pod.http.get(url).send().await.unwrap().json().await.unwrap()
}

/// Waits until so many texts are found: they are kept after the answer was told.
async fn found(pod: &Pod, agent: &str, query: &str, count: usize) -> Value {
    let end = tokio::time::Instant::now() + crate::harness::DEADLINE;
    loop {
        let found = results(pod, agent, query).await;
        if found["results"].as_array().is_some_and(|results| results.len() == count) {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "not {count} texts: {found}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn another_session_finds_what_was_said_by_its_meaning_after_a_restart() {
    let (model, data) = (ModelServer::start().await, tempfile::tempdir().unwrap());
    let folder = Folder::new();
    folder.provider(&model.url, "");
    let prompt = "found:{% for text in memory.semantic %} {{ text.content }}{% endfor %}";
    for name in ["support", "other"] {
        folder.agent(name, prompt, &semantic(&model, 3));
    }
    let pod = start(&folder, &data).await;
    ask(&pod, "support", "My dog is Rex").await;
    let page = found(&pod, "support", "rex", 1).await;
    assert_eq!((&page["agent"], &page["query"]), (&json!("support"), &json!("rex")));
    let result = &page["results"][0];
    assert_eq!((&result["content"], &result["sessionId"]), (&json!("My dog is Rex"), &json!("s")));
    assert!(result["score"].as_f64().unwrap() > 0.7, "{result}");
    drop(pod);
    let pod = start(&folder, &data).await;
    for agent in ["other", "support"] {
        let body = json!({"query": "the dog?", "sessionId": "t"});
        let answer: Value = pod.ask(agent, &body).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["degraded"], json!([]), "{answer}");
    }
    let told: Vec<String> = model.asked().iter().map(|asked| contents(&asked.body["messages"]).remove(0)).collect();
    assert_eq!(told, ["found:", "found:", "found: My dog is Rex"]);
    let url = format!("{}/v1/memory/support/history/s", pod.api);
    assert_eq!(pod.http.delete(url).send().await.unwrap().status(), 200);
    let left = found(&pod, "support", "rex", 1).await;
    assert_eq!(left["results"][0]["sessionId"], "t", "the other session's answer names the dog, too: {left}");
}

#[tokio::test]
async fn a_dimension_that_is_not_the_models_is_named() {
    let (model, data) = (ModelServer::start().await, tempfile::tempdir().unwrap());
    let folder = Folder::new();
    folder.provider(&model.url, "");
    folder.agent("support", "fine", &semantic(&model, 4));
    let pod = start(&folder, &data).await;
    let answer: Value = pod.ask("support", &json!({"query": "dog"})).send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["answer"], &answer["degraded"]), (&json!("fine"), &json!(["memory"])), "{answer}");
    let refused = results(&pod, "support", "dog").await;
    assert_eq!(refused["error"]["code"], "memory_unavailable");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("vectors of 3 numbers; set embeddings.dimension, which is 4"), "{message}");
}

#[tokio::test]
async fn a_file_without_a_folder_is_refused_with_what_to_do() {
    let model = ModelServer::start().await;
    let folder = agents(&model);
    let pod = Pod::on_folder(&folder, &[]).await;
    let state = pod.await_state("the refusal", |state| state["rejected"].is_object()).await;
    let problem = &state["rejected"]["problems"][0];
    assert_eq!(problem["path"], "agents.other.memory.conversational.backend");
    assert!(problem["message"].as_str().unwrap().contains("--data-dir"), "{problem}");
}

#[tokio::test]
async fn a_server_that_is_down_costs_the_memory_and_not_the_answer() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    let stores = [
        ("a", "conversational: {backend: postgres", "postgres://127.0.0.1:1/x"),
        ("b", "conversational: {backend: redis", "redis://127.0.0.1:1"),
        ("c", "episodic: {backend: postgres", "postgres://127.0.0.1:1/x"),
    ];
    for (name, store, url) in stores {
        folder.write(
            &format!("{name}-secret.yaml"),
            &format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{url: '{url}'}}\n"),
        );
        let connection = format!("connection: {{secretKeyRef: {{name: {name}, key: url}}}}");
        folder.agent(name, "fine", &format!("  memory: {{{store}, {connection}}}}}\n"));
    }
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("a revision", |state| state["revision"].is_string()).await;
    assert!(pod.ready().await, "a pod is ready without its stores");
    for agent in ["a", "b", "c"] {
        let answer: Value = pod.ask(agent, &json!({"query": "hi"})).send().await.unwrap().json().await.unwrap();
        assert_eq!((&answer["answer"], &answer["degraded"]), (&json!("fine"), &json!(["memory"])), "{answer}");
        let history = pod.http.get(format!("{}/v1/memory/{agent}/history/s", pod.api)).send().await.unwrap();
        // There is nothing to read of an agent without conversations, be its store up or down.
        assert_eq!(history.status(), if agent == "c" { 404 } else { 503 });
        let url = format!("{}/v1/memory/{agent}/history/s", pod.api);
        assert_eq!(pod.http.delete(url).send().await.unwrap().status(), 503);
    }
}

#[tokio::test]
async fn a_file_that_is_deleted_under_the_pod_is_told_of_and_made_again() {
    let (model, data) = (ModelServer::start().await, tempfile::tempdir().unwrap());
    let folder = agents(&model);
    let pod = start(&folder, &data).await;
    ask(&pod, "support", "one").await;
    for file in std::fs::read_dir(data.path()).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let body = json!({"query": "two", "sessionId": "s"});
    let answer: Value = pod.ask("support", &body).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["degraded"], json!(["memory"]), "{answer}");
    ask(&pod, "support", "three").await;
    drop(pod);
    let pod = start(&folder, &data).await;
    assert_eq!(history(&pod, "support").await, ["three", "fine"], "it is in the file that has the name");
}

#[tokio::test]
async fn a_session_that_is_cleared_while_a_turn_runs_stays_cleared() {
    let (model, data) = (ModelServer::gated().await, tempfile::tempdir().unwrap());
    let folder = Folder::new();
    folder.provider(&model.url, "");
    folder.agent("kept", "fine", "  memory: {conversational: {backend: sqlite}, episodic: {backend: sqlite}}\n");
    folder.agent("held", "fine", "  memory: {conversational: {backend: in_memory}}\n");
    let pod = start(&folder, &data).await;
    for agent in ["kept", "held"] {
        let url = format!("{}/v1/memory/{agent}/history/s", pod.api);
        model.open_gate();
        ask(&pod, agent, "one").await;
        let before = model.asked().len();
        let running = pod.ask(agent, &json!({"query": "two", "sessionId": "s"})).send();
        let clearing = async {
            let asked = async {
                while model.asked().len() == before {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(crate::harness::DEADLINE, asked).await.unwrap();
            assert_eq!(pod.http.delete(&url).send().await.unwrap().status(), 200);
            model.open_gate();
        };
        let (answer, ()) = tokio::join!(running, clearing);
        let answer: Value = answer.unwrap().json().await.unwrap();
        assert!(answer["answer"].as_str().unwrap().starts_with("fine"), "{answer}");
        assert_eq!(answer["degraded"], json!([]), "{answer}");
        assert_eq!(pod.http.get(&url).send().await.unwrap().status(), 404, "{agent}");
        assert_eq!(pod.http.delete(&url).send().await.unwrap().status(), 404, "{agent}: nothing is left of it");
    }
}

#[tokio::test]
async fn runs_of_one_session_do_not_wait_one_after_the_other_for_a_server_that_stands_still() {
    let Some(redis) = Redis::start().await else { return };
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    let connection = "connection: {secretKeyRef: {name: store, key: url}}";
    folder.agent("support", "fine", &format!("  memory: {{conversational: {{backend: redis, {connection}}}}}\n"));
    let pod = Pod::on_folder(&folder, &[("ASTROMESH_SECRET_STORE_URL", redis.url.as_str())]).await;
    ask(&pod, "support", "one").await;
    redis.signal("STOP").await;
    let begun = tokio::time::Instant::now();
    let runs = (0..8).map(|number| pod.ask("support", &json!({"query": number.to_string(), "sessionId": "s"})).send());
    for answer in futures::future::join_all(runs).await {
        let answer: Value = answer.unwrap().json().await.unwrap();
        assert_eq!((&answer["answer"], &answer["degraded"]), (&json!("fine"), &json!(["memory"])), "{answer}");
    }
    // One waits for a second, and no other one after it: before, they took more than twenty.
    assert!(begun.elapsed() < std::time::Duration::from_secs(6), "eight runs took {:?}", begun.elapsed());
    redis.signal("CONT").await;
    let back = async {
        loop {
            let run = pod.ask("support", &json!({"query": "back", "sessionId": "s"})).send();
            let answer: Value = run.await.unwrap().json().await.unwrap();
            if answer["degraded"] == json!([]) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    // A lock that nobody holds would block the session for 15 s.
    tokio::time::timeout(std::time::Duration::from_secs(12), back).await.expect("the session is free again");
}
