//! Agents that call agents, over real sockets: the samples, and agents of two pods.

use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_pod_config::{ConfigMaps, NamespaceLabels, Resources, compile};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{Folder, Pod};
use crate::tokens;

/// A few words of an agent's system prompt, and what its model says.
type Replies = (String, VecDeque<Value>);

/// Models that say what they are told, each agent by a few words of its system prompt.
#[derive(Clone)]
struct Models {
    replies: Arc<Mutex<Vec<Replies>>>,
    asked: Arc<Mutex<Vec<Value>>>,
    /// Calls that have come and get no answer.
    hanging: Arc<Semaphore>,
    /// Calls that have been given up by their callers.
    dropped: Arc<Semaphore>,
}

struct Running {
    models: Models,
    url: String,
    _task: JoinSet<()>,
}

impl Running {
    async fn start<const N: usize>(replies: [(&str, Vec<Value>); N]) -> Self {
        let replies = replies.into_iter().map(|(who, replies)| (who.to_owned(), replies.into())).collect();
        let models = Models {
            replies: Arc::new(Mutex::new(replies)),
            asked: Arc::default(),
            hanging: Arc::new(Semaphore::new(0)),
            dropped: Arc::new(Semaphore::new(0)),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(reply).with_state(models.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { models, url, _task: task }
    }

    /// A sample, with its models here.
    async fn sample(&self, sample: &str, files: &[&str]) -> (Pod, Folder) {
        let folder = Folder::new();
        for name in files {
            let path = format!("{}/../config/samples/{sample}/{name}", env!("CARGO_MANIFEST_DIR"));
            let text = fs::read_to_string(path).unwrap();
            folder.write(name, &text.replace("http://127.0.0.1:8090", &self.url));
        }
        let pod = Pod::on_folder(&folder, &[]).await;
        let state = pod.await_state("a revision", |state| state["revision"].is_string()).await;
        assert!(state["rejected"].is_null(), "{state:#}");
        (pod, folder)
    }

    /// What the models were sent: who, and every message as `role: content`.
    fn sent(&self) -> Vec<Vec<String>> {
        let text = |message: &Value| {
            let calls = message["tool_calls"].as_array().into_iter().flatten();
            let calls: String =
                calls.map(|call| format!("{}({})", call["function"]["name"], call["function"]["arguments"])).collect();
            format!(
                "{}: {}{calls}",
                message["role"].as_str().unwrap(),
                message["content"].as_str().unwrap_or_default().trim()
            )
        };
        let asked = self.models.asked.lock().unwrap();
        asked.iter().map(|body| body["messages"].as_array().unwrap().iter().map(text).collect()).collect()
    }
}

/// Waits until a call of the kind has been counted.
async fn await_call(calls: &Semaphore) {
    let call = tokio::time::timeout(Duration::from_secs(10), calls.acquire()).await;
    call.expect("a call within ten seconds").unwrap().forget();
}

struct TellDrop(Arc<Semaphore>);

impl Drop for TellDrop {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

async fn reply(State(models): State<Models>, request: Request) -> Response {
    let bytes = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let system = body["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
    if system.is_empty() {
        return Json(json!({"data": []})).into_response();
    }
    models.asked.lock().unwrap().push(body);
    let next = {
        let mut replies = models.replies.lock().unwrap();
        let own = replies.iter_mut().find(|(who, _)| system.contains(who.as_str()));
        own.and_then(|(_, replies)| replies.pop_front()).unwrap_or_else(|| json!({"content": "I was not asked."}))
    };
    if next == json!("hangs") {
        let _told = TellDrop(models.dropped);
        models.hanging.add_permits(1);
        std::future::pending::<()>().await;
    }
    let finish = if next["tool_calls"].is_array() { "tool_calls" } else { "stop" };
    let frame = json!({"choices": [{"delta": next, "finish_reason": finish}]});
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 1}});
    let text = format!("data: {frame}\n\ndata: {usage}\n\ndata: [DONE]\n\n");
    ([("content-type", "text/event-stream")], text).into_response()
}

fn says(text: &str) -> Value {
    json!({"content": text})
}

fn calls(name: &str, query: &str) -> Value {
    let function = json!({"name": name, "arguments": json!({"query": query}).to_string()});
    json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})
}

