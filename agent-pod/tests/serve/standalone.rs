//! Standalone mode: the manifests of `kubectl apply`, without a cluster.

use serde_json::json;

use crate::harness::{Folder, Pod};
use crate::model_server::ModelServer;

#[tokio::test]
async fn an_agent_answers_and_says_what_it_used() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "You are {{ identity.displayName }}.", "  identity: {displayName: Ada}\n");
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("a revision", |state| state["revision"].is_string()).await;
    let answer: serde_json::Value =
        pod.ask("support", &json!({"query": "hi", "sessionId": "s-1"})).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["answer"], "You are Ada.");
    assert_eq!((&answer["sessionId"], &answer["session_id"]), (&json!("s-1"), &json!("s-1")));
    assert_eq!((&answer["usage"]["tokensIn"], &answer["finish"]), (&json!(9), &json!("stop")));
    assert_eq!(model.asked()[0].body["stream"], true);
    assert!(pod.ready().await);
}

#[tokio::test]
async fn a_bad_manifest_is_reported_with_file_and_path_and_the_others_serve() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("good", "fine", "");
    folder.agent("bad", "{{ unclosed", "");
    folder.write(
        "worse.yaml",
        "apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {name: worse}\nspec: {prompts: {}}\n",
    );
    folder.write("not.yaml", "a: [1\n");
    let pod = Pod::on_folder(&folder, &[]).await;
    let state = pod.await_state("a revision", |state| state["revision"].is_string()).await;
    assert!(pod.ready().await, "a start with a bad manifest becomes ready");
    assert_eq!(pod.answer("good").await, "fine");
    let problems = state["rejected"]["problems"].as_array().unwrap();
    let of = |file: &str| problems.iter().find(|p| p["file"].as_str().is_some_and(|f| f.ends_with(file)));
    assert_eq!(
        problems.iter().find(|p| p["path"] == "agents.bad.prompts.system").unwrap()["message"]
            .as_str()
            .unwrap()
            .find("line 1"),
        Some(0)
    );
    assert!(of("bad.yaml").is_some(), "{problems:?}");
    assert!(of("worse.yaml").unwrap()["path"].as_str().unwrap().starts_with("agents.worse."), "{problems:?}");
    assert!(of("not.yaml").unwrap()["message"].as_str().unwrap().starts_with("is not valid YAML"), "{problems:?}");
    assert_eq!(pod.ask("bad", &json!({"query": "hi"})).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn an_edit_is_served_and_a_broken_one_leaves_the_last_good_form() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "one", "");
    folder.agent("other", "steady", "");
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_answer("support", "one").await;
    folder.agent("support", "two", "");
    pod.await_answer("support", "two").await;

    folder.agent("support", "{% broken", "");
    pod.await_state("the refusal", |state| state["rejected"].is_object()).await;
    assert_eq!(pod.answer("support").await, "two");
    // The others still reload while one is broken.
    folder.agent("other", "moved on", "");
    pod.await_answer("other", "moved on").await;
    assert_eq!(pod.answer("support").await, "two");

    folder.agent("support", "three", "");
    pod.await_answer("support", "three").await;
    pod.await_state("no refusal", |state| state["rejected"].is_null()).await;
}

#[tokio::test]
async fn a_prompt_of_a_config_map_is_served_edited_missed_and_found_again() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    let prompt = |text: &str| {
        let map =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: prompts}}\ndata: {{system.md: {text}}}\n");
        folder.write("prompts.yaml", &map);
    };
    prompt("\"You are {{ identity.displayName }}.\"");
    let source = "{systemFrom: {configMapKeyRef: {name: prompts, key: system.md}}}";
    let agent = "apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {name: support}\nspec:\n  identity: {displayName: Ada}\n  model: {candidates: [{providerRef: {name: echo}}]}\n";
    folder.write("support.yaml", &format!("{agent}  prompts: {source}\n"));
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "support").await;
    assert_eq!(pod.answer("support").await, "You are Ada.");
    prompt("edited");
    pod.await_answer("support", "edited").await;

    std::fs::remove_file(folder.path().join("prompts.yaml")).unwrap();
    let state = pod.await_state("the problem", |state| state["rejected"].is_object()).await;
    let problem = &state["rejected"]["problems"][0];
    assert_eq!(problem["path"], "agents.support.prompts.systemFrom.configMapKeyRef");
    assert!(problem["file"].as_str().unwrap().ends_with("support.yaml"), "{problem}");
    assert!(problem["message"].as_str().unwrap().starts_with("there is no ConfigMap `prompts`"), "{problem}");
    assert_eq!(pod.answer("support").await, "edited", "the last good one goes on serving");
    prompt("back");
    pod.await_answer("support", "back").await;
    pod.await_state("no refusal", |state| state["rejected"].is_null()).await;

    prompt("\"{% broken\"");
    let state = pod.await_state("the refusal", |state| state["rejected"].is_object()).await;
    assert_eq!(state["rejected"]["problems"][0]["path"], "agents.support.prompts.system");
    assert_eq!(pod.answer("support").await, "back");
}

#[tokio::test]
async fn a_missing_provider_is_named_and_heals_and_a_deleted_agent_ends() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.agent("support", "hello", "");
    let pod = Pod::on_folder(&folder, &[]).await;
    let state = pod.await_state("the problem", |state| state["rejected"].is_object()).await;
    let problem = &state["rejected"]["problems"][0];
    assert_eq!(problem["path"], "agents.support.model.candidates[0].providerRef.name");
    folder.provider(&model.url, "");
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "support").await;
    assert_eq!(pod.answer("support").await, "hello");
    std::fs::remove_file(folder.path().join("support.yaml")).unwrap();
    pod.await_state("no agent", |state| state["agents"].as_array().unwrap().is_empty()).await;
}

