//! Model servers over real sockets, whatever protocol their bodies speak: TLS, headers, connections, lists of models.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_pod_core::model::{Model, ModelError, ModelErrorKind, ModelEvent};
use agent_pod_infra::http::TlsSettings;
use agent_pod_infra::model::chat_completions::{ChatCompletions, Dialect};
use agent_pod_infra::model::ollama::Ollama;
use agent_pod_infra::model::server::{AuthScheme, AuthSettings, LISTING_BYTES_MAX, ServerSettings};
use agent_pod_infra::secret::{SecretId, SecretStore};
use axum::http::StatusCode;
use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use axum::response::{IntoResponse as _, Response};
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rstest::rstest;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use secrecy::SecretString;
use support::{Asked, Server, events, install_crypto, raw_server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

const CHAT: &str =
    "data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}, \"finish_reason\": \"stop\"}]}\n\ndata: [DONE]\n\n";
const LINES: &str = "{\"message\": {\"content\": \"Hi\"}, \"done\": true}\n";

fn settings(endpoint: impl Into<String>) -> ServerSettings {
    install_crypto();
    ServerSettings {
        endpoint: endpoint.into(),
        auth: None,
        headers: Vec::new(),
        tls: None,
        connect_timeout: Duration::from_secs(60),
    }
}

fn secret(name: &str) -> SecretId {
    SecretId { name: name.to_owned(), key: "value".to_owned() }
}

/// Which adapter is meant.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    ChatCompletions,
    Ollama,
}

impl Kind {
    fn make(self, settings: &ServerSettings) -> Box<dyn Model> {
        match self {
            Self::ChatCompletions => Box::new(ChatCompletions::new(Dialect::OpenAiCompat, settings).unwrap()),
            Self::Ollama => Box::new(Ollama::new(settings).unwrap()),
        }
    }

    fn says_hi(self) -> Response {
        match self {
            Self::ChatCompletions => ([(CONTENT_TYPE, "text/event-stream")], CHAT).into_response(),
            Self::Ollama => ([(CONTENT_TYPE, "application/x-ndjson")], LINES).into_response(),
        }
    }
}

fn chat(settings: &ServerSettings) -> Box<dyn Model> {
    Kind::ChatCompletions.make(settings)
}

async fn reply(model: &dyn Model) -> Result<Vec<Result<ModelEvent, ModelError>>, ModelError> {
    Ok(events(model.call(&Asked::hi().request()).await?).await)
}

fn hi() -> Result<Vec<Result<ModelEvent, ModelError>>, ModelError> {
    Ok(vec![Ok(ModelEvent::Content("Hi".to_owned()))])
}

// --- headers and paths ---

#[rstest]
#[case::chat_completions(Kind::ChatCompletions, "/v1/chat/completions")]
#[case::ollama(Kind::Ollama, "/api/chat")]
#[tokio::test]
async fn a_call_goes_to_its_path_with_the_own_headers(#[case] kind: Kind, #[case] path: &str) {
    let server = Server::start(move |_| kind.says_hi()).await;
    let headers =
        vec![("OpenAI-Organization".to_owned(), "org-1".to_owned()), ("user-agent".to_owned(), "me".to_owned())];
    let model = kind.make(&ServerSettings { headers, ..settings(server.endpoint()) });
    assert_eq!(reply(&*model).await, hi());
    let call = &server.calls()[0];
    assert_eq!(call.path, path);
    assert_eq!(call.headers["openai-organization"], "org-1");
    assert_eq!(call.headers.get_all(USER_AGENT).iter().collect::<Vec<_>>(), ["me"]);
    assert_eq!(call.headers[HOST], server.address.to_string());
    assert_eq!(call.headers[CONTENT_TYPE], "application/json");
    assert!(!call.headers.contains_key(ACCEPT_ENCODING) && !call.headers.contains_key(AUTHORIZATION));
}

