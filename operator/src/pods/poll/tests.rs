use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use serde_json::json;
use tokio::task::JoinSet;

use super::*;

async fn serve(router: Router) -> (String, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}/internal/state"), tasks)
}

fn client(token_file: Option<PathBuf>) -> StateClient {
    // A second installation in the same process is refused, and just as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    StateClient::new(token_file).unwrap()
}

#[tokio::test]
async fn the_token_is_read_at_each_call_and_its_absence_is_no_error() {
    let echo = get(|headers: HeaderMap| async move {
        let token = headers.get("authorization").map_or("none", |value| value.to_str().unwrap());
        axum::Json(json!({"revision": token, "inFlight": 3, "unknownField": true}))
    });
    let (url, _server) = serve(Router::new().route("/internal/state", echo)).await;
    let file = std::env::temp_dir().join(format!("astromesh-token-{}", std::process::id()));
    let client = client(Some(file.clone()));
    assert_eq!(client.state_at(&url).await.unwrap().revision.unwrap(), "none");
    for token in ["first", "second"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        let state = client.state_at(&url).await.unwrap();
        assert_eq!((state.revision.unwrap(), state.in_flight), (format!("Bearer {token}"), 3));
    }
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn a_pod_that_refuses_or_says_too_much_is_not_believed() {
    let router = Router::new()
        .route("/internal/state", get(|| async { StatusCode::FORBIDDEN }))
        .route("/large", get(|| async { "x".repeat(BYTES_MAX + 1) }))
        .route("/html", get(|| async { "<html>" }));
    let (url, _server) = serve(router).await;
    let client = client(None);
    assert!(matches!(client.state_at(&url).await, Err(PollError::Status(403))));
    let other = |path: &str| url.replace("/internal/state", path);
    assert!(matches!(client.state_at(&other("/large")).await, Err(PollError::TooLarge)));
    assert!(matches!(client.state_at(&other("/html")).await, Err(PollError::Malformed(_))));
}

#[test]
fn addresses_of_both_families_make_a_url() {
    assert_eq!(url("10.1.2.3", 8081), "http://10.1.2.3:8081/internal/state");
    assert_eq!(url("fd00::7", 8081), "http://[fd00::7]:8081/internal/state");
}
