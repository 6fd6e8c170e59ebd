use std::time::Duration;

use agent_pod_core::access::AccessPolicy;
use agent_pod_core::error::{ErrorCode, RunError};
use axum::body::Body;
use axum::http::Request;
use rstest::rstest;
use serde_json::json;

use crate::client::{call, get, post};
use crate::fake::{FakeAgents, agent, attempt};

#[tokio::test]
async fn an_unknown_route_is_404_in_the_error_shape() {
    let answer = call(&FakeAgents::support(), get("/v1/nothing")).await;
    assert_eq!(answer.failure(), (404, "not_found".to_owned()));
    assert_eq!(answer.json()["error"]["domain"], "caller");
    assert_eq!(answer.json()["error"]["retryable"], false);
}

#[tokio::test]
async fn a_wrong_method_is_405_in_the_error_shape_and_names_the_right_ones() {
    for (request, allowed) in [
        (get("/v1/agents/support/run"), "POST"),
        (post("/v1/agents", ""), "GET,HEAD"),
        (post("/openapi.json", ""), "GET,HEAD"),
    ] {
        let answer = call(&FakeAgents::support(), request).await;
        assert_eq!(answer.failure(), (405, "method_not_allowed".to_owned()));
        assert_eq!(answer.header("allow"), Some(allowed));
    }
}

#[rstest]
#[case(get("/v1/chat/completions"), "POST")]
#[case(post("/v1/models", ""), "GET,HEAD")]
#[case(post("/v1/models/support", ""), "GET,HEAD")]
#[tokio::test]
async fn a_wrong_method_at_the_doors_of_openai_has_their_error(#[case] request: Request<Body>, #[case] allowed: &str) {
    let answer = call(&FakeAgents::support(), request).await;
    assert_eq!(answer.failure(), (405, "method_not_allowed".to_owned()));
    assert_eq!(answer.header("allow"), Some(allowed));
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], error.get("param")), (&json!("invalid_request_error"), Some(&json!(null))));
}

#[tokio::test]
async fn an_unknown_agent_is_404_in_the_error_shape() {
    for request in [get("/v1/agents/nobody"), post("/v1/agents/nobody/run", "{}"), get("/v1/ws/agent/nobody")] {
        let answer = call(&FakeAgents::support(), request).await;
        assert_eq!(answer.failure(), (404, "agent_not_found".to_owned()));
    }
}

#[tokio::test]
async fn a_name_that_is_not_text_names_no_agent() {
    let answer = call(&FakeAgents::support(), get("/v1/agents/%ff")).await;
    assert_eq!(answer.failure(), (404, "agent_not_found".to_owned()));
}

#[rstest]
#[case(ErrorCode::UnsupportedContent, 400)]
#[case(ErrorCode::ProviderRejected, 400)]
#[case(ErrorCode::AgentNotFound, 404)]
#[case(ErrorCode::Overloaded, 429)]
#[case(ErrorCode::Internal, 500)]
#[case(ErrorCode::AllProvidersFailed, 502)]
#[case(ErrorCode::ProviderUnauthorized, 502)]
#[case(ErrorCode::ProviderModelNotFound, 502)]
#[case(ErrorCode::Draining, 503)]
#[case(ErrorCode::DeadlineExceeded, 504)]
#[tokio::test]
async fn every_code_of_a_refused_run_has_its_status(#[case] code: ErrorCode, #[case] status: u16) {
    let agents = FakeAgents::support();
    agents.refuse(RunError::new(code, "no"));
    let answer = call(&agents, post("/v1/agents/support/run", r#"{"query": "hi"}"#)).await;
    assert_eq!(answer.failure(), (status, code.as_str().to_owned()));
}

#[rstest]
#[case::rounded_up(Duration::from_millis(12_001), "13")]
#[case::whole(Duration::from_secs(12), "12")]
#[case::at_least_one(Duration::ZERO, "1")]
#[tokio::test]
async fn a_wait_is_told_in_whole_seconds(#[case] wait: Duration, #[case] expected: &str) {
    let agents = FakeAgents::support();
    agents.refuse(RunError::new(ErrorCode::Overloaded, "busy").retry_after(wait));
    let answer = call(&agents, post("/v1/agents/support/run", r#"{"query": "hi"}"#)).await;
    assert_eq!(answer.header("retry-after"), Some(expected));
}

#[tokio::test]
async fn a_failed_run_tells_its_id_and_every_attempt() {
    let agents = FakeAgents::support();
    let failed = RunError { attempts: vec![attempt()], ..RunError::new(ErrorCode::AllProvidersFailed, "all failed") };
    agents.play([agent_pod_core::event::TurnEvent::Error(Box::new(failed))]);
    let answer = call(&agents, post("/v1/agents/support/run", r#"{"query": "hi"}"#)).await;
    assert_eq!(answer.failure(), (502, "all_providers_failed".to_owned()));
    assert_eq!(answer.header("x-run-id"), Some("run-1"));
    let error = &answer.json()["error"];
    assert_eq!(error["runId"], "run-1");
    assert_eq!(error["domain"], "provider");
    assert_eq!(error["details"]["attempts"][0]["provider"], json!("openai"));
}

#[tokio::test]
async fn a_panic_is_500_and_says_nothing_of_itself() {
    let agents = FakeAgents::support();
    agents.panic();
    let answer = call(&agents, post("/v1/agents/support/run", r#"{"query": "hi"}"#)).await;
    assert_eq!(answer.failure(), (500, "internal".to_owned()));
    assert!(!answer.text.contains("secret"), "{}", answer.text);
}

#[tokio::test]
async fn a_401_names_the_scheme() {
    let agents = FakeAgents::new([agent("support", AccessPolicy::LoopbackOnly)]);
    let answer = call(&agents, get("/v1/agents/support")).await;
    assert_eq!(answer.failure(), (401, "unauthenticated".to_owned()));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
}

#[tokio::test]
async fn a_plain_request_to_the_socket_route_says_what_it_takes() {
    let answer = call(&FakeAgents::support(), get("/v1/ws/agent/support")).await;
    assert_eq!(answer.failure(), (400, "invalid_message".to_owned()));
}

#[tokio::test]
async fn answers_let_no_other_site_in() {
    let request = Request::get("/v1/agents").header("origin", "https://elsewhere.example").body(Body::empty()).unwrap();
    let answer = call(&FakeAgents::support(), request).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