fn steps(answer: &Value) -> Vec<Value> {
    let step = |step: &Value| json!([step["type"], step["name"], step["agent"], step["result"], step["ok"]]);
    answer["steps"].as_array().unwrap().iter().map(step).collect()
}

async fn run(pod: &Pod, agent: &str, body: &Value) -> Value {
    pod.ask(agent, body).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn the_research_sample_has_its_team_work() {
    let running = Running::start([
        (
            "You lead",
            vec![calls("researcher", "Height of the Zugspitze?"), calls("writer", "2962 m."), says("2962 m high.")],
        ),
        ("You find facts", vec![says("2962 m (survey office)")]),
        ("You write", vec![says("The Zugspitze is 2962 m high.")]),
    ])
    .await;
    let (pod, _folder) = running.sample("research", &["provider.yaml", "team.yaml"]).await;
    let answer = run(&pod, "research-lead", &json!({"query": "How high?", "sessionId": "s"})).await;
    assert_eq!((&answer["answer"], &answer["finish"]), (&json!("2962 m high."), &json!("stop")), "{answer:#}");
    assert_eq!(
        steps(&answer),
        [
            json!(["delegate", "researcher", null, "2962 m (survey office)", true]),
            json!(["delegate", "writer", null, "The Zugspitze is 2962 m high.", true]),
        ]
    );
    let usage = &answer["usage"];
    assert_eq!((&usage["tokensIn"], &usage["tokensOut"]), (&json!(50), &json!(5)), "of all three");
    let roles: Vec<_> =
        usage["byModel"].as_array().unwrap().iter().map(|used| [&used["role"], &used["calls"]]).collect();
    assert_eq!(roles, [[&json!("supervisor"), &json!(3)], [&json!("default"), &json!(2)]]);
    let of_lead = |sent: &[String]| sent[1..].to_vec();
    let sent = running.sent();
    assert_eq!(sent.len(), 5);
    assert_eq!(of_lead(&sent[0]), ["user: How high?"]);
    assert_eq!(sent[1][1..], ["user: Height of the Zugspitze?"]);
    let first = "assistant: \"researcher\"(\"{\\\"query\\\":\\\"Height of the Zugspitze?\\\"}\")";
    assert_eq!(of_lead(&sent[2]), ["user: How high?", first, "tool: 2962 m (survey office)"]);
    assert_eq!(sent[3][1..], ["user: 2962 m."]);
    assert_eq!(sent[4].last().unwrap(), "tool: The Zugspitze is 2962 m high.");

    // The metrics count what each agent has used once.
    let metrics = pod.http.get(format!("{}/metrics", pod.admin)).send().await.unwrap().text().await.unwrap();
    let used = |agent: &str| {
        let of = format!("gen_ai_agent_name=\"{agent}\"");
        let lines = metrics.lines().filter(|line| line.contains(&of) && line.contains("\"input\""));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    assert_eq!((used("research-lead"), used("researcher"), used("research-writer")), (30.0, 10.0, 10.0), "{metrics}");
}

#[tokio::test]
async fn an_agent_tool_is_listed_and_can_be_tried_out() {
    let running = Running::start([("You find facts", vec![says("42")])]).await;
    let (pod, _folder) = running.sample("research", &["provider.yaml", "team.yaml"]).await;
    let get = |path: &str| pod.http.get(format!("{}{path}", pod.api)).send();
    let listed: Value = get("/v1/tools?agent=research-lead").await.unwrap().json().await.unwrap();
    let tool = &listed["tools"][0];
    assert_eq!(
        (&tool["name"], &tool["type"], &tool["description"], &tool["parameters"]["required"]),
        (
            &json!("researcher"),
            &json!("agent"),
            &json!("Finds facts and figures, and says where they are from"),
            &json!(["query"])
        )
    );
    let call = json!({"agent": "research-lead", "tool": "researcher", "arguments": {"query": "What?"}});
    let executed: Value =
        pod.http.post(format!("{}/v1/tools/execute", pod.api)).json(&call).send().await.unwrap().json().await.unwrap();
    assert_eq!((&executed["ok"], &executed["result"]), (&json!(true), &json!("42")), "{executed}");
}

#[tokio::test]
async fn a_call_goes_to_the_agent_as_it_is_now() {
    let running = Running::start([
        ("You lead", vec![calls("researcher", "a"), says("one"), calls("researcher", "b"), says("two")]),
        ("You find facts", vec![says("first")]),
        ("You guess", vec![says("second")]),
    ])
    .await;
    let (pod, folder) = running.sample("research", &["provider.yaml", "team.yaml"]).await;
    let question = json!({"query": "?"});
    assert_eq!(run(&pod, "research-lead", &question).await["steps"][0]["result"], "first");
    let before = pod.state().await["revision"].clone();
    let team = fs::read_to_string(folder.path().join("team.yaml")).unwrap();
    folder.write("team.yaml", &team.replace("You find facts.", "You guess."));
    pod.await_state("the edit", |state| state["revision"] != before).await;
    assert_eq!(run(&pod, "research-lead", &question).await["steps"][0]["result"], "second");
}

#[tokio::test]
async fn agents_in_a_circle_are_reported_with_file_and_path_and_the_others_serve() {
    let running = Running::start([("You find facts", vec![says("42")])]).await;
    let (pod, folder) = running.sample("research", &["provider.yaml", "team.yaml"]).await;
    let before = pod.state().await["revision"].clone();
    let calls_lead =
        "    - {name: lead, type: agent, agent: {agentRef: {name: research-lead}}}\n    - name: http_request\n";
    let team = fs::read_to_string(folder.path().join("team.yaml")).unwrap();
    folder.write("team.yaml", &team.replace("    - name: http_request\n", calls_lead));
    let state = pod.await_state("the refusal", |state| !state["rejected"].is_null()).await;
    let problems = state["rejected"]["problems"].as_array().unwrap();
    let paths: Vec<_> = problems.iter().map(|problem| problem["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        ["agents.research-lead.tools[0].agent.agentRef.name", "agents.researcher.tools[0].agent.agentRef.name"],
        "{state:#}"
    );
    assert!(problems[0]["message"].as_str().unwrap().contains("research-lead → researcher → research-lead"));
    assert!(problems[0]["file"].as_str().unwrap().ends_with("team.yaml"));
    assert_eq!(state["revision"], before, "the last good form goes on serving");
}

/// A pod on a document of this agent, and the folder that holds it.
pub(crate) async fn pod_of(agent: Value, peers: &[Value], model: &str, replace: &[(&str, &str)]) -> (Pod, TempDir) {
    let account = format!("{}-agent", agent["metadata"]["name"].as_str().unwrap());
    let provider = serde_json::from_value(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider", "metadata": {"name": "m", "namespace": "shop"},
        "spec": {"type": "openai_compat", "endpoint": model, "models": [{"name": "m"}]},
    }))
    .unwrap();
    let agent = serde_json::from_value(agent).unwrap();
    let peers: Vec<_> = peers.iter().map(|peer| serde_json::from_value(peer.clone()).unwrap()).collect();
    let peers: Vec<_> = peers.iter().collect();
    let namespaces = NamespaceLabels::new();
    let config_maps = ConfigMaps::new();
    let resources = Resources {
        agents: &[&agent],
        providers: &[&provider],
        peers: &peers,
        namespaces: &namespaces,
        config_maps: &config_maps,
    };
    let compilation = compile(resources);
    assert_eq!(compilation.problems, []);
    let mut text = String::from_utf8(compilation.document.to_bytes()).unwrap();
    for (from, to) in replace {
        assert!(text.contains(from), "{text}");
        text = text.replace(from, to);
    }
    let folder = tempfile::tempdir().unwrap();
    let [document, trust, token] = ["document.json", "trust.json", "token"].map(|name| folder.path().join(name));
    fs::write(&document, text).unwrap();
    fs::write(&trust, tokens::trust()).unwrap();
    fs::write(&token, tokens::token("shop", &account)).unwrap();
    let [document, trust, token] = [&document, &trust, &token].map(|path| path.to_str().unwrap());
    let arguments = ["--document", document, "--trust", trust, "--token-file", token];
    let pod = Pod::start(&arguments, &[]).await;
    pod.await_state("a revision", |state| state["revision"].is_string()).await;
    (pod, folder)
}

pub(crate) fn manifest(name: &str, prompt: &str, more: Value) -> Value {
    let mut spec = json!({"model": {"candidates": [{"providerRef": {"name": "m"}}]}, "prompts": {"system": prompt}, "access": {"mode": "none"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

/// A lead whose worker is served by another pod.
async fn two_pods(running: &Running) -> ((Pod, TempDir), (Pod, TempDir)) {
    let model = format!("{}/v1", running.url);
    let worker = manifest("worker", "You work.", json!({"tools": [{"name": "calculator", "type": "internal"}]}));
    let there = pod_of(worker.clone(), &[], &model, &[]).await;
    let tool = json!({"name": "worker", "type": "agent", "agent": {"agentRef": {"name": "worker"}}, "timeout": "20s"});
    let lead = manifest("lead", "You lead.", json!({"orchestration": {"pattern": "supervisor"}, "tools": [tool]}));
    let here = pod_of(lead, &[worker], &model, &[("http://worker-agent.shop.svc", &there.0.api)]).await;
    (here, there)
}

#[tokio::test]
async fn a_worker_of_another_pod_is_accounted_for_as_one_of_this_pod() {
    let calculation = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function",
        "function": {"name": "calculator", "arguments": "{\"expression\": \"6 * 7\"}"}}]});
    let running = Running::start([
        ("You lead", vec![calls("worker", "6 times 7?"), says("It is 42.")]),
        ("You work", vec![calculation, says("42")]),
    ])
    .await;
    let ((here, _document), (there, _other)) = two_pods(&running).await;
    for streaming in [false, true] {
        running.models.replies.lock().unwrap().clear();
        let again = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function",
            "function": {"name": "calculator", "arguments": "{\"expression\": \"6 * 7\"}"}}]});
        running.models.replies.lock().unwrap().extend([
            ("You lead".to_owned(), VecDeque::from([calls("worker", "6 times 7?"), says("It is 42.")])),
            ("You work".to_owned(), VecDeque::from([again, says("42")])),
        ]);
        let body = json!({"query": "?", "sessionId": "s", "stream": streaming});
        let answer: Value = if streaming {
            let text = here.ask("lead", &body).send().await.unwrap().text().await.unwrap();
            let order: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
            assert_eq!(order, ["status", "tool_call", "step", "tool_result", "step", "token", "done"], "{text}");
            let done = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
            serde_json::from_str(done).unwrap()
        } else {
            run(&here, "lead", &body).await
        };
        assert_eq!(answer["answer"], "It is 42.", "{answer:#}");
        let result = answer["steps"][0]["result"].clone();
        assert_eq!(
            steps(&answer),
            [json!(["tool", "calculator", "worker", result, true]), json!(["delegate", "worker", null, "42", true])]
        );
        assert_eq!(answer["steps"][0]["arguments"], json!({"expression": "6 * 7"}));
        assert_eq!((&answer["usage"]["tokensIn"], &answer["attempts"][3]["outcome"]), (&json!(40), &json!("ok")));
        assert_eq!(answer["steps"][1]["index"], 2);
    }
    let (_, log) = (there.terminate().await, there.ended().await.1);
    let ended = log.lines().filter(|line| line.contains("run ended")).count();
    assert_eq!(ended, 2, "{log}");
}

