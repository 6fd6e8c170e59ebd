//! Calls of a model over real sockets: what is sent, how each way to fail is told, and what is never told.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use agent_pod_core::model::{Model as _, ModelError, ModelErrorKind, ModelEvent, ModelStream};
use agent_pod_core::usage::Tokens;
use agent_pod_infra::model::chat_completions::request::translate;
use agent_pod_infra::model::chat_completions::{ChatCompletions, Dialect};
use agent_pod_infra::model::server::{AuthScheme, AuthSettings, REPLY_BYTES_MAX, ServerSettings};
use agent_pod_infra::secret::{SecretId, SecretStore};
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use axum::response::{IntoResponse as _, Response};
use futures::{StreamExt as _, stream};
use rstest::rstest;
use secrecy::SecretString;
use serde_json::{Value, json};
use support::{Asked, Server, events, install_crypto, raw_server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const HI: &str = "data: {\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"Hi\"}}]}\n\n";
const END: &str =
    "data: {\"choices\": [{\"index\": 0, \"delta\": {}, \"finish_reason\": \"stop\"}]}\n\ndata: [DONE]\n\n";

/// So long that no test waits for it.
const LONG: Duration = Duration::from_secs(60);

fn settings(endpoint: impl Into<String>) -> ServerSettings {
    install_crypto();
    ServerSettings { endpoint: endpoint.into(), auth: None, headers: Vec::new(), tls: None, connect_timeout: LONG }
}

fn model(endpoint: impl Into<String>) -> ChatCompletions {
    made(&settings(endpoint))
}

fn made(settings: &ServerSettings) -> ChatCompletions {
    ChatCompletions::new(Dialect::OpenAiCompat, settings).unwrap()
}

/// A model whose credential is in memory, beside the store to change it.
fn model_with(endpoint: String, scheme: AuthScheme, value: Option<&str>) -> (ChatCompletions, SecretStore) {
    let store = SecretStore::in_memory();
    store.set(&key(), value.map(SecretString::from));
    let auth = Some(AuthSettings { scheme, secret: store.handle(&key()) });
    (made(&ServerSettings { auth, ..settings(endpoint) }), store)
}

fn key() -> SecretId {
    SecretId { name: "openai".to_owned(), key: "api-key".to_owned() }
}

fn sse(body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, "text/event-stream")], body.into()).into_response()
}

fn says_hi() -> Response {
    sse(format!("{HI}{END}"))
}

fn hi() -> Vec<Result<ModelEvent, ModelError>> {
    vec![Ok(ModelEvent::Content("Hi".to_owned()))]
}

fn of_status(status: u16, kind: ModelErrorKind) -> ModelError {
    ModelError { status: Some(status), ..ModelError::new(kind, status.to_string()) }
}

async fn failure(model: &ChatCompletions) -> ModelError {
    model.call(&Asked::hi().request()).await.err().expect("the call fails")
}

#[rstest]
#[tokio::test]
async fn a_call_sends_the_translated_request(
    #[values(Dialect::OpenAiCompat, Dialect::Vllm, Dialect::LlamaCpp, Dialect::HfTgi)] dialect: Dialect,
) {
    let server = Server::start(|_| says_hi()).await;
    let model = ChatCompletions::new(dialect, &settings(server.endpoint())).unwrap();
    assert_eq!(events(model.call(&Asked::hi().request()).await.unwrap()).await, hi());
    let call = &server.calls()[0];
    assert_eq!(call.path, "/v1/chat/completions");
    assert_eq!(serde_json::from_slice::<Value>(&call.body).unwrap(), translate(&Asked::hi().request(), dialect));
    assert_eq!(call.headers[CONTENT_TYPE], "application/json");
    assert_eq!(call.headers[USER_AGENT], concat!("astromesh/", env!("CARGO_PKG_VERSION")));
    assert!(!call.headers.contains_key(AUTHORIZATION) && !call.headers.contains_key(PROXY_AUTHORIZATION));
}

#[rstest]
#[case::bearer(AuthScheme::Bearer, "authorization", "Bearer sk-1")]
#[case::header(AuthScheme::Header("X-Api-Key".to_owned()), "x-api-key", "sk-1")]
#[tokio::test]
async fn the_credential_goes_where_the_scheme_says(
    #[case] scheme: AuthScheme,
    #[case] header: &str,
    #[case] value: &str,
) {
    let server = Server::start(|_| says_hi()).await;
    let (model, _store) = model_with(server.endpoint(), scheme, Some("sk-1\n"));
    assert_eq!(events(model.call(&Asked::hi().request()).await.unwrap()).await, hi());
    let headers = &server.calls()[0].headers;
    assert_eq!(headers[header], value);
    assert_eq!(headers.values().filter(|value| value.to_str().is_ok_and(|text| text.contains("sk-1"))).count(), 1);
}