#[rstest]
#[case::no_scheme("api.openai.com", &[], "endpoint", "bad endpoint: not a URL; write it as `https://host[:port][/path]`")]
#[case::name("http://h", &[("X Key", "v")], "headers.X Key", "the header `X Key` cannot be sent: it is not the name of an HTTP header")]
#[case::value("http://h", &[("X-Key", "a\nb")], "headers.X-Key", "the header `X-Key` cannot be sent: its value holds characters that no header can")]
#[case::content_type("http://h", &[("content-type", "x")], "headers.content-type", "the header `content-type` cannot be sent: it is set by the agent itself")]
#[case::authorization("http://h", &[("Authorization", "x")], "headers.Authorization", "the header `Authorization` cannot be sent: it is set by the agent itself")]
#[case::host("http://h", &[("Host", "x")], "headers.Host", "the header `Host` cannot be sent: it is set by the agent itself")]
#[case::length("http://h", &[("Content-Length", "1")], "headers.Content-Length", "the header `Content-Length` cannot be sent: it is set by the agent itself")]
#[case::the_credentials("http://h", &[("X-Api-Key", "x")], "headers.X-Api-Key", "the header `X-Api-Key` cannot be sent: it is set by the agent itself")]
#[case::repeated("http://h", &[("X-A", "1"), ("x-a", "2")], "headers.x-a", "the header `x-a` cannot be sent: it is given twice")]
fn settings_that_make_no_server_name_the_field(
    #[case] endpoint: &str,
    #[case] headers: &[(&str, &str)],
    #[case] field: &str,
    #[case] message: &str,
) {
    let handle = SecretStore::in_memory().handle(&secret("key"));
    let settings = ServerSettings {
        auth: Some(AuthSettings { scheme: AuthScheme::Header("x-api-key".to_owned()), secret: handle }),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..settings(endpoint)
    };
    for error in
        [ChatCompletions::new(Dialect::OpenAiCompat, &settings).unwrap_err(), Ollama::new(&settings).unwrap_err()]
    {
        assert_eq!((error.field().as_str(), error.to_string().as_str()), (field, message));
    }
}

#[rstest]
#[case("X Key", "the header `X Key` cannot carry a credential: it is not the name of an HTTP header")]
#[case("Content-Length", "the header `Content-Length` cannot carry a credential: it is set by the agent itself")]
fn a_header_that_cannot_carry_a_credential_is_named(#[case] name: &str, #[case] message: &str) {
    let handle = SecretStore::in_memory().handle(&secret("key"));
    let auth = Some(AuthSettings { scheme: AuthScheme::Header(name.to_owned()), secret: handle });
    let error = Ollama::new(&ServerSettings { auth, ..settings("http://h") }).unwrap_err();
    assert_eq!((error.field().as_str(), error.to_string().as_str()), ("auth.header", message));
}

#[tokio::test]
async fn the_version_of_the_credential_changes_with_it() {
    let store = SecretStore::in_memory();
    let (key, ca) = (secret("key"), secret("ca"));
    let auth = Some(AuthSettings { scheme: AuthScheme::Bearer, secret: store.handle(&key) });
    let tls = Some(TlsSettings { ca: Some(store.handle(&ca)), insecure_skip_verify: false });
    let model = chat(&ServerSettings { auth, tls, ..settings("https://h") });
    let mut seen = vec![model.credential_version()];
    for (id, value) in [(&key, "1"), (&key, "2"), (&ca, "1"), (&ca, "2")] {
        store.set(id, Some(SecretString::from(value)));
        let version = model.credential_version();
        assert!(!seen.contains(&version), "changed with {id:?}");
        seen.push(version);
    }
    store.set(&key, None);
    assert_eq!(Some(&model.credential_version()), seen.last(), "the last good one is still in use");
}

// --- lists of models ---

#[rstest]
#[case::chat_completions(Kind::ChatCompletions, "/v1/models", r#"{"data": [{"id": "b"}, {"id": "a"}]}"#)]
#[case::ollama(Kind::Ollama, "/api/tags", r#"{"models": [{"name": "b"}, {"name": "a"}]}"#)]
#[tokio::test]
async fn the_models_of_a_server_are_listed(#[case] kind: Kind, #[case] path: &str, #[case] body: &'static str) {
    let server = Server::start(move |_| body.into_response()).await;
    let store = SecretStore::in_memory();
    store.set(&secret("key"), Some("sk-1".into()));
    let auth = Some(AuthSettings { scheme: AuthScheme::Bearer, secret: store.handle(&secret("key")) });
    let headers = vec![("X-Own".to_owned(), "1".to_owned())];
    let model = kind.make(&ServerSettings { auth, headers, ..settings(server.endpoint()) });
    assert_eq!(model.models().await.unwrap(), ["a", "b"]);
    let call = &server.calls()[0];
    assert_eq!((call.path.as_str(), call.body.len()), (path, 0));
    assert_eq!(
        (&call.headers[AUTHORIZATION], &call.headers["x-own"]),
        (&"Bearer sk-1".parse().unwrap(), &"1".parse().unwrap())
    );
}