#[tokio::test]
async fn a_caller_that_goes_away_stops_the_worker_of_another_pod() {
    let running = Running::start([("You lead", vec![calls("worker", "?")]), ("You work", vec![json!("hangs")])]).await;
    let ((here, _document), (there, _other)) = two_pods(&running).await;
    let call = here.ask("lead", &json!({"query": "?"})).send();
    tokio::select! {
        answer = call => panic!("{answer:?}"),
        () = await_call(&running.models.hanging) => {}
    }
    await_call(&running.models.dropped).await;
    there.await_state("the worker to rest", |state| state["inFlight"] == 0).await;
}

#[tokio::test]
async fn a_worker_whose_pod_is_gone_is_a_result_that_the_lead_reads() {
    let running = Running::start([("You lead", vec![calls("worker", "?"), says("Alone.")])]).await;
    let ((here, _document), (there, _other)) = two_pods(&running).await;
    drop(there);
    let answer = run(&here, "lead", &json!({"query": "?"})).await;
    assert_eq!(answer["answer"], "Alone.", "{answer:#}");
    assert_eq!(
        steps(&answer),
        [json!([
            "delegate",
            "worker",
            null,
            "the agent `worker` gave no answer: the agent `worker` cannot be reached now",
            false
        ])]
    );
}

