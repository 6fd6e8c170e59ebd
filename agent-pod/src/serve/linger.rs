//! What a handler has left of a request's body.
//!
//! A call is often refused before its body has come: it is too long, or its caller may not call. Answering and closing at
//! once would be within HTTP's rules and of no use: bytes that nobody reads make the kernel reset the connection, and the
//! client, still sending, sees a broken pipe in place of the answer. So the answer goes out at once, and the rest is read
//! behind it and thrown away, for a while.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use hyper::{Request, Version};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The most that is thrown away. Beyond it a client may miss the answer.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long it may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// A body on loan to a handler, which goes back when it is dropped half read.
pub(super) struct Lent {
    body: Option<Incoming>,
    lender: Option<oneshot::Sender<Incoming>>,
}

/// Where it goes back to.
pub(super) struct Lender(Option<oneshot::Receiver<Incoming>>);

/// Lends the body of a request.
pub(super) fn lend(request: Request<Incoming>) -> (Request<Lent>, Lender) {
    // HTTP/2 ends a stream on its own, and a client that waits for `100 Continue` has sent nothing yet.
    let ends_alone = request.version() == Version::HTTP_2 || request.headers().contains_key(EXPECT);
    if ends_alone || request.body().is_end_stream() {
        return (request.map(|body| Lent { body: Some(body), lender: None }), Lender(None));
    }
    let (lender, back) = oneshot::channel();
    (request.map(|body| Lent { body: Some(body), lender: Some(lender) }), Lender(Some(back)))
}

impl Lender {
    /// What has come back of the body; ask when there is an answer. Whoever has it holds the connection open, and has to
    /// read it.
    pub(super) fn returned(self) -> Option<Incoming> {
        self.0.and_then(|mut back| back.try_recv().ok())
    }
}

/// Reads a body to its end, within bounds; no more than one buffer of it is held at a time.
pub(super) async fn discard(body: Incoming) {
    // However it ends: there is nothing left to do for this client.
    drop(timeout(PATIENCE, read(body)).await);
}

async fn read(mut body: Incoming) {
    let mut left = BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(u64::try_from(bytes).unwrap_or(u64::MAX)) else { return };
        left = rest;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(lender)) = (self.body.take(), self.lender.take())
            && !body.is_end_stream()
        {
            drop(lender.send(body));
        }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
