//! One connection, from its first byte to its end.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as AxumBody;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::places::{Attending, Entered, Found, Place};

/// A client that has not sent the head of its first request by then is cut off, in whatever it has stopped: between
/// connecting and its first byte, in the middle of a line, or in HTTP/2's settings.
const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(10);

/// How long a connection is kept for the next request.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(30);

/// How long a client may take to go when it has been told to.
const GOODBYE: Duration = Duration::from_secs(5);

/// Serves the connection to its end, and sees to it that there is one.
pub(super) async fn attend<C>(connection: C, entered: Arc<Entered>, stop: CancellationToken)
where
    C: GracefulConnection,
    C::Error: std::fmt::Display,
{
    let mut connection = pin!(connection);
    let mut clock = pin!(sleep_until(Instant::now() + FIRST_REQUEST_WITHIN));
    let (mut stopping, mut leaving) = (false, false);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(cause = %error, "connection ended early");
                }
                return;
            }
            () = entered.visit.give_way.cancelled() => return entered.cut("gave_way"),
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = clock.as_mut() => match entered.visit.found() {
                Found::Silent => return entered.cut("silent"),
                Found::Busy => clock.as_mut().reset(Instant::now() + IDLE_MAX),
                Found::Idle(_) if leaving => return entered.cut("idle"),
                Found::Idle(since) if since.elapsed() >= IDLE_MAX => {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                    clock.as_mut().reset(Instant::now() + GOODBYE);
                }
                Found::Idle(since) => clock.as_mut().reset(since + IDLE_MAX),
            },
        }
    }
}

/// A socket that holds its place for as long as it is open, also when it has become a WebSocket.
pub(super) struct Socket {
    stream: Pin<Box<TimeoutStream<TcpStream>>>,
    // In this order: out of the books before the place is free.
    _entered: Arc<Entered>,
    _place: Place,
}

impl Socket {
    /// The socket of a client that may take nothing for `write_timeout`.
    pub(super) fn new(stream: TcpStream, write_timeout: Duration, entered: Arc<Entered>, place: Place) -> Self {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_timeout));
        Self { stream: Box::pin(stream), _entered: entered, _place: place }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}

/// An answer whose connection is busy until it has gone out.
pub(super) struct Attended {
    body: AxumBody,
    _attending: Attending,
}

impl Attended {
    pub(super) fn new(body: AxumBody, attending: Attending) -> Self {
        Self { body, _attending: attending }
    }
}

impl Body for Attended {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