#[tokio::test]
async fn a_changed_credential_is_used_from_the_next_call_on() {
    let server = Server::start(|_| says_hi()).await;
    let (model, store) = model_with(server.endpoint(), AuthScheme::Bearer, Some("sk-1"));
    let _first: ModelStream = model.call(&Asked::hi().request()).await.unwrap();
    store.set(&key(), Some("sk-2".into()));
    let _second: ModelStream = model.call(&Asked::hi().request()).await.unwrap();
    store.set(&key(), None);
    let _third: ModelStream = model.call(&Asked::hi().request()).await.unwrap();
    let sent: Vec<_> = server.calls().iter().map(|call| call.headers[AUTHORIZATION].clone()).collect();
    assert_eq!(sent, ["Bearer sk-1", "Bearer sk-2", "Bearer sk-2"], "the last good one stays in use");
}

#[rstest]
#[case::missing(None, "credential missing")]
#[case::not_a_header_value(Some("sk\n1"), "credential is no header value")]
#[tokio::test]
async fn without_a_usable_credential_nothing_is_sent(#[case] value: Option<&str>, #[case] message: &str) {
    let server = Server::start(|_| says_hi()).await;
    let (model, _store) = model_with(server.endpoint(), AuthScheme::Bearer, value);
    assert_eq!(failure(&model).await, ModelError::new(ModelErrorKind::Unauthorized, message));
    assert_eq!(server.calls().len(), 0);
}

/// A directory with the credential in it, and a model that reads it there.
fn model_on_files(endpoint: String) -> (ChatCompletions, tempfile::TempDir) {
    let root = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(root.path().join("openai")).unwrap();
    std::fs::write(root.path().join("openai/api-key"), "old").unwrap();
    let secret = SecretStore::directory(root.path()).handle(&key());
    let auth = Some(AuthSettings { scheme: AuthScheme::Bearer, secret });
    (made(&ServerSettings { auth, ..settings(endpoint) }), root)
}

#[rstest]
#[case::changed_to_a_good_one("new", true, &["Bearer old", "Bearer new"])]
#[case::changed_to_another_bad_one("other", false, &["Bearer old", "Bearer other"])]
#[case::unchanged("old", false, &["Bearer old"])]
#[case::gone("", false, &["Bearer old"])]
#[tokio::test]
async fn a_refused_credential_is_tried_once_more_if_it_has_changed(
    #[case] on_disk: &str,
    #[case] succeeds: bool,
    #[case] sent: &[&str],
) {
    let server = Server::start(|call| {
        if call.headers[AUTHORIZATION] == "Bearer new" { says_hi() } else { StatusCode::UNAUTHORIZED.into_response() }
    })
    .await;
    let (model, root) = model_on_files(server.endpoint());
    std::fs::write(root.path().join("openai/api-key"), on_disk).unwrap();
    match model.call(&Asked::hi().request()).await {
        Ok(stream) => assert!(succeeds && events(stream).await == hi()),
        Err(error) => assert!(!succeeds && error == of_status(401, ModelErrorKind::Unauthorized), "{error}"),
    }
    let seen: Vec<_> = server.calls().iter().map(|call| call.headers[AUTHORIZATION].clone()).collect();
    assert_eq!(seen, sent);
}

#[tokio::test]
async fn a_credential_that_was_replaced_while_the_call_was_under_way_is_tried() {
    let store = SecretStore::in_memory();
    store.set(&key(), Some("old".into()));
    let secret = store.handle(&key());
    let server = Server::start(move |call| {
        if call.headers[AUTHORIZATION] == "Bearer new" {
            return says_hi();
        }
        store.set(&key(), Some("new".into()));
        StatusCode::UNAUTHORIZED.into_response()
    })
    .await;
    let auth = Some(AuthSettings { scheme: AuthScheme::Bearer, secret });
    let model = made(&ServerSettings { auth, ..settings(server.endpoint()) });
    assert_eq!(events(model.call(&Asked::hi().request()).await.unwrap()).await, hi());
    assert_eq!(server.calls().len(), 2);
}

#[rstest]
#[case(400, ModelErrorKind::Rejected, "400: the words")]
#[case(401, ModelErrorKind::Unauthorized, "401")]
#[case(404, ModelErrorKind::NotFound, "404")]
#[case(422, ModelErrorKind::Rejected, "422: the words")]
#[case(429, ModelErrorKind::RateLimited, "429")]
#[case(500, ModelErrorKind::Unavailable, "500")]
#[tokio::test]
async fn an_error_status_is_told(#[case] status: u16, #[case] kind: ModelErrorKind, #[case] message: &str) {
    let server = Server::start(move |_| {
        let body = json!({"error": {"message": "the words"}}).to_string();
        (StatusCode::from_u16(status).unwrap(), [(RETRY_AFTER, "7")], body).into_response()
    })
    .await;
    let (retry_after, status) = (Some(Duration::from_secs(7)), Some(status));
    let expected = ModelError { retry_after, status, ..ModelError::new(kind, message) };
    assert_eq!(failure(&model(server.endpoint())).await, expected);
    assert_eq!(server.calls().len(), 1, "retries are the router's");
}

