//! The port before callers that ask for too much, and before pods.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use axum::response::Response;
use futures::{StreamExt as _, stream};
use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::*;
use crate::names::ObjectKey;

/// More than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(30);

fn health() -> (Health, mpsc::Receiver<ObjectKey>) {
    let (sink, pods) = attention();
    (Health::new(Arc::new(Metrics::default()), sink), pods)
}

/// A port; it is served for as long as the set lives.
async fn port(router: Router, bounds: Bounds) -> (std::net::SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, mut tasks) = (listener.local_addr().unwrap(), JoinSet::new());
    tasks.spawn(listener::serve(listener, router, bounds));
    (address, tasks)
}

async fn get_text(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer, and an end").unwrap();
    answer
}

/// Waits until the other side has closed.
async fn closed(stream: &mut TcpStream) {
    // A reset is an end, too.
    drop(timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("the port closes the connection"));
}

#[tokio::test]
async fn probes_are_answered_beside_three_hundred_silent_connections() {
    let (health, _pods) = health();
    health.ready();
    let (address, _tasks) = port(router(health), Bounds::default()).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..3 {
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = get_text(address, path).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {answer}");
        }
    }
    // The oldest ones have made room.
    for stream in &mut silent[..40] {
        closed(stream).await;
    }
}

#[tokio::test]
async fn whoever_sends_no_whole_head_is_cut_off() {
    let bounds = Bounds { head: Duration::from_millis(50), whole: PATIENCE * 2, ..Bounds::default() };
    let (address, _tasks) = port(router(health().0), bounds).await;
    for sent in ["", "GET /livez HTTP/1.1\r\nHo"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        closed(&mut stream).await;
    }
}

#[tokio::test]
async fn whoever_does_not_take_the_answer_is_cut_off() {
    let (dropped, answer_ended) = oneshot::channel::<()>();
    let dropped = Arc::new(Mutex::new(Some(dropped)));
    let endless = move || {
        let held = dropped.lock().unwrap().take();
        let pieces = stream::repeat(Bytes::from_static(&[b'x'; 16 * 1024])).map(move |piece| {
            let _held = &held;
            Ok::<_, std::io::Error>(piece)
        });
        async { Body::from_stream(pieces) }
    };
    let bounds = Bounds { whole: Duration::from_millis(50), ..Bounds::default() };
    let (address, _tasks) = port(Router::new().route("/", get(endless)), bounds).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    timeout(PATIENCE, answer_ended).await.expect("nothing is kept for it").unwrap_err();
}

async fn ask(health: &Health, body: impl Into<Body>) -> Response {
    let request = Request::post("/internal/attention").body(body.into()).unwrap();
    router(health.clone()).oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 10_000).await.unwrap().to_vec()).unwrap()
}

const A_POD: &str = r#"{"namespace": "shop", "pod": "support-agent-5d6kr"}"#;

#[tokio::test]
async fn a_pod_that_asks_for_attention_is_handed_to_the_leader() {
    let (health, mut pods) = health();
    let refused = ask(&health, A_POD).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(text(refused).await, "this replica of the operator does not lead: ask another one\n");

    health.leads(true);
    assert_eq!(ask(&health, A_POD).await.status(), 202);
    let expected = ObjectKey { namespace: "shop".into(), name: "support-agent-5d6kr".into() };
    assert_eq!(pods.recv().await, Some(expected));

    health.leads(false);
    assert_eq!(ask(&health, A_POD).await.status(), 503);
    assert!(pods.try_recv().is_err());
}

#[tokio::test]
async fn so_many_pods_wait_and_no_more() {
    let (health, mut pods) = health();
    health.leads(true);
    for _ in 0..ATTENTION_MAX {
        assert_eq!(ask(&health, A_POD).await.status(), 202);
    }
    let refused = ask(&health, A_POD).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &header::HeaderValue::from(2)));
    pods.recv().await.unwrap();
    assert_eq!(ask(&health, A_POD).await.status(), 202);
}

#[rstest]
#[case::nothing("", 400, "the body is not JSON")]
#[case::no_json("shop/support", 400, "the body is not JSON")]
#[case::no_object("[]", 422, "namespace")]
#[case::a_field_is_missing(r#"{"namespace": "shop"}"#, 422, "missing field `pod`")]
#[case::a_number(r#"{"namespace": "shop", "pod": 1}"#, 422, "invalid type: integer `1`")]
#[case::an_empty_name(r#"{"namespace": "", "pod": "x"}"#, 422, "`namespace` is ``")]
#[case::a_path(r#"{"namespace": "shop", "pod": "../x"}"#, 422, "`pod` is `../x`: a name has lower-case letters")]
#[case::too_long(&format!(r#"{{"namespace": "{}", "pod": "x"}}"#, "n".repeat(64)), 422, "at most 63 characters")]
#[case::too_much(&" ".repeat(4_097), 413, "4096 bytes")]
#[tokio::test]
async fn what_is_no_pod_is_refused_with_what_would_be_right(
    #[case] body: &str,
    #[case] status: u16,
    #[case] reason: &str,
) {
    let (health, mut pods) = health();
    health.leads(true);
    let refused = ask(&health, body.to_owned()).await;
    assert_eq!(refused.status(), status);
    let said = text(refused).await;
    assert!(said.contains(reason), "{said}");
    assert!(pods.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let (health, _pods) = health();
    health.leads(true);
    let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{\"namespace\""))]);
    let refused = timeout(PATIENCE, ask(&health, Body::from_stream(first.chain(stream::pending())))).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status(), 408);
    assert_eq!(text(refused).await, "the body did not come within 5 s\n");
}

#[tokio::test]
async fn the_readiness_probe_says_what_is_missing() {
    let (health, _pods) = health();
    let readyz = async || {
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        let response = router(health.clone()).oneshot(request).await.unwrap();
        (response.status().as_u16(), text(response).await)
    };
    assert_eq!(readyz().await, (503, "the operator is starting".into()));
    health.waits_for(&["this".into(), "that".into()]);
    assert_eq!(readyz().await, (503, "waiting for this, and for that".into()));
    health.waits_for(&[]);
    assert_eq!(readyz().await, (200, "ok".into()));
    health.unready("the operator is stopping");
    assert_eq!(readyz().await, (503, "the operator is stopping".into()));
}