#[tokio::test]
async fn the_triage_sample_hands_the_conversation_over_and_remembers_who_has_it() {
    let calculation = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function",
        "function": {"name": "calculator", "arguments": "{\"expression\": \"6 * 7\"}"}}]});
    let running = Running::start([
        ("You receive", vec![calls("billing", "An invoice."), says("From nine to five.")]),
        ("You answer questions on invoices", vec![calculation, says("42 €."), calls("triage", "Opening hours.")]),
        ("You run the workshop", vec![]),
    ])
    .await;
    let (pod, _folder) = running.sample("triage", &["provider.yaml", "agents.yaml"]).await;
    let first = run(&pod, "triage", &json!({"query": "What do I owe?", "sessionId": "s"})).await;
    assert_eq!((&first["answer"], &first["finish"]), (&json!("42 €."), &json!("handoff")), "{first:#}");
    assert_eq!(
        steps(&first)[..2],
        [
            json!([
                "handoff",
                "triage-billing",
                null,
                "the conversation is handed over to the agent `triage-billing`",
                true
            ]),
            json!(["tool", "calculator", "triage-billing", first["steps"][1]["result"], true]),
        ]
    );
    assert_eq!(first["usage"]["tokensIn"], 30);
    assert!(first["handoff"].is_null(), "that is between agents");
    // The next turn begins where the last one ended; what is streamed is the answer.
    let text = pod.ask("triage", &json!({"query": "When do you open?", "sessionId": "s", "stream": true}));
    let text = text.send().await.unwrap().text().await.unwrap();
    let events: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let done = events.last().unwrap();
    assert_eq!((&done["answer"], &done["finish"]), (&json!("From nine to five."), &json!("stop")), "{text}");
    let tokens: String = events.iter().filter_map(|event| event["content"].as_str()).collect();
    assert_eq!(tokens, "From nine to five.");
    let sent = running.sent();
    assert_eq!(
        sent[3][1..],
        ["user: What do I owe?", "assistant: 42 €.", "user: When do you open?"],
        "billing has the conversation as it was"
    );
    assert_eq!(sent.len(), 5);
}

