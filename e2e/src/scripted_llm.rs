//! A model server that does what a test says.

mod reply;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
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
    /// With a call of the first tool that is offered, and with its result once it is there; without tools as `EchoSystem`.
    Delegating,
    /// With this status and no content; the list of models is there all the same.
    Failing(u16),
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

    /// The result of a tool, if that is the newest message.
    #[must_use]
    pub fn newest_result(&self) -> Option<&str> {
        let newest = self.messages.as_array()?.last().filter(|message| message["role"] == "tool")?;
        newest["content"].as_str()
    }
}

/// Speaks OpenAI's chat completions API, always as a stream, on an address that pods reach.
pub struct ScriptedLlm {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Dropping it ends the server.
    tasks: JoinSet<()>,
}

struct Shared {
    script: Mutex<Script>,
    models: Mutex<Vec<&'static str>>,
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
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            models: Mutex::new(vec!["scripted"]),
            calls: Mutex::default(),
            gate: Arc::new(Semaphore::new(0)),
            hung_up: watch::Sender::new(0),
        });
        let mut server = Self { address: SocketAddr::new(host, 0), shared, tasks: JoinSet::new() };
        server.start_again().await?;
        Ok(server)
    }

    /// Stops listening and ends every connection.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Listens again, on the same address as before.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await;
        let listener = listener.with_context(|| format!("cannot listen on {}", self.address))?;
        self.address = listener.local_addr()?;
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models", get(models))
            .with_state(Arc::clone(&self.shared));
        self.tasks.spawn(async move {
            // It ends with the test; a socket that breaks before shows in the test's calls.
            drop(axum::serve(listener, router).await);
        });
        Ok(())
    }

    /// Answers by another script from now on.
    pub fn set_script(&self, script: Script) {
        *of(&self.shared.script) = script;
    }

    /// Lists these models from now on; at first it is `scripted` alone.
    pub fn set_models(&self, models: &[&'static str]) {
        *of(&self.shared.models) = models.to_vec();
    }

    /// The endpoint for a Provider.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<ModelCall> {
        of(&self.shared.calls).clone()
    }

    /// The newest call.
    #[must_use]
    pub fn last_call(&self) -> Option<ModelCall> {
        of(&self.shared.calls).last().cloned()
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

/// What a mutex guards, whoever has panicked meanwhile.
fn of<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn authorization(headers: &HeaderMap) -> Option<String> {
    headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Lists the models, to whom a call would be answered.
async fn models(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if let Script::EchoSystemFor(key) = *of(&shared.script)
        && authorization(&headers) != Some(format!("Bearer {key}"))
    {
        return reply::unauthorized();
    }
    reply::models(&of(&shared.models))
}

async fn complete(State(shared): State<Arc<Shared>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let call = ModelCall { authorization: authorization(&headers), messages: body["messages"].clone() };
    of(&shared.calls).push(call.clone());
    let echo = || {
        let pieces = call.content_of("system").split_inclusive(' ').map(str::to_owned).collect();
        reply::stream(pieces, None, shared.hung_up.clone())
    };
    let script = of(&shared.script).clone();
    match script {
        Script::EchoSystem => echo(),
        Script::Failing(status) => reply::failure(status),
        Script::Delegating => match (call.newest_result(), body["tools"][0]["function"]["name"].as_str()) {
            (Some(result), _) => reply::stream(vec![result.to_owned()], None, shared.hung_up.clone()),
            (None, Some(tool)) => reply::tool_call(tool, call.content_of("user")),
            (None, None) => echo(),
        },
        Script::EchoSystemFor(key) if call.authorization == Some(format!("Bearer {key}")) => echo(),
        Script::EchoSystemFor(_key) => reply::unauthorized(),
        Script::Gated(pieces) => {
            let pieces = pieces.into_iter().map(str::to_owned).collect();
            reply::stream(pieces, Some(Arc::clone(&shared.gate)), shared.hung_up.clone())
        }
    }
}
