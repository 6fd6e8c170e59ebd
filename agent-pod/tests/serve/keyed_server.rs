//! A server that takes one key and refuses all others, and a pod whose agents call it with keys from mounted Secrets.

use std::fs;
use std::sync::{Arc, Mutex};

use agent_pod_config::{ConfigMaps, NamespaceLabels, Resources, compile};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::Pod;
use crate::mounted::Volume;
use crate::tokens::trust;

/// What the server knows.
#[derive(Clone, Debug)]
struct Shared {
    key: Arc<Mutex<String>>,
    /// Statuses of its answers, in order.
    answered: Arc<Mutex<Vec<u16>>>,
    refusal: StatusCode,
}

/// A model server and a web service in one; it ends when it is dropped.
pub(crate) struct KeyedServer {
    pub(crate) url: String,
    shared: Shared,
    _task: JoinSet<()>,
}

impl KeyedServer {
    pub(crate) async fn start(key: &str) -> Self {
        Self::refusing_with(key, StatusCode::UNAUTHORIZED).await
    }

    pub(crate) async fn refusing_with(key: &str, refusal: StatusCode) -> Self {
        let shared = Shared { key: Arc::new(Mutex::new(key.to_owned())), answered: Arc::default(), refusal };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/tool", post(carry_out))
            .with_state(shared.clone());
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, _task: task }
    }

    /// From now on only this key is taken.
    pub(crate) fn take_only(&self, key: &str) {
        *self.shared.key.lock().unwrap() = key.to_owned();
    }

    pub(crate) fn answered(&self) -> Vec<u16> {
        self.shared.answered.lock().unwrap().clone()
    }
}

impl Shared {
    /// Refuses who has not the key.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Response> {
        let admitted = headers["authorization"] == format!("Bearer {}", self.key.lock().unwrap());
        let status = if admitted { StatusCode::OK } else { self.refusal };
        self.answered.lock().unwrap().push(status.as_u16());
        if admitted { Ok(()) } else { Err(self.refusal.into_response()) }
    }
}

/// Asks for the tool if there is one, then says its result; else says hello.
async fn complete(State(shared): State<Shared>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    // With a tool the key is that tool's.
    if body["tools"].is_null()
        && let Err(refusal) = shared.admit(&headers)
    {
        return refusal;
    }
    let last = body["messages"].as_array().unwrap().last().unwrap();
    let message = if body["tools"].is_array() && last["role"] != "tool" {
        let call = json!({"id": "c1", "type": "function", "function": {"name": "order", "arguments": "{}"}});
        json!({"role": "assistant", "tool_calls": [call]})
    } else {
        let said = if last["role"] == "tool" { last["content"].clone() } else { json!("hello") };
        json!({"role": "assistant", "content": said})
    };
    Json(json!({"choices": [{"message": message, "finish_reason": "stop"}]})).into_response()
}

async fn carry_out(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    shared.admit(&headers).err().unwrap_or_else(|| "shipped".into_response())
}

/// The document of the agent `support` with these candidates, and more of its spec.
pub(crate) fn document(candidates: &[(&str, &KeyedServer)], more: Value) -> Vec<u8> {
    let named: Vec<_> = candidates.iter().map(|(name, _)| json!({"providerRef": {"name": name}})).collect();
    let mut spec = json!({"model": {"candidates": named}, "prompts": {"system": "x"}, "access": {"mode": "none"}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let agent = serde_json::from_value(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "support", "namespace": "shop"},
        "spec": spec,
    }))
    .unwrap();
    let provider = |(name, server): &(&str, &KeyedServer)| {
        serde_json::from_value(json!({
            "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"type": "openai_compat", "endpoint": format!("{}/v1", server.url), "models": [{"name": "m"}],
                     "auth": {"secretKeyRef": {"name": "keys", "key": name}}},
        }))
        .unwrap()
    };
    let providers: Vec<_> = candidates.iter().map(provider).collect();
    compile(Resources {
        agents: &[&agent],
        providers: &providers.iter().collect::<Vec<_>>(),
        peers: &[],
        namespaces: &NamespaceLabels::new(),
        config_maps: &ConfigMaps::new(),
    })
    .document
    .to_bytes()
}

/// A pod on mounted files.
pub(crate) struct Mounts {
    pub(crate) pod: Pod,
    pub(crate) config: Volume,
    pub(crate) secret: Volume,
    _folder: TempDir,
}

impl Mounts {
    /// With this document, the operator's address if there is one, and these keys of the Secret `keys`.
    pub(crate) async fn start(document: &[u8], operator: Option<&str>, keys: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secrets = folder.path().join("secrets");
        fs::create_dir(&secrets).unwrap();
        let address = operator.map(|url| json!({"attention": url}).to_string());
        let trust = trust();
        let mut files = vec![("document.json", document), ("trust.json", &*trust)];
        files.extend(address.as_ref().map(|address| ("operator.json", address.as_bytes())));
        let config = Volume::new(&folder.path().join("config"), &files);
        let secret = Volume::new(&secrets.join("keys"), keys);
        let (document, trust) = (config.file("document.json"), config.file("trust.json"));
        let arguments = ["--document", &document, "--trust", &trust, "--secrets-dir", secrets.to_str().unwrap()];
        let pod = Pod::start(&arguments, &[("HOSTNAME", "support-agent-0")]).await;
        pod.await_state("the document", |state| state["revision"].is_string()).await;
        Self { pod, config, secret, _folder: folder }
    }

    /// Status and body of a run.
    pub(crate) async fn run(&self, body: Value) -> (u16, Value) {
        let response = self.pod.ask("support", &body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}
