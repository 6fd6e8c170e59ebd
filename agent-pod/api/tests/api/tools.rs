//! The routes of tools and approvals: who may, what they take, and what they record.

use rstest::rstest;
use serde_json::json;

use crate::client::{call, get, post, with_header};
use crate::fake::{FakeAgents, agent, namespace};

const APPROVAL: &str = "/v1/runs/run-1/approvals/call_1";

#[rstest]
#[case::of_the_agents_callers(APPROVAL, Some("shop/ada"), json!({"decision": "approve"}), 200)]
#[case::of_others(APPROVAL, Some("bank/eve"), json!({"decision": "approve"}), 403)]
#[case::of_nobody(APPROVAL, None, json!({"decision": "approve"}), 401)]
#[case::undecided(APPROVAL, Some("shop/ada"), json!({}), 422)]
#[case::something_else(APPROVAL, Some("shop/ada"), json!({"decision": "maybe"}), 422)]
#[case::no_object(APPROVAL, Some("shop/ada"), json!("approve"), 422)]
#[case::twice("/v1/runs/run-1/approvals/call_2", Some("shop/ada"), json!({"decision": "deny"}), 409)]
#[case::of_no_run("/v1/runs/run-9/approvals/call_1", Some("shop/ada"), json!({"decision": "deny"}), 404)]
#[case::of_no_text("/v1/runs/%FF/approvals/call_1", Some("shop/ada"), json!({"decision": "deny"}), 404)]
#[case::of_no_run_by_nobody("/v1/runs/run-9/approvals/call_1", None, json!({"decision": "deny"}), 401)]
#[tokio::test]
async fn who_may_call_the_agent_may_decide(
    #[case] path: &str,
    #[case] token: Option<&str>,
    #[case] body: serde_json::Value,
    #[case] status: u16,
) {
    let agents = FakeAgents::new([agent("support", namespace("shop"))]);
    let request = post(path, body.to_string());
    let request = token
        .into_iter()
        .fold(request, |request, token| with_header(request, "authorization", &format!("Bearer {token}")));
    let answer = call(&agents, request).await;
    assert_eq!(answer.status, status, "{}", answer.text);
    if status == 200 {
        assert_eq!(answer.json(), json!({"runId": "run-1", "id": "call_1", "decision": "approve"}));
        assert_eq!(agents.rulings.lock().unwrap()[0].by, "system:serviceaccount:shop:ada");
    }
}

#[rstest]
#[case(json!({"agent": "support", "tool": "get_order", "arguments": {"id": 7}, "session_id": "s"}), 200)]
#[case(json!({"agent": "support", "tool": "get_order", "arguments": null}), 200)]
#[case(json!({"agent": "support", "tool_name": "get_order", "arguments": {"id": 7}}), 200)]
#[case(json!({"agent": "support", "tool": "get_order", "tool_name": "other"}), 200)]
#[case(json!({"agent": "support", "tool_name": "other"}), 404)]
#[case(json!({"agent": "support", "tool_name": 7}), 422)]
#[case(json!({"agent": "support"}), 422)]
#[case(json!({"agent": "support", "tool": "other"}), 404)]
#[case(json!({"agent": "nobody", "tool": "get_order"}), 404)]
#[case(json!({"tool": "get_order"}), 422)]
#[case(json!({"agent": "support", "tool": "get_order", "arguments": [7]}), 422)]
#[case(json!({"agent": "support", "tool": "get_order", "sessionId": ""}), 422)]
#[case(json!([]), 422)]
#[tokio::test]
async fn a_tool_is_executed_by_its_name(#[case] body: serde_json::Value, #[case] status: u16) {
    let answer = call(&FakeAgents::support(), post("/v1/tools/execute", body.to_string())).await;
    assert_eq!(answer.status, status, "{}", answer.text);
    if status == 200 {
        let arguments = if body["arguments"].is_null() { json!({}) } else { body["arguments"].clone() };
        let result = arguments.to_string();
        let expected = json!({"tool": "get_order", "ok": true, "result": result, "durationMs": 41, "truncated": false});
        assert_eq!(answer.json(), expected);
    }
}

const CALL: &str = r#"{"agent": "support", "tool": "get_order"}"#;

#[rstest]
#[case::timeout("x-request-timeout-ms", "abc", "X-Request-Timeout-Ms")]
#[case::no_time("x-request-timeout-ms", "0", "X-Request-Timeout-Ms")]
#[case::depth("x-astromesh-depth", "99", "X-Astromesh-Depth")]
#[case::tokens("x-astromesh-tokens-left", "-1", "X-Astromesh-Tokens-Left")]
#[case::key("idempotency-key", "a b", "Idempotency-Key")]
#[tokio::test]
async fn a_header_that_makes_no_sense_is_422_as_of_a_run(
    #[case] name: &'static str,
    #[case] value: &str,
    #[case] path: &str,
) {
    let agents = FakeAgents::support();
    let answer = call(&agents, with_header(post("/v1/tools/execute", CALL), name, value)).await;
    assert_eq!(answer.failure(), (422, "validation_failed".to_owned()));
    assert_eq!(answer.json()["error"]["details"]["problems"][0]["path"], path);
    let answer = call(&agents, with_header(post("/v1/tools/execute", "{}"), name, value)).await;
    let problems = answer.json()["error"]["details"]["problems"].clone();
    let named: Vec<_> = problems.as_array().unwrap().iter().map(|problem| problem["path"].as_str().unwrap()).collect();
    assert_eq!(named, ["agent", "tool", path], "with what is wrong in the body");
    assert!(agents.executed.lock().unwrap().is_empty());
}

#[rstest]
#[case::an_agent("shop/lead-agent", 3, Some(50))]
#[case::an_app("shop/web", 0, None)]
#[tokio::test]
async fn headers_of_a_run_hold_for_a_call_of_a_tool(
    #[case] account: &str,
    #[case] depth: u32,
    #[case] left: Option<u64>,
) {
    let agents = FakeAgents::support();
    let headers = [
        ("authorization", format!("Bearer {account}")),
        ("x-request-timeout-ms", "1500".to_owned()),
        ("x-astromesh-depth", "3".to_owned()),
        ("x-astromesh-tokens-left", "50".to_owned()),
        ("idempotency-key", "k".to_owned()),
    ];
    let request = headers
        .iter()
        .fold(post("/v1/tools/execute", CALL), |request, (name, value)| with_header(request, name, value));
    assert_eq!(call(&agents, request).await.status, 200);
    let options = agents.executed.lock().unwrap().remove(0);
    assert_eq!((options.depth, options.tokens_max), (depth, left));
    assert_eq!(options.timeout, Some(std::time::Duration::from_millis(1500)));
    assert_eq!(options.idempotency.unwrap().key, "k");
}

#[tokio::test]
async fn tools_are_listed_for_those_who_may_call() {
    let agents = FakeAgents::new([agent("support", namespace("shop"))]);
    assert_eq!(call(&agents, get("/v1/tools")).await.failure(), (401, "unauthenticated".to_owned()));
    let request = with_header(get("/v1/tools"), "authorization", "Bearer shop/ada");
    assert_eq!(call(&agents, request).await.json(), json!({"tools": []}));
}
