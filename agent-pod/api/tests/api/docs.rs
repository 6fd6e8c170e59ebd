use agent_pod_core::error::{ErrorCode, FieldProblem, RunError};
use agent_pod_core::event::{Finish, HandedOn, RunAnswer, TurnEvent};
use agent_pod_core::guardrail::{Action, Direction, Hit, Kind};
use agent_pod_core::message::ToolCall;
use rstest::rstest;
use serde_json::{Value, json};

use crate::client::{VERSION, call, get, post};
use crate::fake::{FakeAgents, agent, answer, attempt, done, status, token};

async fn document() -> Value {
    call(&FakeAgents::support(), get("/openapi.json")).await.json()
}

#[tokio::test]
async fn the_document_lists_every_route() {
    let document = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document["info"]["version"], VERSION);
    let paths = document["paths"].as_object().unwrap();
    let mut operations: Vec<_> = paths
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| format!("{method} {path}")))
        .collect();
    operations.sort();
    let expected = [
        "delete /v1/memory/{agent}/history/{session}",
        "get /openapi.json",
        "get /v1/agents",
        "get /v1/agents/{name}",
        "get /v1/health",
        "get /v1/memory/{agent}/history/{session}",
        "get /v1/memory/{agent}/semantic",
        "get /v1/models",
        "get /v1/models/{model}",
        "get /v1/tools",
        "get /v1/ws/agent/{name}",
        "post /v1/agents/{name}/run",
        "post /v1/chat/completions",
        "post /v1/runs/{runId}/approvals/{id}",
        "post /v1/tools/execute",
    ];
    assert_eq!(operations, expected);
}

#[rstest]
#[case("/v1/agents", "get", &["200", "401", "403", "500"])]
#[case("/v1/agents/{name}", "get", &["200", "401", "403", "404", "500"])]
#[case("/v1/ws/agent/{name}", "get", &["101", "400", "401", "403", "404", "422", "500", "503"])]
#[case("/v1/agents/{name}/run", "post",
    &["200", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "500", "502", "503", "504"])]
#[case("/v1/memory/{agent}/history/{session}", "get", &["200", "401", "403", "404", "422", "429", "500", "503"])]
#[case("/v1/memory/{agent}/semantic", "get", &["200", "401", "403", "404", "422", "500", "503"])]
#[case("/v1/memory/{agent}/history/{session}", "delete", &["200", "401", "403", "404", "500", "503"])]
#[case("/v1/tools", "get", &["200", "401", "403", "404", "500"])]
#[case("/v1/tools/execute", "post",
    &["200", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "500", "503", "504"])]
#[case("/v1/runs/{runId}/approvals/{id}", "post",
    &["200", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "500"])]
#[case("/v1/models", "get", &["200", "401", "403", "500"])]
#[case("/v1/models/{model}", "get", &["200", "401", "403", "404", "500"])]
#[case("/v1/chat/completions", "post",
    &["200", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "500", "502", "503", "504"])]
#[tokio::test]
async fn every_status_is_documented(#[case] path: &str, #[case] method: &str, #[case] expected: &[&str]) {
    let document = document().await;
    let responses = document["paths"][path][method]["responses"].as_object().unwrap();
    let mut statuses: Vec<_> = responses.keys().map(String::as_str).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, expected);
}

#[tokio::test]
async fn tokens_are_asked_for_where_they_are_needed() {
    let document = document().await;
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    assert_eq!(document["security"], json!([{"bearer": []}]));
    for open in ["/v1/health", "/openapi.json"] {
        assert_eq!(document["paths"][open]["get"]["security"], json!([{}]), "{open}");
    }
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let document = document().await;
    let mut pending = vec![&document];
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    assert!(resolve(&document, target).is_object(), "{target}");
                }
                pending.extend(object.values());
            }
            Value::Array(items) => pending.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

#[tokio::test]
async fn what_is_sent_is_what_is_documented() {
    let document = document().await;
    let error = RunError {
        run_id: Some("run-1".to_owned()),
        attempts: vec![attempt()],
        problems: vec![FieldProblem { path: "query".to_owned(), message: "is required".to_owned() }],
        ..RunError::new(ErrorCode::AllProvidersFailed, "all failed")
    };
    let details = agent("support", agent_pod_core::access::AccessPolicy::Open).details;
    let error_body = serde_json::to_value(error.body()).unwrap();
    let samples = [
        ("AgentSummary", serde_json::to_value(&details.summary).unwrap()),
        ("AgentDetails", serde_json::to_value(&details).unwrap()),
        ("RunAnswer", serde_json::to_value(answer("ok")).unwrap()),
        ("RunAnswer", serde_json::to_value(RunAnswer { truncated: true, ..answer("ok") }).unwrap()),
        ("RunAnswer", serde_json::to_value(blocked()).unwrap()),
        ("ErrorAnswer", json!({"error": error_body})),
    ];
    for (name, sample) in &samples {
        check(&document, &document["components"]["schemas"][name], sample, name);
    }
    let events = [
        status("s-1"),
        token("It"),
        TurnEvent::ToolCall { id: "1".to_owned(), name: "n".to_owned(), arguments: json!({}) },
        TurnEvent::ToolResult { id: "1".to_owned(), name: "n".to_owned(), ok: true, result: "r".to_owned() },
        TurnEvent::ApprovalRequired {
            id: "s".to_owned(),
            call_id: "1".to_owned(),
            name: "n".to_owned(),
            arguments: json!({}),
            expires_at: "2026-01-02T03:04:05.000Z".to_owned(),
        },
        done("It"),
        TurnEvent::Error(Box::new(error)),
    ];
    for event in &events {
        let sample = serde_json::from_str(&event.to_json()).unwrap();
        check(&document, &variant(&document, event.name()), &sample, event.name());
    }
}

