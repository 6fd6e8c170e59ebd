//! Tools over real sockets: the sample with webhooks, a web service that misbehaves, approvals, client tools, `/v1/tools`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use futures::{SinkExt as _, StreamExt as _};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Folder, Pod};

/// A model that says what it is told, and a web service that answers as it is told; both remember what they were asked.
#[derive(Clone, Default)]
struct World {
    replies: Arc<Mutex<VecDeque<Value>>>,
    asked: Arc<Mutex<Vec<Value>>>,
    called: Arc<Mutex<Vec<Value>>>,
}

struct Running {
    world: World,
    url: String,
    _task: JoinSet<()>,
}

impl Running {
    async fn start(replies: impl IntoIterator<Item = Value>) -> Self {
        let world = World { replies: Arc::new(Mutex::new(replies.into_iter().collect())), ..World::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(world.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { world, url, _task: task }
    }

    /// The sample, with its servers here.
    async fn sample(&self) -> (Pod, Folder) {
        let folder = Folder::new();
        for name in ["provider.yaml", "agent.yaml"] {
            let path = format!("{}/../config/samples/support/{name}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(path).unwrap();
            let text = text.replace("http://127.0.0.1:8090", &self.url).replace("http://127.0.0.1:8091", &self.url);
            folder.write(name, &text);
        }
        folder
            .write("secret.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: shop}\nstringData: {token: t0ken}\n");
        let pod = Pod::on_folder(&folder, &[]).await;
        pod.await_state("a revision", |state| state["revision"].is_string()).await;
        (pod, folder)
    }

    /// An agent `a` with these tools.
    async fn with(&self, more: &str) -> (Pod, Folder) {
        let folder = Folder::new();
        folder.provider(&format!("{}/v1", self.url), "");
        folder.agent("a", "Be kind.", &more.replace("URL", &self.url));
        let pod = Pod::on_folder(&folder, &[]).await;
        let state = pod.await_state("a revision", |state| state["revision"].is_string()).await;
        assert!(state["rejected"].is_null(), "{state:#}");
        (pod, folder)
    }
}

async fn serve(State(world): State<World>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let path = parts.uri.path().to_owned();
    if path.ends_with("/chat/completions") {
        world.asked.lock().unwrap().push(body);
        let delta = world.replies.lock().unwrap().pop_front().unwrap_or_else(|| json!({"content": "Done."}));
        let finish = if delta["tool_calls"].is_array() { "tool_calls" } else { "stop" };
        let frame = json!({"choices": [{"delta": delta, "finish_reason": finish}]});
        return ([("content-type", "text/event-stream")], format!("data: {frame}\n\ndata: [DONE]\n\n")).into_response();
    }
    let headers: Value = parts
        .headers
        .iter()
        .map(|(n, v)| (n.to_string(), json!(v.to_str().unwrap())))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let call = json!({"method": parts.method.as_str(), "path": path, "query": parts.uri.query(), "headers": headers, "body": body});
    world.called.lock().unwrap().push(call);
    match path.as_str() {
        "/fails" => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, "out of paper").into_response(),
        "/refuses" => (axum::http::StatusCode::NOT_FOUND, "no such order").into_response(),
        "/hangs" => std::future::pending().await,
        "/lies" => ([("content-type", "application/json")], "<html>not JSON</html>").into_response(),
        "/floods" => "x".repeat(10_000_000).into_response(),
        "/redirects" => axum::response::Redirect::temporary("/orders").into_response(),
        _ => Json(json!({"state": "shipped"})).into_response(),
    }
}

fn calls(name: &str, arguments: &Value) -> Value {
    json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments.to_string()}}]})
}

