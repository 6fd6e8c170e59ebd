//! Somebody who calls an agent.

mod socket;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};

use crate::door::Door;

pub use socket::Socket;
pub use stream::EventStream;

/// Far above what any call of a test takes.
const DEADLINE: Duration = Duration::from_secs(90);

/// Calls one agent through a door of its own. Clones share the door.
#[derive(Clone)]
pub struct Caller {
    http: reqwest::Client,
    door: Arc<Door>,
    agent: String,
    token: Option<String>,
}

/// What an agent has answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// The text of a run that succeeded.
    ///
    /// # Errors
    /// When it did not.
    pub fn text(&self) -> anyhow::Result<&str> {
        let text = self.body["answer"].as_str().filter(|_| self.status == StatusCode::OK);
        text.with_context(|| format!("no answer, but {}: {}", self.status, self.body))
    }

    /// The status and the stable code of a refusal.
    #[must_use]
    pub fn refusal(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["error"]["code"].as_str().unwrap_or_default())
    }
}

impl Caller {
    /// Opens a door to the Service of an agent, whose name is documented: `<agent>-agent`.
    ///
    /// # Errors
    /// When there is no door.
    pub async fn open(client: &Client, namespace: &str, agent: &str, token: Option<String>) -> anyhow::Result<Self> {
        let door = Door::open(client, namespace, &format!("{agent}-agent")).await?;
        // A connection for each call, so that calls meet every pod.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(DEADLINE).build()?;
        Ok(Self { http, door: Arc::new(door), agent: agent.to_owned(), token })
    }

    /// The same caller with another token, or none.
    #[must_use]
    pub fn with_token(&self, token: Option<String>) -> Self {
        Self { token, ..self.clone() }
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// When no answer came at all; a refusal is an answer.
    pub async fn ask(&self, query: &str) -> anyhow::Result<Answer> {
        self.run(&json!({"query": query})).await
    }

    /// Asks with any body.
    ///
    /// # Errors
    /// When no answer came at all; a refusal is an answer.
    pub async fn run(&self, body: &Value) -> anyhow::Result<Answer> {
        let response = self.post(body).send().await.context("the call failed")?;
        let status = response.status();
        let text = response.text().await.context("the answer broke off")?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    /// Asks, and reads the answer as server-sent events.
    ///
    /// # Errors
    /// When there is no stream.
    pub async fn stream(&self, query: &str) -> anyhow::Result<EventStream> {
        let request = self.post(&json!({"query": query})).header(ACCEPT, "text/event-stream");
        let response = request.send().await.context("the call failed")?;
        anyhow::ensure!(response.status() == StatusCode::OK, "the stream was refused: {}", response.text().await?);
        Ok(EventStream::new(response))
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// When the handshake fails.
    pub async fn socket(&self) -> anyhow::Result<Socket> {
        let url = format!("ws://{}/v1/ws/agent/{}", self.door.address(), self.agent);
        Socket::open(&url, self.token.as_deref()).await
    }

    /// Reads a path of the agent's interface.
    ///
    /// # Errors
    /// When no answer came at all.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let mut request = self.http.get(format!("http://{}{path}", self.door.address()));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.context("the call failed")?;
        let status = response.status();
        Ok(Answer { status, body: response.json().await.context("no JSON")? })
    }

    fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        let url = format!("http://{}/v1/agents/{}/run", self.door.address(), self.agent);
        let request = self.http.post(url).json(body);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }
}
