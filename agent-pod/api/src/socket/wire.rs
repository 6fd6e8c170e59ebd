//! The frames of a WebSocket, each within a time bound.

use std::time::Duration;

use agent_pod_core::event::TurnEvent;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use crate::state::SocketLimits;

/// How long a closing socket waits for the client's own close frame.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client is gone, or does not take what it is sent.
    Gone,
    /// The client has said goodbye.
    Left,
    /// The pod stops.
    Restart,
    /// The client sent a binary frame.
    Binary,
    /// The client sent more than the agent takes.
    Oversized,
    /// The client sent text that is not UTF-8.
    NotText,
    /// The client broke the protocol.
    Protocol,
}

/// A socket with its limits.
pub(super) struct Wire {
    socket: WebSocket,
    limits: SocketLimits,
    last_heard: Instant,
}

impl Wire {
    pub(super) fn new(socket: WebSocket, limits: SocketLimits) -> Self {
        Self { socket, limits, last_heard: Instant::now() }
    }

    /// The next text of the client. Nothing is lost when this future is dropped.
    pub(super) async fn receive(&mut self) -> Result<Utf8Bytes, End> {
        loop {
            let message = self.socket.recv().await.ok_or(End::Gone)?.map_err(why)?;
            self.last_heard = Instant::now();
            match message {
                Message::Text(text) => return Ok(text),
                Message::Binary(_) => return Err(End::Binary),
                Message::Close(_) => return Err(End::Left),
                // A ping has been answered by the library already.
                Message::Ping(_) | Message::Pong(_) => {}
            }
        }
    }

    /// Sends an event; a client that does not take it in time is gone.
    pub(super) async fn send(&mut self, event: &TurnEvent) -> Result<(), End> {
        self.send_message(Message::Text(event.to_json().into())).await
    }

    /// Asks the client for a sign of life; one that has given none for long is gone.
    pub(super) async fn beat(&mut self) -> Result<(), End> {
        if self.last_heard.elapsed() >= self.limits.pong_timeout {
            return Err(End::Gone);
        }
        self.send_message(Message::Ping(Bytes::new())).await
    }

    /// Says goodbye in the way that `end` calls for, within [`GOODBYE`] and the limit of a send.
    pub(super) async fn close(mut self, end: End) {
        let (code, reason) = match end {
            End::Gone => return,
            End::Left => return self.drain().await,
            End::Restart => (close_code::RESTART, "this pod is stopping; connect again"),
            End::Binary => (close_code::UNSUPPORTED, "only text frames with JSON are understood"),
            End::Oversized => (close_code::SIZE, "the message exceeds what this agent takes"),
            End::NotText => (close_code::INVALID, "the text is not UTF-8"),
            End::Protocol => (close_code::PROTOCOL, "the frame breaks the protocol"),
        };
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        if self.send_message(Message::Close(Some(frame))).await.is_ok() {
            match end {
                // The rest of the bad frame cannot be read past. Closing at once with it unread would reset the
                // connection, and the client would not learn why.
                End::Oversized | End::NotText | End::Protocol => sleep(GOODBYE).await,
                End::Gone | End::Left | End::Restart | End::Binary => self.drain().await,
            }
        }
    }

    async fn send_message(&mut self, message: Message) -> Result<(), End> {
        let sent = timeout(self.limits.send_timeout, self.socket.send(message)).await;
        sent.map_err(|_elapsed| End::Gone)?.map_err(|_broken| End::Gone)
    }

    /// Reads on until the client has closed as well, so that it gets all that was sent.
    async fn drain(&mut self) {
        let rest = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        if timeout(GOODBYE, rest).await.is_err() {
            tracing::debug!("client did not close its side of the socket");
        }
    }
}

fn why(error: axum::Error) -> End {
    match error.into_inner().downcast_ref::<Error>() {
        Some(Error::Capacity(_)) => End::Oversized,
        Some(Error::Utf8(_)) => End::NotText,
        Some(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => End::Gone,
        Some(Error::Protocol(_)) => End::Protocol,
        Some(_) | None => End::Gone,
    }
}
