//! The frames of a WebSocket, each within a time bound.

use std::time::Duration;

use agent_pod_core::byte_pool::ByteReservation;
use agent_pod_core::event::TurnEvent;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::metered::{Metered, Refused};
use crate::json_body::BodyLimits;
use crate::state::SocketLimits;

/// A socket that waits has a buffer of this size for what comes; the library's own default is 128 KiB.
const READ_BUFFER_BYTES: usize = 8 * 1024;

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
    /// There is no memory for what the client sends.
    NoMemory,
    /// Nothing is under way here, and another client gets the place.
    Crowded,
}

/// A socket with its limits.
pub(crate) struct Wire {
    socket: WebSocketStream<Metered<TokioIo<Upgraded>>>,
    limits: SocketLimits,
    last_heard: Instant,
}

impl Wire {
    /// A connection that has become a socket, for messages within these limits.
    pub(crate) async fn new(upgraded: Upgraded, limits: SocketLimits, messages: &BodyLimits<'_>) -> Self {
        let BodyLimits { pool, bytes_max, wait } = *messages;
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let config = config.max_message_size(Some(bytes_max)).max_frame_size(Some(bytes_max));
        let connection = Metered::new(TokioIo::new(upgraded), pool.clone(), wait);
        let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
        Self { socket, limits, last_heard: Instant::now() }
    }

    /// Its time limits.
    pub(super) fn limits(&self) -> SocketLimits {
        self.limits
    }

    /// The next text of the client, with what is held of the pool for it. Nothing is lost when this future is dropped.
    pub(super) async fn receive(&mut self) -> Result<(Bytes, ByteReservation), End> {
        loop {
            let message = self.socket.next().await.ok_or(End::Gone)?;
            let message = message.map_err(|error| match self.socket.get_ref().refused() {
                Some(Refused::NoMemory) => End::NoMemory,
                Some(Refused::TooLarge) => End::Oversized,
                None => why(&error),
            })?;
            self.last_heard = Instant::now();
            match message {
                Message::Text(text) => return Ok((text.into(), self.socket.get_mut().take())),
                Message::Binary(_) => return Err(End::Binary),
                Message::Close(_) => return Err(End::Left),
                // A ping has been answered by the library already.
                Message::Ping(payload) | Message::Pong(payload) => self.socket.get_mut().discount(payload.len()),
                // The library gives out none when it reads.
                Message::Frame(_) => {}
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
            End::Restart => (CloseCode::Restart, "this pod is stopping; connect again"),
            End::Binary => (CloseCode::Unsupported, "only text frames with JSON are understood"),
            End::Oversized => (CloseCode::Size, "the message exceeds what this agent takes"),
            End::NotText => (CloseCode::Invalid, "the text is not UTF-8"),
            End::Protocol => (CloseCode::Protocol, "the frame breaks the protocol"),
            End::Crowded => {
                (CloseCode::Again, "another client needs the place of a socket that is idle; connect again")
            }
            End::NoMemory => (CloseCode::Again, "this pod has no memory for the message now; connect again soon"),
        };
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        if self.send_message(Message::Close(Some(frame))).await.is_ok() {
            match end {
                // The rest of the bad frame cannot be read past. Closing at once with it unread would reset the
                // connection, and the client would not learn why.
                End::Oversized | End::NotText | End::Protocol | End::NoMemory => sleep(GOODBYE).await,
                End::Gone | End::Left | End::Restart | End::Binary => self.drain().await,
                // The other one waits for it.
                End::Crowded => {}
            }
        }
    }

    async fn send_message(&mut self, message: Message) -> Result<(), End> {
        let sent = timeout(self.limits.send_timeout, self.socket.send(message)).await;
        sent.map_err(|_elapsed| End::Gone)?.map_err(|_broken| End::Gone)
    }

    /// Reads on until the client has closed as well, so that it gets all that was sent.
    async fn drain(&mut self) {
        let rest = async {
            while let Some(Ok(_)) = self.socket.next().await {
                drop(self.socket.get_mut().take());
            }
        };
        if timeout(GOODBYE, rest).await.is_err() {
            tracing::debug!("client did not close its side of the socket");
        }
    }
}

fn why(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Oversized,
        Error::Utf8(_) => End::NotText,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Protocol,
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Io(_)
        | Error::Tls(_)
        | Error::WriteBufferFull(_)
        | Error::AttackAttempt
        | Error::Url(_)
        | Error::Http(_)
        | Error::HttpFormat(_) => End::Gone,
    }
}
