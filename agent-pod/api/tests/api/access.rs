use agent_pod_core::access::AccessPolicy;
use axum::body::Body;
use axum::http::Request;
use rstest::rstest;
use serde_json::json;

use crate::client::{call, from_peer, get, with_header};
use crate::fake::{FakeAgents, agent, namespace};

const NEAR: &str = "127.0.0.1:4000";
const FAR: &str = "10.0.0.7:4000";

fn bearer(request: Request<Body>, token: &str) -> Request<Body> {
    with_header(request, "authorization", &format!("Bearer {token}"))
}

#[rstest]
#[case::open(AccessPolicy::Open, FAR, None, 200)]
#[case::own_namespace(namespace("shop"), FAR, Some("Bearer shop/web"), 200)]
#[case::any_case_of_the_scheme(namespace("shop"), FAR, Some("bEARER shop/web"), 200)]
#[case::no_token(namespace("shop"), FAR, None, 401)]
#[case::no_token_from_here(namespace("shop"), NEAR, None, 401)]
#[case::bad_token(namespace("shop"), FAR, Some("Bearer nonsense"), 401)]
#[case::empty_token(namespace("shop"), FAR, Some("Bearer "), 401)]
#[case::other_scheme(namespace("shop"), FAR, Some("Basic shop/web"), 401)]
#[case::other_namespace(namespace("shop"), FAR, Some("Bearer bank/web"), 403)]
#[case::loopback(AccessPolicy::LoopbackOnly, NEAR, None, 200)]
#[case::loopback_6(AccessPolicy::LoopbackOnly, "[::1]:4000", None, 200)]
#[case::loopback_mapped(AccessPolicy::LoopbackOnly, "[::ffff:127.0.0.1]:4000", None, 200)]
#[case::not_loopback(AccessPolicy::LoopbackOnly, FAR, None, 401)]
#[tokio::test]
async fn the_agents_policy_decides(
    #[case] policy: AccessPolicy,
    #[case] peer: &str,
    #[case] authorization: Option<&str>,
    #[case] expected: u16,
) {
    let agents = FakeAgents::new([agent("support", policy)]);
    for path in ["/v1/agents", "/v1/agents/support"] {
        let request = from_peer(get(path), peer);
        let request =
            authorization.into_iter().fold(request, |request, value| with_header(request, "authorization", value));
        assert_eq!(call(&agents, request).await.status, expected, "{path}");
    }
}

#[rstest]
#[case("/v1/agents/support/run")]
#[case("/v1/ws/agent/support")]
#[case("/v1/agents/nobody/run")]
#[case("/v1/ws/agent/nobody")]
#[tokio::test]
async fn a_refused_caller_learns_nothing_of_body_or_name(#[case] path: &str) {
    let agents = FakeAgents::new([agent("support", namespace("shop"))]);
    let request = if path.ends_with("/run") { crate::client::post(path, "nonsense") } else { get(path) };
    assert_eq!(call(&agents, request).await.failure(), (401, "unauthenticated".to_owned()));
}

#[tokio::test]
async fn a_peer_that_nobody_knows_is_far() {
    let agents = FakeAgents::new([agent("support", AccessPolicy::LoopbackOnly)]);
    assert_eq!(call(&agents, get("/v1/agents/support")).await.status, 401);
}

#[rstest]
#[case("http://localhost:3000", 200)]
#[case("http://127.0.0.1:8080", 200)]
#[case("http://[::1]:8080", 200)]
#[case("https://elsewhere.example", 401)]
#[case("http://localhost.elsewhere.example", 401)]
#[case("null", 401)]
#[tokio::test]
async fn a_script_of_another_site_in_a_browser_here_is_far(#[case] origin: &str, #[case] expected: u16) {
    let agents = FakeAgents::new([agent("support", AccessPolicy::LoopbackOnly)]);
    let request = with_header(from_peer(get("/v1/agents/support"), NEAR), "origin", origin);
    assert_eq!(call(&agents, request).await.status, expected);
}

#[tokio::test]
async fn the_list_has_only_what_the_caller_may_call() {
    let agents = FakeAgents::new([agent("audit", namespace("bank")), agent("support", namespace("shop"))]);
    let list = call(&agents, bearer(get("/v1/agents"), "shop/web")).await.json();
    assert_eq!(list["agents"].as_array().unwrap().len(), 1);
    assert_eq!(list["agents"][0]["name"], "support");
}

#[tokio::test]
async fn an_unknown_name_is_404_only_for_those_who_may_call_something() {
    let agents = FakeAgents::new([agent("audit", namespace("bank")), agent("support", namespace("shop"))]);
    for (token, expected) in [("shop/web", 404), ("bank/web", 404), ("zoo/web", 403)] {
        assert_eq!(call(&agents, bearer(get("/v1/agents/nobody"), token)).await.status, expected, "{token}");
    }
    assert_eq!(call(&agents, get("/v1/agents/nobody")).await.status, 401);
}

#[tokio::test]
async fn without_agents_there_is_nothing_to_hide() {
    let agents = FakeAgents::new([]);
    assert_eq!(call(&agents, get("/v1/agents")).await.json(), json!({"agents": []}));
    assert_eq!(call(&agents, get("/v1/agents/nobody")).await.failure(), (404, "agent_not_found".to_owned()));
}

#[tokio::test]
async fn health_and_document_need_no_token() {
    let agents = FakeAgents::new([agent("support", namespace("shop"))]);
    for path in ["/v1/health", "/openapi.json"] {
        assert_eq!(call(&agents, from_peer(get(path), FAR)).await.status, 200, "{path}");
    }
}
