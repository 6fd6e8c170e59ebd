//! The bytes of a WebSocket, which are drawn before they are read.
//!
//! The library collects a message before it gives it out, be it in frames of 10 MiB or in a million of one byte. What it
//! has read and not given out yet is counted here, below it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agent_pod_core::byte_pool::{BytePool, ByteReservation, PoolError, Priority, SMALL_BYTES};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::json_body::Pace;

/// What a socket may read of a message without drawing: most messages are shorter, and the library's buffer is there anyway.
const FREE_BYTES: usize = 16 * 1024;

/// The most that a frame has beside its payload.
const FRAME_HEAD_BYTES: usize = 14;

/// Why no more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is no memory for more, or the message stood still while others waited for what it held.
    NoMemory,
    /// There is never enough for such a message.
    TooLarge,
}

type Drawing = BoxFuture<'static, (Result<(), PoolError>, ByteReservation)>;

/// A connection whose reads are drawn on the pool.
pub(super) struct Metered<S> {
    inner: S,
    pool: BytePool,
    wait: Duration,
    /// Read and not given out as a message.
    unread: usize,
    held: ByteReservation,
    drawing: Option<Drawing>,
    pace: Pace,
    refused: Option<Refused>,
}

impl<S> Metered<S> {
    pub(super) fn new(inner: S, pool: BytePool, wait: Duration) -> Self {
        let held = pool.reservation();
        Self { inner, pool, wait, unread: 0, held, drawing: None, pace: Pace::new(), refused: None }
    }

    /// Why no more is read, if so.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// A message has been given out: what is held for it goes along.
    pub(super) fn take(&mut self) -> ByteReservation {
        self.unread = 0;
        std::mem::replace(&mut self.held, self.pool.reservation())
    }

    /// A control frame of so many bytes has been given out. A message may be under way around it.
    pub(super) fn discount(&mut self, bytes: usize) {
        self.unread = self.unread.saturating_sub(bytes + FRAME_HEAD_BYTES);
    }

    fn poll_draw(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(drawing) = &mut self.drawing {
                let (drawn, more) = ready!(drawing.poll_unpin(context));
                self.drawing = None;
                self.held.merge(more);
                self.pace.restart();
                match drawn {
                    Ok(()) => {}
                    Err(PoolError::NeverFits { .. }) => return Poll::Ready(Err(self.refuse(Refused::TooLarge))),
                    Err(PoolError::Exhausted) => return Poll::Ready(Err(self.refuse(Refused::NoMemory))),
                }
            }
            if self.unread < self.held.bytes().max(FREE_BYTES) {
                return Poll::Ready(Ok(()));
            }
            let wanted = self.unread.saturating_mul(2).max(SMALL_BYTES);
            let (more, mut reservation) = (wanted - self.held.bytes(), self.pool.reservation());
            if wanted > self.pool.most(Priority::Body.of(wanted)) {
                return Poll::Ready(Err(self.refuse(Refused::TooLarge)));
            }
            let wait = self.wait;
            let drawing = async move { (reservation.grow(more, Priority::Body.of(wanted), wait).await, reservation) };
            self.drawing = Some(drawing.boxed());
        }
    }

    fn refuse(&mut self, why: Refused) -> io::Error {
        self.refused = Some(why);
        io::Error::other("no memory for the message")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_draw(context))?;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.inner).poll_read(context, buffer) {
            let bytes = buffer.filled().len() - before;
            this.unread += bytes;
            this.pace.moved(bytes);
            return Poll::Ready(read);
        }
        // Most sockets hold nothing, and need no timer.
        if this.held.bytes() > 0 && this.pace.poll_stalled(context, &this.held).is_ready() {
            return Poll::Ready(Err(this.refuse(Refused::NoMemory)));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
