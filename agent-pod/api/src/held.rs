//! Answers that hold the bytes of their run until they have been read.

use std::pin::Pin;
use std::task::{Context, Poll};

use agent_pod_core::byte_pool::{RunBytes, SMALL_BYTES};
use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// The same answer. A large one stays in memory until a slow reader has taken it, and its run's bytes are held as long.
pub(crate) fn held(response: Response, bytes: RunBytes) -> Response {
    let large = u64::try_from(SMALL_BYTES).unwrap_or(u64::MAX);
    if response.body().size_hint().lower() <= large {
        return response;
    }
    held_stream(response, bytes)
}

/// The same for an answer that comes in pieces, of which the last one can be large.
pub(crate) fn held_stream(response: Response, bytes: RunBytes) -> Response {
    response.map(|body| Body::new(Held { body, _bytes: bytes }))
}

struct Held {
    body: Body,
    _bytes: RunBytes,
}

impl HttpBody for Held {
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