#[tokio::test]
async fn an_error_without_an_end_is_told_without_waiting_for_it() {
    let server = Server::start(|_| {
        let endless = stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(1000)));
        (StatusCode::BAD_REQUEST, Body::from_stream(endless)).into_response()
    })
    .await;
    assert_eq!(failure(&model(server.endpoint())).await, of_status(400, ModelErrorKind::Rejected));
}

#[rstest]
#[case::as_a_status(StatusCode::BAD_REQUEST, "text/plain", r#"{"error": {"message": "no sk-topsecret here"}}"#)]
#[case::in_a_document(
    StatusCode::OK,
    "application/json",
    r#"{"error": {"code": 400, "message": "no sk-topsecret here"}}"#
)]
#[case::in_a_stream(
    StatusCode::OK,
    "text/event-stream",
    "data: {\"error\": {\"code\": 400, \"message\": \"no sk-topsecret here\"}}\n\n"
)]
#[tokio::test]
async fn a_credential_that_the_server_repeats_is_not_passed_on(
    #[case] status: StatusCode,
    #[case] content_type: &'static str,
    #[case] body: &'static str,
) {
    let server = Server::start(move |_| (status, [(CONTENT_TYPE, content_type)], body).into_response()).await;
    let (model, _store) = model_with(server.endpoint(), AuthScheme::Bearer, Some("sk-topsecret"));
    let error = match model.call(&Asked::hi().request()).await {
        Ok(stream) => events(stream).await.pop().unwrap().unwrap_err(),
        Err(error) => error,
    };
    assert_eq!((error.kind, error.message.as_str()), (ModelErrorKind::Rejected, "400: no [redacted] here"));
    assert!(!format!("{model:?}").contains("topsecret"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::start(|_| says_hi()).await;
    let location = format!("{}/v1/chat/completions", target.endpoint());
    let server =
        Server::start(move |_| (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location.clone())]).into_response()).await;
    let (model, _store) = model_with(server.endpoint(), AuthScheme::Bearer, Some("sk-1"));
    assert_eq!(failure(&model).await, of_status(307, ModelErrorKind::NotFound));
    assert_eq!(target.calls().len(), 0, "the credential went nowhere else");
}

#[tokio::test]
async fn a_server_that_answers_with_a_document_is_understood() {
    let server = Server::start(|_| {
        let body = json!({
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 1},
        });
        ([(CONTENT_TYPE, "application/json; charset=utf-8")], body.to_string()).into_response()
    })
    .await;
    let mut expected = hi();
    expected.push(Ok(ModelEvent::Tokens(Tokens { input: 3, output: 1, cached: 0 })));
    assert_eq!(events(model(server.endpoint()).call(&Asked::hi().request()).await.unwrap()).await, expected);
}

#[rstest]
#[case::an_error(r#"{"error": {"code": 503, "message": "busy"}}"#.to_owned(), ModelErrorKind::Unavailable, "503")]
#[case::not_json("<html>".to_owned(), ModelErrorKind::Malformed, "reply is not JSON")]
#[case::too_large("x".repeat(REPLY_BYTES_MAX + 1), ModelErrorKind::Malformed, "reply too large")]
#[tokio::test]
async fn a_document_that_is_no_reply_fails_the_call(
    #[case] body: String,
    #[case] kind: ModelErrorKind,
    #[case] message: &str,
) {
    let server = Server::start(move |_| ([(CONTENT_TYPE, "application/json")], body.clone()).into_response()).await;
    assert_eq!(failure(&model(server.endpoint())).await, ModelError::new(kind, message));
}

#[rstest]
#[case::no_content(StatusCode::NO_CONTENT, "", "empty reply")]
#[case::a_page(StatusCode::OK, "<html>\n", "reply is no event stream")]
#[tokio::test]
async fn a_stream_that_is_no_reply_ends_in_an_error(
    #[case] status: StatusCode,
    #[case] body: &'static str,
    #[case] message: &str,
) {
    let server = Server::start(move |_| (status, body).into_response()).await;
    let reply = events(model(server.endpoint()).call(&Asked::hi().request()).await.unwrap()).await;
    assert_eq!(reply, [Err(ModelError::new(ModelErrorKind::Malformed, message))]);
}

