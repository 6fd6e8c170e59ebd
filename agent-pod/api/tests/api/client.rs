//! Callers: of the router itself, and over a real socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agent_pod_api::{ApiState, router};
use agent_pod_core::service::AgentService;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub(crate) const VERSION: &str = "1.2.3";

/// Far above what anything here takes, so that only a hang ends by it.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it comes before the deadline")
}

pub(crate) fn state(agents: Arc<dyn AgentService>) -> ApiState {
    ApiState::new(agents, VERSION, CancellationToken::new())
}

/// An answer that has been read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The status and the error's code.
    pub(crate) fn failure(&self) -> (u16, String) {
        let body = self.json();
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "a message in {body}");
        (self.status.as_u16(), body["error"]["code"].as_str().expect("a code").to_owned())
    }
}

pub(crate) async fn send(router: Router, request: Request<Body>) -> Response<Body> {
    within(router.oneshot(request)).await.expect("routers do not fail")
}

pub(crate) async fn ask(router: Router, request: Request<Body>) -> Answer {
    let (parts, body) = send(router, request).await.into_parts();
    let bytes = within(to_bytes(body, usize::MAX)).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}

/// Asks the public port.
pub(crate) async fn call(agents: &Arc<impl AgentService + 'static>, request: Request<Body>) -> Answer {
    ask(router(state(Arc::clone(agents) as Arc<dyn AgentService>)), request).await
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

pub(crate) fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).header("content-type", "application/json").body(body.into()).unwrap()
}

/// The same request as it comes from `peer`.
pub(crate) fn from_peer(mut request: Request<Body>, peer: &str) -> Request<Body> {
    let address: SocketAddr = peer.parse().expect("an address with a port");
    request.extensions_mut().insert(ConnectInfo(address));
    request
}

pub(crate) fn with_header(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

/// The public port on a real socket; ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(state: ApiState) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
            axum::serve(listener, service).await.unwrap();
        });
        Self { address, _serving: serving }
    }

    pub(crate) async fn socket(&self, path: &str) -> Client {
        let (socket, _response) = within(connect_async(format!("ws://{}{path}", self.address))).await.unwrap();
        Client(socket)
    }
}

/// A WebSocket client.
pub(crate) struct Client(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub(crate) async fn say(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            match within(self.0.next()).await.expect("the socket is open").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                frame @ (Message::Binary(_) | Message::Close(_) | Message::Frame(_)) => panic!("unexpected {frame:?}"),
            }
        }
    }

    /// The code with which the server closes.
    pub(crate) async fn hear_close(&mut self) -> u16 {
        loop {
            match within(self.0.next()).await.expect("a close frame comes first").unwrap() {
                Message::Close(frame) => return frame.expect("a code").code.into(),
                Message::Ping(_) | Message::Pong(_) => {}
                frame @ (Message::Text(_) | Message::Binary(_) | Message::Frame(_)) => panic!("unexpected {frame:?}"),
            }
        }
    }
}