#[tokio::test]
async fn secrets_come_from_manifests_then_from_the_environment_and_a_change_is_used() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "  auth: {secretKeyRef: {name: my-keys, key: api.key}}\n");
    folder.agent("support", "hello", "");
    let variables = [("ASTROMESH_SECRET_MY_KEYS_API_KEY", "from-environment")];
    let pod = Pod::start(&["--manifests", folder.path().to_str().unwrap()], &variables).await;
    pod.await_answer("support", "hello").await;
    folder.write(
        "secret.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: my-keys}\nstringData: {api.key: from-manifest}\n",
    );
    let keys = |model: &ModelServer| model.asked().iter().map(|a| a.authorization.clone().unwrap()).collect::<Vec<_>>();
    assert_eq!(keys(&model), ["Bearer from-environment"]);
    let used = async {
        while keys(&model).last().unwrap() != "Bearer from-manifest" {
            pod.answer("support").await;
        }
    };
    tokio::time::timeout(crate::harness::DEADLINE, used).await.expect("the new key is used");
    assert_eq!(pod.state().await["secrets"], json!([{"secret": "my-keys", "key": "api.key", "state": "present"}]));
}

#[tokio::test]
async fn a_conversation_outlives_a_reload() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    let memory = "  memory: {conversational: {backend: in_memory}}\n";
    folder.provider(&model.url, "");
    folder.agent("support", "one", memory);
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("a revision", |state| state["revision"].is_string()).await;
    let ask = |query: &str| pod.ask("support", &json!({"query": query, "sessionId": "s"})).send();
    ask("first").await.unwrap();
    let before = pod.state().await["revision"].clone();
    folder.agent("support", "two", memory);
    pod.await_state("a new revision", |state| state["revision"] != before).await;
    ask("second").await.unwrap();
    let messages = model.asked().last().unwrap().body["messages"].clone();
    let said: Vec<_> = messages.as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["two", "first", "one", "second"]);
}

#[tokio::test]
async fn access_that_is_written_out_holds_on_loopback_too() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("closed", "hello", "  access: {mode: service_account}\n");
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "closed").await;
    let without = pod.ask("closed", &json!({"query": "hi"})).send().await.unwrap();
    assert_eq!(without.status(), 401);
    let with = pod.ask("closed", &json!({"query": "hi"})).bearer_auth("some.token.here").send().await.unwrap();
    assert_eq!(with.status(), 401);
    let body: serde_json::Value = with.json().await.unwrap();
    assert_eq!(body["error"]["code"], "unauthenticated");
    assert!(body["error"]["message"].as_str().unwrap().contains("no cluster keys"), "{body}");
    assert!(model.asked().is_empty());
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_the_providers_connection_with_it() {
    let (model, folder) = (ModelServer::gated().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "a long answer", "");
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("the agent", |state| state["agents"][0]["name"] == "support").await;
    let mut response = pod.ask("support", &json!({"query": "hi", "stream": true})).send().await.unwrap();
    let mut seen = String::new();
    while !seen.contains("event: token") {
        seen.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    drop(response);
    model.reader_gone().await;
    // Without streaming the caller has read nothing yet.
    let waiting = pod.ask("support", &json!({"query": "hi"})).timeout(std::time::Duration::from_millis(300));
    assert!(waiting.send().await.unwrap_err().is_timeout());
    model.reader_gone().await;
    pod.await_state("no run", |state| state["inFlight"] == 0).await;
}

#[tokio::test]
async fn two_agents_of_one_name_are_an_error_that_names_both_files() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "hello", "");
    let twin = std::fs::read_to_string(folder.path().join("support.yaml"))
        .unwrap()
        .replace("{name: support}", "{name: support, namespace: zoo}");
    folder.write("twin.yaml", &twin);
    let pod = Pod::on_folder(&folder, &[]).await;
    let state = pod.await_state("the refusal", |state| state["rejected"].is_object()).await;
    let file = state["rejected"]["problems"][0]["file"].as_str().unwrap();
    assert!(file.contains("support.yaml") && file.contains("twin.yaml"), "{state:#}");
}

#[tokio::test]
async fn a_suspended_agent_answers_nothing() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    folder.agent("support", "hello", "  suspend: true\n");
    let pod = Pod::on_folder(&folder, &[]).await;
    pod.await_state("the agent", |state| state["agents"][0]["status"] == "suspended").await;
    let response = pod.ask("support", &json!({"query": "hi"})).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "60"));
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["error"]["code"], "suspended");
    assert!(model.asked().is_empty());
}

#[tokio::test]
async fn an_edit_that_is_refused_leaves_the_limits_of_tools_as_they_were() {
    let (model, folder) = (ModelServer::start().await, Folder::new());
    folder.provider(&model.url, "");
    let tool = |calls: u32| {
        format!(
            "  tools: [{{name: calculator, type: internal, rateLimit: {{windowSeconds: 3600, maxCalls: {calls}}}}}]\n"
        )
    };
    folder.agent("support", "one", &tool(1));
    let pod = Pod::on_folder(&folder, &[]).await;
    let call = async || {
        let body =
            json!({"agent": "support", "tool": "calculator", "arguments": {"expression": "1+1"}, "sessionId": "s"});
        let answer = pod.http.post(format!("{}/v1/tools/execute", pod.api)).json(&body).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!((call().await, call().await), (200, 429));
    folder.agent("support", "{% broken", &tool(2));
    pod.await_state("the refusal", |state| state["rejected"].is_object()).await;
    assert_eq!(call().await, 429, "what serves goes on");
    folder.agent("support", "one", &tool(1));
    pod.await_state("no refusal", |state| state["rejected"].is_null()).await;
    assert_eq!(call().await, 429, "and it was never away");
}
