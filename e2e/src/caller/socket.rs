//! A conversation over a WebSocket.

use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use http::header::AUTHORIZATION;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// An open WebSocket. Dropping it hangs up.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    pub(super) async fn open(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let mut request = url.into_client_request()?;
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse()?);
        }
        let (stream, _response) = connect_async(request).await.context("the WebSocket was refused")?;
        Ok(Self { stream })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the socket is closed.
    pub async fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        self.stream.send(Message::text(message.to_string())).await.context("the WebSocket took no message")
    }

    /// The next event.
    ///
    /// # Errors
    /// When the socket closes before.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            let message = self.stream.next().await.context("the WebSocket was closed")??;
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"));
            }
        }
    }

    /// The next event of this type; others are skipped.
    ///
    /// # Errors
    /// When the socket closes before.
    pub async fn next_of(&mut self, type_: &str) -> anyhow::Result<Value> {
        loop {
            let event = self.next().await?;
            if event["type"] == type_ {
                return Ok(event);
            }
        }
    }

    /// Waits until the agent closes the socket, and gives its close code.
    ///
    /// # Errors
    /// When it breaks off without one.
    pub async fn closed(&mut self) -> anyhow::Result<u16> {
        loop {
            if let Message::Close(frame) = self.stream.next().await.context("the WebSocket broke off")?? {
                return Ok(frame.context("a close code")?.code.into());
            }
        }
    }

    /// Asks, and collects the events of the run up to its end.
    ///
    /// # Errors
    /// When the socket closes before.
    pub async fn ask(&mut self, query: &str) -> anyhow::Result<Vec<Value>> {
        self.send(&serde_json::json!({"query": query})).await?;
        let mut events = Vec::new();
        loop {
            let event = self.next().await?;
            let last = matches!(event["type"].as_str(), Some("done" | "error"));
            events.push(event);
            if last {
                return Ok(events);
            }
        }
    }
}