#[tokio::test]
async fn events_arrive_as_the_server_makes_them() {
    let (send, receive) = mpsc::unbounded_channel::<&'static str>();
    let receive = std::sync::Arc::new(std::sync::Mutex::new(Some(receive)));
    let server = Server::start(move |_| {
        let receive = receive.lock().unwrap().take().unwrap();
        sse(Body::from_stream(stream::unfold(receive, |mut receive| async move {
            receive.recv().await.map(|text| (Ok::<_, std::io::Error>(text), receive))
        })))
    })
    .await;
    send.send(HI).unwrap();
    let mut reply = model(server.endpoint()).call(&Asked::hi().request()).await.unwrap();
    // The server has not said more than this, so the event cannot have waited for anything.
    assert_eq!(reply.next().await, hi().pop());
    send.send(END).unwrap();
    assert_eq!(reply.next().await, None);
}

#[tokio::test]
async fn a_dropped_reply_closes_the_connection() {
    let (closed, mut seen) = mpsc::unbounded_channel::<()>();
    let (address, _tasks) = raw_server(move |mut socket| {
        let closed = closed.clone();
        async move {
            read_request(&mut socket).await;
            socket.write_all(chunked(HI).as_bytes()).await.unwrap();
            // Nothing more comes from the client until it closes.
            assert!(matches!(socket.read(&mut [0; 16]).await, Ok(0) | Err(_)));
            closed.send(()).unwrap();
        }
    })
    .await;
    let mut reply = model(format!("http://{address}")).call(&Asked::hi().request()).await.unwrap();
    assert_eq!(reply.next().await, hi().pop());
    drop(reply);
    seen.recv().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_ends_within_a_reply_is_a_cut() {
    let (address, _tasks) = raw_server(|mut socket| async move {
        read_request(&mut socket).await;
        socket.write_all(chunked(HI).as_bytes()).await.unwrap();
    })
    .await;
    let reply = events(model(format!("http://{address}")).call(&Asked::hi().request()).await.unwrap()).await;
    let cut = Err(ModelError::new(ModelErrorKind::Malformed, "stream cut off"));
    assert_eq!(reply, [hi().pop().unwrap(), cut]);
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_a_reset() {
    let (address, _tasks) = raw_server(|mut socket| async move { read_request(&mut socket).await }).await;
    let error = failure(&model(format!("http://{address}"))).await;
    assert_eq!(error, ModelError::new(ModelErrorKind::Unavailable, "connection reset"));
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_failed_connection() {
    let (address, _tasks) = raw_server(|mut socket| async move {
        read_request(&mut socket).await;
        socket.write_all(b"220 mail.example.com ESMTP\r\n\r\n").await.unwrap();
    })
    .await;
    let error = failure(&model(format!("http://{address}"))).await;
    assert_eq!(error, ModelError::new(ModelErrorKind::Unavailable, "connection failed"));
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses() {
    // Bound but not listening: nobody else can take the port meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = failure(&model(format!("http://{}", socket.local_addr().unwrap()))).await;
    assert_eq!(error, ModelError::new(ModelErrorKind::Unavailable, "connection refused"));
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_not_found() {
    // A label of more than 63 characters: no resolver has to be asked.
    let error = failure(&model(format!("http://{}.invalid", "x".repeat(64)))).await;
    assert_eq!(error, ModelError::new(ModelErrorKind::Unavailable, "name not found"));
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    let server = Server::start(|_| says_hi()).await;
    let error = failure(&model(format!("https://{}", server.address))).await;
    assert_eq!(error, ModelError::new(ModelErrorKind::Unavailable, "TLS failure"));
}

#[tokio::test]
async fn connecting_is_bounded() {
    // A queue of two that nobody empties: once it is full, the kernel leaves further connections without an answer.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = JoinSet::new();
    for _ in 0..8 {
        queued.spawn(TcpStream::connect(address));
    }
    let _first = queued.join_next().await.unwrap().unwrap().unwrap();
    let _second = queued.join_next().await.unwrap().unwrap().unwrap();
    let settings =
        ServerSettings { connect_timeout: Duration::from_millis(50), ..settings(format!("http://{address}")) };
    let error = failure(&made(&settings)).await;
    assert_eq!(error, ModelError::new(ModelErrorKind::Unavailable, "connect timeout"));
}

/// The answer's head and one piece of its body, which goes on.
fn chunked(piece: &str) -> String {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{:x}\r\n{piece}\r\n", piece.len())
}

/// Reads a request to its end, so that closing the socket is an orderly end.
async fn read_request(socket: &mut TcpStream) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = socket.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the client sends a whole request");
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse().unwrap() {
            return;
        }
    }
}