/// A swarm of `triage` and `billing`, each in a pod of its own.
async fn swarm_of_two_pods(running: &Running) -> ((Pod, TempDir), (Pod, TempDir)) {
    let model = format!("{}/v1", running.url);
    let one = |name: &str, prompt: &str, other: &str| {
        let tool = json!({"name": other, "type": "agent", "agent": {"agentRef": {"name": other}}});
        let memory = json!({"conversational": {"backend": "in_memory"}});
        manifest(name, prompt, json!({"orchestration": {"pattern": "swarm"}, "tools": [tool], "memory": memory}))
    };
    let (triage, billing) = (one("triage", "You sort.", "billing"), one("billing", "You bill.", "triage"));
    let there = pod_of(billing.clone(), std::slice::from_ref(&triage), &model, &[]).await;
    let here = pod_of(triage, &[billing], &model, &[("http://billing-agent.shop.svc", &there.0.api)]).await;
    (here, there)
}

#[tokio::test]
async fn a_conversation_goes_to_another_pod_and_back() {
    let running = Running::start([
        ("You sort", vec![calls("billing", "A bill."), calls("billing", "Again."), says("Nine to five.")]),
        ("You bill", vec![says("Which one?"), calls("triage", "Not a bill."), says("Paid.")]),
    ])
    .await;
    let ((here, _document), (_there, _other)) = swarm_of_two_pods(&running).await;
    let first = run(&here, "triage", &json!({"query": "My bill!", "sessionId": "s"})).await;
    assert_eq!((&first["answer"], &first["finish"]), (&json!("Which one?"), &json!("handoff")), "{first:#}");
    let second = run(&here, "triage", &json!({"query": "The last.", "sessionId": "s"})).await;
    assert_eq!((&second["answer"], &second["finish"]), (&json!("Paid."), &json!("handoff")), "{second:#}");
    let names: Vec<_> = steps(&second).iter().map(|step| json!([step[0], step[1], step[2]])).collect();
    assert_eq!(names, [json!(["handoff", "triage", "billing"]), json!(["handoff", "billing", null])]);
    let text = here.ask("triage", &json!({"query": "And now?", "sessionId": "other", "stream": true}));
    let text = text.send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\"content\":\"Nine to five.\""), "{text}");
}

