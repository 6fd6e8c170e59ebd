//! Servers that turn texts into vectors, over real sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use agent_pod_core::embedding::Embedder as _;
use agent_pod_core::model::ModelErrorKind;
use agent_pod_infra::model::embeddings::{Embeddings, EmbeddingsProtocol, wire};
use agent_pod_infra::model::server::{AuthScheme, AuthSettings, ServerSettings};
use agent_pod_infra::secret::{SecretId, SecretStore};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use support::{Server, install_crypto};

use EmbeddingsProtocol::{Ollama, OpenAi};

fn settings(endpoint: String) -> ServerSettings {
    install_crypto();
    let connect_timeout = Duration::from_secs(10);
    ServerSettings { endpoint, auth: None, headers: Vec::new(), tls: None, connect_timeout }
}

fn texts() -> Vec<String> {
    ["one", "two"].map(str::to_owned).to_vec()
}

#[rstest]
#[case::openai(OpenAi, "/v1/embeddings", json!({
    "object": "list", "model": "e", "usage": {"prompt_tokens": 2, "total_tokens": 2},
    "data": [{"object": "embedding", "index": 1, "embedding": [0.5, -2]}, {"object": "embedding", "index": 0, "embedding": [1, 0]}],
}))]
#[case::without_index(OpenAi, "/v1/embeddings", json!({"data": [{"embedding": [1, 0]}, {"embedding": [0.5, -2]}]}))]
#[case::ollama(Ollama, "/api/embed", json!({
    "model": "e", "embeddings": [[1, 0], [0.5, -2]], "total_duration": 1, "load_duration": 1, "prompt_eval_count": 2,
}))]
#[tokio::test]
async fn texts_become_vectors_in_their_order(
    #[case] protocol: EmbeddingsProtocol,
    #[case] path: &str,
    #[case] reply: Value,
) {
    let server = Server::start(move |_| axum::Json(reply.clone()).into_response()).await;
    let secrets = SecretStore::in_memory();
    let id = SecretId { name: "e".to_owned(), key: "token".to_owned() };
    let secret = secrets.handle(&id);
    secrets.set(&id, Some(SecretString::from("hunter2")));
    let auth = Some(AuthSettings { scheme: AuthScheme::Bearer, secret });
    let settings = ServerSettings { auth, ..settings(server.endpoint()) };
    let model = Embeddings::new(protocol, "e".to_owned(), &settings).unwrap();
    assert_eq!(model.embed(&texts()).await.unwrap(), [[1.0, 0.0], [0.5, -2.0]]);
    let call = &server.calls()[0];
    assert_eq!(call.path, path);
    assert_eq!(call.headers["authorization"], "Bearer hunter2");
    let sent: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(sent, json!({"model": "e", "input": ["one", "two"]}));
}

#[rstest]
#[case::no_json(OpenAi, "<html>")]
#[case::an_error(OpenAi, r#"{"error": {"message": "no"}}"#)]
#[case::null(OpenAi, r#"{"data": [{"embedding": [null]}]}"#)]
#[case::base64(OpenAi, r#"{"data": [{"embedding": "AACAPw=="}]}"#)]
#[case::the_other_protocol(Ollama, r#"{"data": [{"embedding": [1]}]}"#)]
#[case::of_one_text(Ollama, r#"{"embedding": [1]}"#)]
fn a_reply_without_vectors_is_malformed(#[case] protocol: EmbeddingsProtocol, #[case] body: &str) {
    let error = wire::vectors(protocol, body.as_bytes()).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ModelErrorKind::Malformed, "no embeddings in the reply"));
}

#[rstest]
#[case(StatusCode::UNAUTHORIZED, ModelErrorKind::Unauthorized)]
#[case(StatusCode::NOT_FOUND, ModelErrorKind::NotFound)]
#[case(StatusCode::TOO_MANY_REQUESTS, ModelErrorKind::RateLimited)]
#[case(StatusCode::BAD_REQUEST, ModelErrorKind::Rejected)]
#[case(StatusCode::INTERNAL_SERVER_ERROR, ModelErrorKind::Unavailable)]
#[tokio::test]
async fn a_refusal_says_whose_fault_it_is(#[case] status: StatusCode, #[case] kind: ModelErrorKind) {
    let server = Server::start(move |_| status.into_response()).await;
    let model = Embeddings::new(Ollama, "e".to_owned(), &settings(server.endpoint())).unwrap();
    assert_eq!(model.embed(&texts()).await.unwrap_err().kind, kind);
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable() {
    let model = Embeddings::new(OpenAi, "e".to_owned(), &settings("http://127.0.0.1:1".to_owned())).unwrap();
    assert_eq!(model.embed(&texts()).await.unwrap_err().kind, ModelErrorKind::Unavailable);
}
