//! A model server that does what a test says.

mod reply;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::settings;

/// How a server answers.
#[derive(Clone, Debug)]
pub enum Script {
    /// With the system prompt of the call, so that an answer tells which prompt it was made with.
    EchoSystem,
    /// With the system prompt to calls with this bearer credential, with 401 to others.
    EchoSystemFor(&'static str),
    /// With these pieces, each sent when the test releases it.
    Gated(Vec<&'static str>),
}

/// One call as the server has seen it.
#[derive(Clone, Debug)]
pub struct ModelCall {
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// The messages.
    pub messages: Value,
}

impl ModelCall {
    /// The content of the first message of a role.
    #[must_use]
    pub fn content_of(&self, role: &str) -> &str {
        let messages = self.messages.as_array().map(Vec::as_slice).unwrap_or_default();
        let found = messages.iter().find(|message| message["role"] == role);
        found.and_then(|message| message["content"].as_str()).unwrap_or_default()
    }
}

/// Speaks OpenAI's chat completions API, always as a stream, on an address that pods reach.
pub struct ScriptedLlm {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Dropping it ends the server.
    _tasks: JoinSet<()>,
}

struct Shared {
    script: Script,
    calls: Mutex<Vec<ModelCall>>,
    gate: Arc<Semaphore>,
    hung_up: watch::Sender<usize>,
}

impl ScriptedLlm {
    /// Starts a server.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(script: Script) -> anyhow::Result<Self> {
        let host = settings::host()?;
        let listener = TcpListener::bind((host, 0)).await.with_context(|| format!("cannot listen on {host}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            script,
            calls: Mutex::default(),
            gate: Arc::new(Semaphore::new(0)),
            hung_up: watch::Sender::new(0),
        });
        let router = Router::new().route("/v1/chat/completions", post(complete)).with_state(Arc::clone(&shared));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // It ends with the test; a socket that breaks before shows in the test's calls.
            drop(axum::serve(listener, router).await);
        });
        Ok(Self { address, shared, _tasks: tasks })
    }

    /// The endpoint for a Provider.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<ModelCall> {
        self.shared.calls().clone()
    }

    /// The newest call.
    #[must_use]
    pub fn last_call(&self) -> Option<ModelCall> {
        self.shared.calls().last().cloned()
    }

    /// Lets a gated server send its next `count` pieces.
    pub fn release(&self, count: usize) {
        self.shared.gate.add_permits(count);
    }

    /// Waits until a caller has hung up in the middle of an answer.
    ///
    /// # Errors
    /// When nobody does `within` this time.
    pub async fn hung_up(&self, within: Duration) -> anyhow::Result<()> {
        let mut count = self.shared.hung_up.subscribe();
        let waited = tokio::time::timeout(within, count.wait_for(|count| *count > 0)).await;
        waited.with_context(|| format!("nobody hung up within {within:?}"))??;
        Ok(())
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Vec<ModelCall>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn complete(State(shared): State<Arc<Shared>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let call = ModelCall { authorization, messages: body["messages"].clone() };
    shared.calls().push(call.clone());
    let echo = || {
        let pieces = call.content_of("system").split_inclusive(' ').map(str::to_owned).collect();
        reply::stream(pieces, None, shared.hung_up.clone())
    };
    match &shared.script {
        Script::EchoSystem => echo(),
        Script::EchoSystemFor(key) if call.authorization == Some(format!("Bearer {key}")) => echo(),
        Script::EchoSystemFor(_key) => reply::unauthorized(),
        Script::Gated(pieces) => {
            let pieces = pieces.iter().map(|piece| (*piece).to_owned()).collect();
            reply::stream(pieces, Some(Arc::clone(&shared.gate)), shared.hung_up.clone())
        }
    }
}
