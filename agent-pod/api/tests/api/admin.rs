use std::sync::Arc;

use agent_pod_api::admin_router;
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::service::{AdminService, TaggedState};
use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use tokio::sync::watch;

use crate::client::{Answer, ask, from_peer, get, with_header};

struct FakeAdmin {
    ready: bool,
    tag: watch::Sender<String>,
}

impl AdminService for FakeAdmin {
    fn ready(&self) -> bool {
        self.ready
    }

    fn state(&self) -> TaggedState {
        let tag = self.tag.borrow().clone();
        TaggedState { body: json!({"revision": "3fa9"}), tag }
    }

    fn state_changes(&self) -> watch::Receiver<String> {
        self.tag.subscribe()
    }

    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn may_read_state(&self, token: Option<&str>) -> Result<(), RunError> {
        match token {
            Some("operator") => Ok(()),
            Some(_other) => Err(RunError::new(ErrorCode::Forbidden, "not for you")),
            None => Err(RunError::new(ErrorCode::Unauthenticated, "who are you?")),
        }
    }
}

async fn call(ready: bool, request: Request<Body>) -> Answer {
    let tag = watch::Sender::new("one".to_owned());
    ask(admin_router(Arc::new(FakeAdmin { ready, tag })), request).await
}

#[tokio::test]
async fn it_is_alive_whether_or_not_it_is_ready() {
    for ready in [true, false] {
        let answer = call(ready, get("/livez")).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "ok"));
    }
}

#[tokio::test]
async fn readiness_is_the_services() {
    assert_eq!(call(true, get("/readyz")).await.status, 200);
    assert_eq!(call(false, get("/readyz")).await.status, 503);
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let answer = call(true, get("/metrics")).await;
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert_eq!(answer.text, "# EOF\n");
}

#[tokio::test]
async fn the_state_is_for_this_machine_and_the_operator() {
    let far = || from_peer(get("/internal/state"), "10.0.0.7:4000");
    let token = |value: &str| with_header(far(), "authorization", &format!("Bearer {value}"));
    let near = call(true, from_peer(get("/internal/state"), "127.0.0.1:4000")).await;
    assert_eq!((near.status.as_u16(), near.json()), (200, json!({"revision": "3fa9"})));
    assert_eq!(call(true, token("operator")).await.status, 200);
    assert_eq!(call(true, token("other")).await.failure(), (403, "forbidden".to_owned()));
    assert_eq!(call(true, far()).await.failure(), (401, "unauthenticated".to_owned()));
    assert_eq!(call(true, get("/internal/state")).await.status, 401);
}

#[tokio::test]
async fn an_unknown_route_is_404_in_the_error_shape() {
    assert_eq!(call(true, get("/v1/agents")).await.failure(), (404, "not_found".to_owned()));
}

#[tokio::test]
async fn the_state_has_a_tag_and_whoever_has_it_gets_nothing_else() {
    let near = |known: &str, query: &str| {
        let request = get(&format!("/internal/state{query}"));
        with_header(from_peer(request, "127.0.0.1:4000"), "if-none-match", known)
    };
    let fresh = call(true, near("\"zero\"", "?wait=30")).await;
    assert_eq!((fresh.status.as_u16(), fresh.header("etag")), (200, Some("\"one\"")));
    for known in ["\"one\"", "\"zero\", W/\"one\""] {
        let same = call(true, near(known, "")).await;
        assert_eq!((same.status.as_u16(), same.text.as_str(), same.header("etag")), (304, "", Some("\"one\"")));
    }
    for query in ["?wait=31", "?wait=soon", "?wait=-1"] {
        assert_eq!(call(true, near("\"one\"", query)).await.failure(), (422, "validation_failed".to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_change_or_without_one() {
    let tag = watch::Sender::new("one".to_owned());
    let router = admin_router(Arc::new(FakeAdmin { ready: true, tag: tag.clone() }));
    let wait = || {
        let request = from_peer(get("/internal/state?wait=20"), "127.0.0.1:4000");
        ask(router.clone(), with_header(request, "if-none-match", "\"one\""))
    };
    assert_eq!(wait().await.status, 304);
    let change = async { tag.send_replace("two".to_owned()) };
    let (changed, _) = tokio::join!(wait(), change);
    assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, Some("\"two\"")));
}