#[tokio::test]
async fn the_support_sample_looks_an_order_up() {
    let running = Running::start([calls("get_order", &json!({"id": 7}))]).await;
    let (pod, _folder) = running.sample().await;
    let answer: Value = pod
        .ask("support", &json!({"query": "Where is order 7?", "sessionId": "s"}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer["answer"], "Done.", "{answer:#}");
    let step = &answer["steps"][0];
    assert_eq!(
        (&step["type"], &step["name"], &step["ok"], &step["truncated"]),
        (&json!("tool"), &json!("get_order"), &json!(true), &json!(false))
    );
    assert_eq!(
        (&step["index"], &step["arguments"], &step["result"]),
        (&json!(1), &json!({"id": 7}), &json!("{\"state\":\"shipped\"}"))
    );
    let called = running.world.called.lock().unwrap()[0].clone();
    assert_eq!(
        (&called["method"], &called["path"], &called["query"]),
        (&json!("GET"), &json!("/orders"), &json!("id=7"))
    );
    let headers = &called["headers"];
    assert_eq!((&headers["authorization"], &headers["x-run-id"]), (&json!("Bearer t0ken"), &answer["runId"]));
    let trace = answer["traceId"].as_str().unwrap();
    assert!(headers["traceparent"].as_str().unwrap().starts_with(&format!("00-{trace}-")), "{headers}");
    assert!(headers["x-request-timeout-ms"].as_str().unwrap().parse::<u64>().unwrap() <= 5000, "{headers}");
    // What the model was shown and told, and that the session remembers the call.
    let asked = running.world.asked.lock().unwrap().clone();
    let shown: Vec<_> =
        asked[0]["tools"].as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
    assert_eq!(shown, ["calculator", "datetime_now", "get_order", "refund"]);
    assert_eq!(asked[1]["messages"][3]["content"], "{\"state\":\"shipped\"}");
    let state = pod.state().await;
    assert!(
        state["agents"][0]["tools"].as_array().unwrap().contains(&json!({"name": "get_order", "state": "ready"})),
        "{state:#}"
    );
}

#[rstest]
#[case::fails("fails", "the service answered 500: out of paper")]
#[case::refuses("refuses", "the service answered 404: no such order")]
#[case::hangs("hangs", "did not answer within 200ms")]
#[case::redirects("redirects", "the service answered 307")]
#[tokio::test]
async fn a_misbehaving_service_is_a_failed_result(#[case] path: &str, #[case] said: &str) {
    let running = Running::start([calls("t", &json!({"a": [1, 2]}))]).await;
    let tool = format!("  tools: [{{name: t, type: webhook, timeout: 200ms, webhook: {{url: URL/{path}}}}}]\n");
    let (pod, _folder) = running.with(&tool).await;
    let answer: Value = pod.ask("a", &json!({"query": "q"})).send().await.unwrap().json().await.unwrap();
    let step = &answer["steps"][0];
    assert!(step["ok"] == false && step["result"].as_str().unwrap().contains(said), "{answer:#}");
    assert_eq!(answer["answer"], "Done.");
    assert_eq!(running.world.called.lock().unwrap()[0]["body"], json!({"a": [1, 2]}), "POST sends JSON");
    assert_eq!(running.world.called.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_service_that_floods_is_cut_off() {
    let running = Running::start([calls("t", &json!({}))]).await;
    let (pod, _folder) = running.with("  tools: [{name: t, type: webhook, webhook: {url: URL/floods}}]\n").await;
    let answer: Value = pod.ask("a", &json!({"query": "q"})).send().await.unwrap().json().await.unwrap();
    let step = &answer["steps"][0];
    let result = step["result"].as_str().unwrap();
    assert_eq!((&step["ok"], &step["truncated"]), (&json!(true), &json!(true)), "{result:.200}");
    assert!(result.len() < 40_000 && result.contains("[cut: "), "{} bytes", result.len());
    assert_eq!(answer["answer"], "Done.");
}

#[tokio::test]
async fn a_service_that_lies_about_its_type_is_taken_at_its_word() {
    let running = Running::start([calls("t", &json!({}))]).await;
    let (pod, _folder) = running.with("  tools: [{name: t, type: webhook, webhook: {url: URL/lies}}]\n").await;
    let answer: Value = pod.ask("a", &json!({"query": "q"})).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&answer["steps"][0]["ok"], &answer["steps"][0]["result"]),
        (&json!(true), &json!("<html>not JSON</html>"))
    );
}

#[tokio::test]
async fn a_metadata_address_is_refused_when_it_is_loaded() {
    let running = Running::start([]).await;
    let folder = Folder::new();
    folder.provider(&format!("{}/v1", running.url), "");
    folder.agent("a", "x", "  tools: [{name: t, type: webhook, webhook: {url: 'http://169.254.169.254/latest'}}]\n");
    let pod = Pod::on_folder(&folder, &[]).await;
    let state = pod.await_state("a refusal", |state| state["rejected"].is_object()).await;
    let problem = &state["rejected"]["problems"][0];
    assert_eq!(problem["path"], "agents.a.tools[0].webhook", "{state:#}");
    assert!(problem["message"].as_str().unwrap().contains("metadata"), "{problem}");
}

#[rstest]
#[case::approved("approve", true, 1)]
#[case::denied("deny", false, 0)]
#[tokio::test]
async fn an_approval_by_rest_lets_the_call_go_or_not(#[case] decision: &str, #[case] ok: bool, #[case] called: usize) {
    let running = Running::start([calls("refund", &json!({"id": 7, "reason": "late"}))]).await;
    let (pod, _folder) = running.sample().await;
    let run = pod.ask("support", &json!({"query": "Refund.", "stream": true})).send().await.unwrap();
    let run_id = run.headers()["x-run-id"].to_str().unwrap().to_owned();
    let approve = |id: &str, body: Value| {
        pod.http.post(format!("{}/v1/runs/{run_id}/approvals/{id}", pod.api)).json(&body).send()
    };
    let mut stream = run.bytes_stream();
    let mut text = String::new();
    while !text.contains("approval_required") || !text.ends_with("\n\n") {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let asked = events.into_iter().find(|event| event["type"] == "approval_required").unwrap();
    let id = asked["id"].as_str().unwrap();
    assert!(asked["callId"] == "call_1" && asked["expiresAt"].as_str().unwrap().starts_with("20"), "{asked}");
    assert_eq!(running.world.called.lock().unwrap().len(), 0, "it did not wait");
    for guessed in ["other", "call_1", run_id.as_str()] {
        assert_eq!(approve(guessed, json!({"decision": "approve"})).await.unwrap().status(), 404);
    }
    assert_eq!(approve(id, json!({"decision": "perhaps"})).await.unwrap().status(), 422);
    assert_eq!(approve(id, json!({"decision": decision})).await.unwrap().status(), 200);
    while let Some(chunk) = stream.next().await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    let done = text.lines().rfind(|line| line.starts_with("data: {\"type\":\"done\"")).unwrap();
    let done: Value = serde_json::from_str(done.trim_start_matches("data: ")).unwrap();
    let steps = &done["steps"];
    assert_eq!(
        (&steps[0]["type"], &steps[0]["ok"], &steps[1]["ok"]),
        (&json!("approval"), &json!(ok), &json!(ok)),
        "{done:#}"
    );
    assert_eq!(
        (&steps[0]["approval"]["decision"], &steps[0]["approval"]["by"]),
        (&json!(decision), &json!("anonymous"))
    );
    assert_eq!(running.world.called.lock().unwrap().len(), called);
    let late = approve(id, json!({"decision": "approve"})).await.unwrap();
    assert_eq!(late.status(), 409);
    assert_eq!(late.json::<Value>().await.unwrap()["error"]["code"], "already_decided");
}

#[tokio::test]
async fn a_websocket_approves_and_carries_out_client_tools() {
    let running = Running::start([calls("show_chart", &json!({"kind": "pie"}))]).await;
    let (pod, _folder) = running.with("  tools: [{name: show_chart, type: client, requireApproval: true}]\n").await;
    let url = format!("{}/v1/ws/agent/a", pod.api.replace("http://", "ws://"));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let say = async |socket: &mut tokio_tungstenite::WebSocketStream<_>, message: Value| {
        socket.send(Message::text(message.to_string())).await.unwrap();
    };
    say(&mut socket, json!({"query": "Show."})).await;
    let mut seen = Vec::new();
    let done = loop {
        let frame = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        let Message::Text(text) = frame else { continue };
        let event: Value = serde_json::from_str(&text).unwrap();
        seen.push(event["type"].as_str().unwrap().to_owned());
        match seen.last().unwrap().as_str() {
            "approval_required" => {
                say(&mut socket, json!({"type": "approval", "id": "nothing", "decision": "approve"})).await;
                say(
                    &mut socket,
                    json!({"type": "approval", "id": event["id"], "decision": "approve", "reason": "fine"}),
                )
                .await;
            }
            "tool_call" => {
                say(
                    &mut socket,
                    json!({"type": "tool_result", "id": event["id"], "ok": true, "result": {"shown": true}}),
                )
                .await
            }
            "done" => break event,
            _ => {}
        }
    };
    assert_eq!(done["steps"][0]["approval"]["reason"], "fine");
    assert_eq!((&done["steps"][1]["ok"], &done["steps"][1]["result"]), (&json!(true), &json!("{\"shown\":true}")));
    assert_eq!(seen, ["status", "approval_required", "error", "tool_call", "tool_result", "token", "done"]);
}

#[tokio::test]
async fn the_chat_completions_door_gives_client_tools_to_its_caller() {
    let running = Running::start([calls("show_chart", &json!({"kind": "pie"}))]).await;
    let (pod, _folder) = running.with("  tools: [{name: show_chart, type: client}]\n").await;
    let body = json!({"model": "a", "messages": [{"role": "user", "content": "Show."}]});
    let answer: Value = pod
        .http
        .post(format!("{}/v1/chat/completions", pod.api))
        .json(&body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{answer:#}");
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "show_chart");
}

#[tokio::test]
async fn tools_are_listed_and_executed_as_in_a_run() {
    let running = Running::start([]).await;
    let more = "  permissions: {deny: [secret*]}\n  tools:\n    - {name: calculator, type: internal}\n    - {name: datetime_now, type: internal}\n    - {name: http_request, type: internal}\n    - {name: secret_thing, type: client}\n    - {name: once, type: webhook, webhook: {url: URL/orders}, rateLimit: {windowSeconds: 60, maxCalls: 1}}\n";
    let (pod, _folder) = running.with(more).await;
    let get = |path: &str| pod.http.get(format!("{}{path}", pod.api)).send();
    let listed: Value = get("/v1/tools?agent=a").await.unwrap().json().await.unwrap();
    let names: Vec<_> = listed["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| (tool["agent"].as_str().unwrap(), tool["name"].as_str().unwrap(), tool["type"].as_str().unwrap()))
        .collect();
    assert_eq!(
        names,
        [
            ("a", "calculator", "internal"),
            ("a", "datetime_now", "internal"),
            ("a", "http_request", "internal"),
            ("a", "once", "webhook")
        ]
    );
    assert_eq!(listed["tools"][0]["parameters"]["required"], json!(["expression"]));
    assert_eq!(get("/v1/tools?agent=nobody").await.unwrap().status(), 404);
    let execute = async |tool: &str, arguments: Value| {
        let body = json!({"agent": "a", "tool": tool, "arguments": arguments, "sessionId": "s"});
        let answer = pod.http.post(format!("{}/v1/tools/execute", pod.api)).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("retry-after"), answer.json::<Value>().await.unwrap())
    };
    let (status, _, answer) = execute("calculator", json!({"expression": "6 * 7"})).await;
    assert_eq!(
        (status, &answer["tool"], &answer["ok"], &answer["result"], &answer["truncated"]),
        (200, &json!("calculator"), &json!(true), &json!("42"), &json!(false))
    );
    assert!(answer["durationMs"].is_u64() && answer.get("error").is_none());
    let (_, _, answer) = execute("datetime_now", json!({"timezone": "Europe/Berlin"})).await;
    assert!(answer["result"].as_str().unwrap().contains("Europe/Berlin"), "{answer}");
    let (status, _, answer) = execute("calculator", json!({})).await;
    assert!(
        status == 200 && answer["ok"] == false && answer["error"].as_str().unwrap().contains("required"),
        "{answer}"
    );
    let (_, _, answer) = execute("http_request", json!({"url": running.url})).await;
    assert!(answer["ok"] == false && answer["error"].as_str().unwrap().contains("not a public one"), "{answer}");
    let by_name = running.url.replace("127.0.0.1", "localhost");
    let (_, _, answer) = execute("http_request", json!({"url": by_name})).await;
    assert!(answer["ok"] == false && answer["error"].as_str().unwrap().contains("may not be called"), "{answer}");
    let (status, _, answer) = execute("nothing", json!({})).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("tool_not_found")));
    let (status, _, answer) = execute("secret_thing", json!({})).await;
    assert_eq!((status, &answer["error"]["code"]), (403, &json!("tool_forbidden")));
    assert_eq!(execute("once", json!({})).await.0, 200);
    let (status, retry, answer) = execute("once", json!({})).await;
    assert_eq!((status, retry, &answer["error"]["code"]), (429, true, &json!("rate_limited")));
    for status in [200, 429] {
        let body = json!({"agent": "a", "tool": "once", "arguments": {}});
        let answer = pod.http.post(format!("{}/v1/tools/execute", pod.api)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), status, "calls without a session count together");
    }
}
