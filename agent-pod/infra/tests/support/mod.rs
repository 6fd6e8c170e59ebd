//! A model server of one route on a port of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Once};

use agent_pod_core::model::{ModelError, ModelEvent};
use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::StreamExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A call that has come in.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A server that records its calls; it stops when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Answers each call with what `answer` makes of it.
    pub(crate) async fn start(answer: impl Fn(&Call) -> Response + Clone + Send + Sync + 'static) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&calls);
        let handler = move |request: Request| async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let call = Call { path: parts.uri.to_string(), headers: parts.headers, body };
            recorded.lock().unwrap().push(call.clone());
            answer(&call)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await.unwrap() });
        Self { address, calls, _tasks: tasks }
    }

    /// Its endpoint, without a path.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

/// A server that hands each connection to `serve`, for answers that no HTTP library would give.
pub(crate) async fn raw_server<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            serve(listener.accept().await.unwrap().0).await;
        }
    });
    (address, tasks)
}

/// What every binary does first.
pub(crate) fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| rustls::crypto::ring::default_provider().install_default().expect("nobody else installs one"));
}

/// All events of a reply.
pub(crate) async fn events(stream: agent_pod_core::model::ModelStream) -> Vec<Result<ModelEvent, ModelError>> {
    stream.collect().await
}
