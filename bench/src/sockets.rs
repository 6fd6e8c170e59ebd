//! WebSockets of the measured pod.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::calls::socket_question;

/// How long a turn may take.
const TURN_WAIT: Duration = Duration::from_secs(30);

/// A WebSocket with an agent.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(address: SocketAddr, agent: &str) -> anyhow::Result<Self> {
        let (socket, _) = connect_async(format!("ws://{address}/v1/ws/agent/{agent}")).await?;
        Ok(Self(socket))
    }

    /// Asks, and reads to the end of the turn.
    pub(crate) async fn turn(&mut self) -> anyhow::Result<()> {
        self.0.send(Message::text(socket_question())).await?;
        loop {
            let message = timeout(TURN_WAIT, self.0.next()).await.context("no event in time")?;
            let message = message.context("the socket was closed")??;
            let Message::Text(text) = message else { continue };
            if text.contains("\"type\":\"done\"") {
                return Ok(());
            }
            anyhow::ensure!(!text.contains("\"type\":\"error\""), "the turn failed: {text}");
        }
    }
}
