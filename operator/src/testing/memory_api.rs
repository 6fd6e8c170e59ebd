//! An API server without sockets, for paused time: versions and conflicts as the real one has them, and as late as a test
//! wants. What has been sent is carried out, whether or not the sender still waits for the answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use futures::stream;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::merge;

/// A request as the rules of a test see it.
pub(crate) struct Call<'a> {
    pub(crate) by: &'a str,
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    /// Since the API server was started.
    pub(crate) at: Duration,
}

impl Call<'_> {
    pub(crate) fn is_of_lease(&self) -> bool {
        self.path.contains("/leases")
    }
}

/// How long a request is on its way, and its answer.
type Delays = Box<dyn Fn(&Call<'_>) -> (Duration, Duration) + Send>;

/// A write that has been carried out.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) by: String,
    pub(crate) path: String,
    pub(crate) version: u64,
    pub(crate) at: Duration,
}

struct Inner {
    started: Instant,
    objects: BTreeMap<String, Value>,
    written: Vec<Written>,
    version: u64,
    /// Whether the owners of what is there are not to be changed.
    owners_forbidden: bool,
    delays: Delays,
    /// The collections that are watched, and by whom.
    watches: Vec<(String, mpsc::UnboundedSender<String>)>,
    calls: JoinSet<()>,
}

#[derive(Clone)]
pub(crate) struct MemoryApi(Arc<Mutex<Inner>>);

impl MemoryApi {
    /// One that answers at once.
    pub(crate) fn start() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            started: Instant::now(),
            objects: BTreeMap::new(),
            written: Vec::new(),
            version: 0,
            owners_forbidden: false,
            delays: Box::new(|_call| Default::default()),
            watches: Vec::new(),
            calls: JoinSet::new(),
        })))
    }

    pub(crate) fn delay(&self, delays: impl Fn(&Call<'_>) -> (Duration, Duration) + Send + 'static) {
        self.0.lock().unwrap().delays = Box::new(delays);
    }

    /// As the admission plug-in `OwnerReferencesPermissionEnforcement` does with whoever may not delete.
    pub(crate) fn forbid_owners(&self) {
        self.0.lock().unwrap().owners_forbidden = true;
    }

    pub(crate) fn put(&self, path: &str, object: Value) {
        let mut inner = self.0.lock().unwrap();
        inner.store(path, object);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    pub(crate) fn object(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }

    /// What has been written, but for leases.
    pub(crate) fn written(&self) -> Vec<Written> {
        self.0.lock().unwrap().written.iter().filter(|it| !it.path.contains("/leases")).cloned().collect()
    }

    pub(crate) fn now(&self) -> Duration {
        self.0.lock().unwrap().started.elapsed()
    }

    /// The client of one process.
    pub(crate) fn client(&self, by: &str) -> Client {
        let (api, by) = (self.clone(), by.to_owned());
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let answer = api.carry_out(by.clone(), request);
            async move { answer.await.map_err(std::io::Error::other) }
        });
        Client::new(service, "default")
    }

    fn carry_out(&self, by: String, request: Request<kube::client::Body>) -> oneshot::Receiver<Response<Body>> {
        let (sender, receiver) = oneshot::channel();
        let (parts, body) = request.into_parts();
        let api = self.clone();
        let mut inner = self.0.lock().unwrap();
        let call = Call { by: &by, method: &parts.method, path: parts.uri.path(), at: inner.started.elapsed() };
        let (before, after) = (inner.delays)(&call);
        while inner.calls.try_join_next().is_some() {}
        inner.calls.spawn(async move {
            let body = body.collect_bytes().await.unwrap();
            sleep(before).await;
            let watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
            let response = if watch {
                Response::new(api.0.lock().unwrap().watch(parts.uri.path()))
            } else {
                let (code, value) = api.0.lock().unwrap().answer(&by, &parts.method, parts.uri.path(), &body);
                let body = Body::from(value.to_string());
                Response::builder().status(code).body(body).unwrap()
            };
            sleep(after).await;
            drop(sender.send(response));
        });
        receiver
    }
}

impl Inner {
    fn answer(&mut self, by: &str, method: &Method, path: &str, body: &[u8]) -> (StatusCode, Value) {
        let failure = |code: StatusCode, reason: &str| {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "code": code.as_u16(), "reason": reason, "message": reason,
            });
            (code, status)
        };
        if *method == Method::GET {
            return match self.objects.get(path) {
                Some(object) => (StatusCode::OK, object.clone()),
                None if is_collection(path) => (StatusCode::OK, self.list(path)),
                None => failure(StatusCode::NOT_FOUND, "NotFound"),
            };
        }
        let mut sent: Value = serde_json::from_slice(body).unwrap();
        let path = match method {
            &Method::POST => format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap_or("generated")),
            _ => path.to_owned(),
        };
        let held = self.objects.get(&path).cloned();
        match (method, &held) {
            (&Method::POST, Some(_)) => return failure(StatusCode::CONFLICT, "AlreadyExists"),
            (&Method::PUT, None) => return failure(StatusCode::NOT_FOUND, "NotFound"),
            (&Method::PUT, Some(held)) => {
                if held["metadata"]["resourceVersion"] != sent["metadata"]["resourceVersion"] {
                    return failure(StatusCode::CONFLICT, "Conflict");
                }
                let owners = |object: &Value| object["metadata"]["ownerReferences"].clone();
                if self.owners_forbidden && owners(held) != owners(&sent) {
                    return failure(StatusCode::FORBIDDEN, "Forbidden");
                }
            }
            (&Method::PATCH, _) => {
                let mut merged = held.unwrap_or_else(|| json!({"metadata": {"uid": path}}));
                merge(&mut merged, &sent, true);
                sent = merged;
            }
            _ => {}
        }
        let sent = self.store(&path, sent);
        let at = self.started.elapsed();
        self.written.push(Written { by: by.to_owned(), path, version: self.version, at });
        (StatusCode::OK, sent)
    }

    /// Stores an object as a new version and tells those who watch.
    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let known = self.objects.insert(path.to_owned(), object.clone()).is_some();
        let event = json!({"type": if known { "MODIFIED" } else { "ADDED" }, "object": object});
        self.watches
            .retain(|(collection, watcher)| !is_of(path, collection) || watcher.send(format!("{event}\n")).is_ok());
        object
    }

    fn list(&self, path: &str) -> Value {
        let items: Vec<_> =
            self.objects.iter().filter(|(found, _)| is_of(found, path)).map(|(_, it)| it.clone()).collect();
        json!({"metadata": {"resourceVersion": self.version.to_string()}, "items": items})
    }

    fn watch(&mut self, path: &str) -> Body {
        let (sender, events) = mpsc::unbounded_channel();
        self.watches.push((path.to_owned(), sender));
        Body::from_stream(stream::unfold(events, |mut events| async move {
            events.recv().await.map(|event| (Ok::<_, std::io::Error>(event), events))
        }))
    }
}

/// Whether an object is of a collection, in one namespace or in all.
fn is_of(object: &str, collection: &str) -> bool {
    let plural = collection.rsplit('/').next().unwrap_or_default();
    let root = collection.trim_end_matches(plural);
    object.starts_with(root) && object.rsplit('/').nth(1) == Some(plural)
}

fn is_collection(path: &str) -> bool {
    const PLURALS: [&str; 9] = [
        "agents",
        "providers",
        "pods",
        "namespaces",
        "configmaps",
        "serviceaccounts",
        "services",
        "persistentvolumeclaims",
        "deployments",
    ];
    path.rsplit('/').next().is_some_and(|last| PLURALS.contains(&last))
}