/// An answer of the rule that has blocked the run, after another one has warned.
fn blocked() -> RunAnswer {
    let hit = |action, reason: &str| Hit {
        direction: Direction::Input,
        kind: Kind::TopicFilter,
        action,
        reason: reason.to_owned(),
    };
    RunAnswer {
        blocked: true,
        finish: Finish::Blocked,
        guardrail: Some(hit(Action::Block, "topic `politics`")),
        warnings: vec![hit(Action::Warn, "topic `religion`")],
        handoff: Some(HandedOn { agent: "shop/billing".to_owned(), note: Some("A bill.".to_owned()) }),
        ..answer("I can't help with that request.")
    }
}

#[tokio::test]
async fn what_the_chat_door_sends_is_what_is_documented() {
    let document = document().await;
    let calls = vec![ToolCall { id: "1".to_owned(), name: "n".to_owned(), arguments: json!({}) }];
    let end = || TurnEvent::Done(Box::new(RunAnswer { client_calls: calls.clone(), ..answer("It") }));
    let messages = json!([{"role": "user", "content": "q"}]);
    let ask = |stream: bool, model: &str| {
        let body =
            json!({"model": model, "messages": messages, "stream": stream, "stream_options": {"include_usage": true}});
        post("/v1/chat/completions", body.to_string())
    };
    let agents = FakeAgents::support();
    agents.play([end()]);
    agents.play([token("It"), end()]);
    let whole = call(&agents, ask(false, "support")).await.json();
    let chunks = call(&agents, ask(true, "support")).await.text;
    let mut samples = vec![
        ("ChatCompletion", whole),
        ("ChatErrorAnswer", call(&agents, ask(false, "nobody")).await.json()),
        ("ChatErrorAnswer", call(&agents, post("/v1/chat/completions", "{}")).await.json()),
        ("ModelList", call(&agents, get("/v1/models")).await.json()),
        ("ModelObject", call(&agents, get("/v1/models/support")).await.json()),
    ];
    let data = chunks.split_terminator("\n\n").filter_map(|frame| frame.strip_prefix("data: "));
    samples.extend(
        data.filter(|data| *data != "[DONE]").map(|data| ("ChatCompletionChunk", serde_json::from_str(data).unwrap())),
    );
    assert_eq!(samples.len(), 10);
    for (name, sample) in &samples {
        check(&document, &document["components"]["schemas"][name], sample, name);
    }
}

/// The schema of the event of this type.
fn variant(document: &Value, name: &str) -> Value {
    let variants = document["components"]["schemas"]["RunEvent"]["oneOf"].as_array().unwrap();
    let of_name =
        |schema: &&Value| property(document, schema, "type").is_some_and(|kind| kind["enum"] == json!([name]));
    variants.iter().find(of_name).unwrap_or_else(|| panic!("no variant {name}")).clone()
}

/// Every key of the sample has a property, at every depth; every required property has a key.
fn check(document: &Value, schema: &Value, sample: &Value, at: &str) {
    match sample {
        Value::Object(object) => {
            for (key, value) in object {
                if is_free_form(document, schema) {
                    continue;
                }
                let at = format!("{at}.{key}");
                let property = property(document, schema, key).unwrap_or_else(|| panic!("{at} is not documented"));
                check(document, property, value, &at);
            }
            for key in required(document, schema) {
                assert!(object.contains_key(&key), "{at}.{key} is required and not sent");
            }
        }
        Value::Array(items) => {
            let items_schema = &target(document, schema)["items"];
            items.iter().for_each(|item| check(document, items_schema, item, &format!("{at}[]")));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn resolve<'a>(document: &'a Value, reference: &str) -> &'a Value {
    document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null)
}

fn target<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    schema["$ref"].as_str().map_or(schema, |reference| resolve(document, reference))
}

fn parts<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = target(document, schema);
    let nested = ["allOf", "oneOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    let nested = nested.flat_map(|part| parts(document, part));
    std::iter::once(schema).chain(nested).collect()
}

fn property<'a>(document: &'a Value, schema: &'a Value, key: &str) -> Option<&'a Value> {
    parts(document, schema).into_iter().find_map(|part| part["properties"].get(key))
}

fn required(document: &Value, schema: &Value) -> Vec<String> {
    let lists = parts(document, schema).into_iter().filter_map(|part| part["required"].as_array());
    lists.flatten().map(|key| key.as_str().unwrap().to_owned()).collect()
}

fn is_free_form(document: &Value, schema: &Value) -> bool {
    parts(document, schema).iter().all(|part| part.get("properties").is_none())
}