#[tokio::test]
async fn an_approval_is_given_for_a_worker_of_another_pod() {
    let calculation = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function",
        "function": {"name": "calculator", "arguments": "{\"expression\": \"6 * 7\"}"}}]});
    let running = Running::start([
        ("You lead", vec![calls("worker", "?"), says("Done.")]),
        ("You work", vec![calculation, says("Worked.")]),
    ])
    .await;
    let model = format!("{}/v1", running.url);
    let tool = json!({"name": "calculator", "type": "internal", "requireApproval": true, "approvalTimeout": "20s"});
    let worker = manifest("worker", "You work.", json!({"tools": [tool]}));
    let (there, _other) = pod_of(worker.clone(), &[], &model, &[]).await;
    let tool = json!({"name": "worker", "type": "agent", "agent": {"agentRef": {"name": "worker"}}});
    let lead = manifest("lead", "You lead.", json!({"tools": [tool]}));
    let (here, _document) = pod_of(lead, &[worker], &model, &[("http://worker-agent.shop.svc", &there.api)]).await;
    let mut response = here.ask("lead", &json!({"query": "?", "stream": true})).send().await.unwrap();
    let (mut text, mut decided) = (String::new(), false);
    while let Some(piece) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&piece).unwrap());
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        let asked = events.into_iter().find(|event| event["type"] == "approval_required").filter(|_| !decided);
        if let Some(asked) = asked {
            let run_id = response.headers()["x-run-id"].to_str().unwrap().to_owned();
            let url = format!("{}/v1/runs/{run_id}/approvals/{}", here.api, asked["id"].as_str().unwrap());
            let ruling =
                here.http.post(url).json(&json!({"decision": "deny", "reason": "not now"})).send().await.unwrap();
            assert!(ruling.status().is_success(), "{}", ruling.text().await.unwrap());
            decided = true;
        }
    }
    let done: Value =
        serde_json::from_str(text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap()).unwrap();
    assert_eq!(done["answer"], "Done.", "{text}");
    let approval = done["steps"].as_array().unwrap().iter().find(|step| step["type"] == "approval").unwrap();
    assert_eq!((&approval["agent"], &approval["ok"]), (&json!("worker"), &json!(false)), "{approval}");
    assert!(approval["result"].as_str().unwrap().starts_with("not now (by "), "{approval}");
}