#[rstest]
#[case::none(404, String::new(), ModelErrorKind::NotFound, "404")]
#[case::refused(401, String::new(), ModelErrorKind::Unauthorized, "401")]
#[case::not_json(200, "<html>".to_owned(), ModelErrorKind::Malformed, "list of models is not JSON")]
#[case::too_large(200, "x".repeat(LISTING_BYTES_MAX + 1), ModelErrorKind::Malformed, "reply too large")]
#[tokio::test]
async fn a_list_that_is_none_says_why(
    #[case] status: u16,
    #[case] body: String,
    #[case] kind: ModelErrorKind,
    #[case] message: &str,
) {
    let server = Server::start(move |_| (StatusCode::from_u16(status).unwrap(), body.clone()).into_response()).await;
    let error = chat(&settings(server.endpoint())).models().await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (kind, message));
    assert_eq!(error.status, (status != 200).then_some(status), "an answer that says no");
}

// --- TLS ---

/// A certificate authority of its own.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server of 127.0.0.1 with a certificate of this authority; answers one request per connection.
async fn tls_server(authority: &CertifiedIssuer<'static, KeyPair>) -> (String, tokio::task::JoinSet<()>) {
    install_crypto();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (address, tasks) = raw_server(move |socket| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(socket).await else { return };
            let mut head = [0; 4096];
            let _read: usize = stream.read(&mut head).await.unwrap();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{CHAT}",
                CHAT.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    (format!("https://{address}"), tasks)
}

fn with_tls(endpoint: &str, tls: TlsSettings) -> Box<dyn Model> {
    chat(&ServerSettings { tls: Some(tls), ..settings(endpoint) })
}

fn tls_failure() -> Result<Vec<Result<ModelEvent, ModelError>>, ModelError> {
    Err(ModelError::new(ModelErrorKind::Unavailable, "TLS failure"))
}

#[tokio::test]
async fn a_server_is_believed_by_its_own_authority_alone() {
    let (ours, other) = (authority(), authority());
    let (endpoint, _tasks) = tls_server(&ours).await;
    let store = SecretStore::in_memory();
    let ca = secret("ca");
    let model = with_tls(&endpoint, TlsSettings { ca: Some(store.handle(&ca)), insecure_skip_verify: false });
    let missing = ModelError::new(ModelErrorKind::Unauthorized, "CA certificates missing");
    assert_eq!(reply(&*model).await, Err(missing));
    store.set(&ca, Some("no certificate".into()));
    let not_pem = ModelError::new(ModelErrorKind::Unauthorized, "CA certificates are not PEM");
    assert_eq!(reply(&*model).await, Err(not_pem));
    store.set(&ca, Some(other.pem().into()));
    assert_eq!(reply(&*model).await, tls_failure());
    // Each change is seen by the next call; several certificates may stand in one file.
    store.set(&ca, Some(format!("{}{}", other.pem(), ours.pem()).into()));
    assert_eq!(reply(&*model).await, hi());
    store.set(&ca, Some(other.pem().into()));
    assert_eq!(reply(&*model).await, tls_failure());
}

#[tokio::test]
async fn the_systems_authorities_do_not_believe_a_stranger_and_skipping_does() {
    let (endpoint, _tasks) = tls_server(&authority()).await;
    assert_eq!(reply(&*chat(&settings(endpoint.clone()))).await, tls_failure());
    let model = with_tls(&endpoint, TlsSettings { ca: None, insecure_skip_verify: true });
    assert_eq!(reply(&*model).await, hi());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let ours = authority();
    let (endpoint, _tasks) = tls_server(&ours).await;
    let store = SecretStore::in_memory();
    store.set(&secret("ca"), Some(ours.pem().into()));
    let tls = TlsSettings { ca: Some(store.handle(&secret("ca"))), insecure_skip_verify: false };
    let model = with_tls(&endpoint.replace("127.0.0.1", "localhost"), tls);
    assert_eq!(reply(&*model).await, tls_failure());
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_a_connect_timeout() {
    let (address, _tasks) = raw_server(|mut socket| async move {
        let mut bytes = [0; 4096];
        while socket.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let settings =
        ServerSettings { connect_timeout: Duration::from_millis(50), ..settings(format!("https://{address}")) };
    let expected = ModelError::new(ModelErrorKind::Unavailable, "connect timeout");
    assert_eq!(reply(&*chat(&settings)).await, Err(expected));
}

// --- connections ---

/// A server that keeps connections open, and tells each connection and each request.
async fn keeping(requests: usize) -> (String, mpsc::UnboundedReceiver<&'static str>, tokio::task::JoinSet<()>) {
    let (tell, told) = mpsc::unbounded_channel();
    let (address, tasks) = raw_server(move |mut socket| {
        let tell = tell.clone();
        async move {
            tell.send("connection").unwrap();
            for _ in 0..requests {
                if read_request(&mut socket).await.is_none() {
                    return;
                }
                tell.send("request").unwrap();
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
                let answer = format!("{head}content-length: {}\r\n\r\n{CHAT}", CHAT.len());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
            drop(socket);
            tell.send("closed").unwrap();
        }
    })
    .await;
    (format!("http://{address}"), told, tasks)
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_whole_reply() {
    let (endpoint, mut told, _tasks) = keeping(3).await;
    let model = chat(&settings(endpoint));
    for _ in 0..3 {
        assert_eq!(reply(&*model).await, hi());
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&"closed") {
        seen.push(told.recv().await.unwrap());
    }
    assert_eq!(seen, ["connection", "request", "request", "request", "closed"]);
}

#[tokio::test]
async fn a_connection_that_the_server_has_closed_meanwhile_is_no_failure() {
    let (endpoint, mut told, _tasks) = keeping(1).await;
    let model = chat(&settings(endpoint));
    for _ in 0..5 {
        assert_eq!(reply(&*model).await, hi());
        while told.recv().await.unwrap() != "closed" {}
        // The end of the connection is there; a turn of the reactor hands it to whoever waits for it.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
}

/// Where a call stands when its caller goes away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    BeforeTheHead,
    BeforeTheFirstToken,
    WithinTheReply,
}

#[rstest]
#[tokio::test]
async fn a_call_that_is_dropped_closes_its_connection(
    #[values(Phase::BeforeTheHead, Phase::BeforeTheFirstToken, Phase::WithinTheReply)] phase: Phase,
) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (address, _tasks) = raw_server(move |mut socket| {
        let tell = tell.clone();
        async move {
            read_request(&mut socket).await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunk = "data: {\"choices\": [{\"delta\": {\"content\": \"Hi\"}}]}\n\n";
            match phase {
                Phase::BeforeTheHead => {}
                Phase::BeforeTheFirstToken => socket.write_all(head.as_bytes()).await.unwrap(),
                Phase::WithinTheReply => {
                    let answer = format!("{head}{:x}\r\n{chunk}\r\n", chunk.len());
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            }
            tell.send(Instant::now()).unwrap();
            assert!(matches!(socket.read(&mut [0; 16]).await, Ok(0) | Err(_)));
            tell.send(Instant::now()).unwrap();
        }
    })
    .await;
    let model = chat(&settings(format!("http://{address}")));
    let asked = Asked::hi();
    let request = asked.request();
    let mut call = model.call(&request);
    let dropped = match phase {
        Phase::BeforeTheHead => {
            tokio::select! {
                _ = &mut call => panic!("there is no answer"),
                _ = told.recv() => {}
            }
            drop(call);
            Instant::now()
        }
        Phase::BeforeTheFirstToken => {
            drop(call.await.unwrap());
            let _answered = told.recv().await.unwrap();
            Instant::now()
        }
        Phase::WithinTheReply => {
            let mut stream = call.await.unwrap();
            let first = futures::StreamExt::next(&mut stream).await;
            assert_eq!(first, Some(Ok(ModelEvent::Content("Hi".to_owned()))));
            let _answered = told.recv().await.unwrap();
            drop(stream);
            Instant::now()
        }
    };
    let closed = told.recv().await.unwrap();
    assert!(closed.saturating_duration_since(dropped) < Duration::from_millis(100), "it takes no time");
}

/// Reads one request; `None` when the client has gone.
async fn read_request(socket: &mut TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() >= length.parse().unwrap() {
            return Some(());
        }
    }
}
