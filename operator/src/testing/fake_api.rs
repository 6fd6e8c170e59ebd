//! An API server in memory: it merges applies, counts writes, and knows how to refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::merge;

/// The objects by path, and what has been written.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) objects: BTreeMap<String, Value>,
    /// The last part of each path that was written, in order.
    pub(crate) writes: Vec<String>,
    pub(crate) reads: usize,
    /// Paths that contain one of these are forbidden to write.
    pub(crate) forbidden: BTreeSet<&'static str>,
    /// These paths are forbidden to read.
    pub(crate) unreadable: BTreeSet<&'static str>,
    /// Writes of paths that contain one of these get this status and message.
    pub(crate) refused: BTreeMap<&'static str, (u16, &'static str)>,
    version: u64,
}

/// A handle on the fake; it ends with it.
pub(crate) struct FakeApi {
    pub(crate) client: Client,
    pub(crate) cluster: Arc<Mutex<Cluster>>,
    _server: JoinSet<()>,
}

impl FakeApi {
    pub(crate) async fn start() -> Self {
        // A second installation in the same process is refused, and just as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let cluster = Arc::new(Mutex::new(Cluster::default()));
        let router = Router::new().fallback(handle).with_state(Arc::clone(&cluster));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut config = Config::new(format!("http://{address}").parse().unwrap());
        config.default_retry = false;
        Self { client: Client::try_from(config).unwrap(), cluster, _server: server }
    }

    /// What has been written since the last call.
    pub(crate) fn take_writes(&self) -> Vec<String> {
        std::mem::take(&mut self.cluster.lock().unwrap().writes)
    }
}

async fn handle(
    State(cluster): State<Arc<Mutex<Cluster>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut cluster = cluster.lock().unwrap();
    let path = uri.path().to_owned();
    if method == Method::GET {
        cluster.reads += 1;
        if cluster.unreadable.contains(path.as_str()) {
            return failure(StatusCode::FORBIDDEN, "x is forbidden: User \"operator\" cannot get resource \"x\"");
        }
        return match cluster.objects.get(&path) {
            Some(object) => axum::Json(object.clone()).into_response(),
            None => failure(StatusCode::NOT_FOUND, "not found"),
        };
    }
    if cluster.forbidden.iter().any(|part| path.contains(part)) {
        return failure(StatusCode::FORBIDDEN, "x is forbidden: User \"operator\" cannot patch resource \"x\"");
    }
    if let Some((_, (code, message))) = cluster.refused.iter().find(|(part, _)| path.contains(*part)) {
        return failure(StatusCode::from_u16(*code).unwrap(), message);
    }
    cluster.version += 1;
    let version = cluster.version.to_string();
    let mut object = cluster.objects.get(&path).cloned().unwrap_or_else(|| json!({"metadata": {"uid": path}}));
    let applied = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/apply-patch"));
    merge(&mut object, &serde_json::from_slice(&body).unwrap(), applied);
    object["metadata"]["resourceVersion"] = json!(version);
    cluster.objects.insert(path.clone(), object.clone());
    cluster.writes.push(path.rsplit('/').nth(1).unwrap_or_default().to_owned());
    axum::Json(object).into_response()
}

fn failure(code: StatusCode, message: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code.as_u16(), "message": message,
        "reason": if code == StatusCode::NOT_FOUND { "NotFound" } else { "Forbidden" },
    });
    (code, axum::Json(status)).into_response()
}
