//! Bounds a stream of server-sent events and cuts it into lines.
//!
//! The parser behind keeps what it gets until an event is whole, without a bound of its own, and loses the events before
//! a broken line of the same piece. With a line at most in each piece neither can happen.

use agent_pod_core::model::ModelError;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};

use crate::http::Growing;
use crate::model::error::{malformed, no_memory};

/// The most bytes of one event. One token makes some 300 bytes; a whole tool call can come in one event.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// The most bytes of a reply with everything around its text: some 200,000 tokens in events of their own.
pub const STREAM_BYTES_MAX: usize = 64 * 1024 * 1024;

struct Lines {
    bytes: BoxStream<'static, Result<Bytes, ModelError>>,
    rest: Bytes,
    stream_bytes: usize,
    event_bytes: usize,
    line_bytes: usize,
    after_cr: bool,
    failed: bool,
    /// What the parser keeps of an event that is not whole yet.
    held: Growing,
}

/// The same bytes, a line at most in each piece; an error, and then nothing, once a bound is exceeded.
pub(crate) fn split(
    bytes: BoxStream<'static, Result<Bytes, ModelError>>,
) -> impl Stream<Item = Result<Bytes, ModelError>> + Send + 'static {
    let lines = Lines {
        bytes,
        rest: Bytes::new(),
        stream_bytes: 0,
        event_bytes: 0,
        line_bytes: 0,
        after_cr: false,
        failed: false,
        held: Growing::new(),
    };
    stream::unfold(lines, |mut lines| async move { lines.next().await.map(|piece| (piece, lines)) })
}

impl Lines {
    async fn next(&mut self) -> Option<Result<Bytes, ModelError>> {
        while self.rest.is_empty() {
            if self.failed {
                return None;
            }
            match self.bytes.next().await? {
                Ok(bytes) => self.rest = bytes,
                Err(error) => return Some(Err(self.fail(error))),
            }
        }
        let end = self.rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let piece = self.rest.split_to(end.map_or(self.rest.len(), |at| at + 1));
        self.count(&piece);
        if self.event_bytes > EVENT_BYTES_MAX {
            return Some(Err(self.fail(malformed("event too large"))));
        }
        if self.stream_bytes > STREAM_BYTES_MAX {
            return Some(Err(self.fail(malformed("reply too large"))));
        }
        if self.event_bytes == 0 {
            self.held.taken();
        } else if let Err(error) = self.held.to(self.event_bytes).await {
            return Some(Err(self.fail(no_memory(error))));
        }
        Some(Ok(piece))
    }

    fn count(&mut self, piece: &[u8]) {
        self.stream_bytes += piece.len();
        self.event_bytes += piece.len();
        // The second half of a line end that a cut has parted is no line of its own.
        let half = self.after_cr && piece == b"\n";
        self.after_cr = piece.ends_with(b"\r");
        if !piece.ends_with(b"\n") && !self.after_cr {
            self.line_bytes += piece.len();
        } else if !half {
            if self.line_bytes + piece.len() == 1 {
                self.event_bytes = 0;
            }
            self.line_bytes = 0;
        }
    }

    fn fail(&mut self, error: ModelError) -> ModelError {
        self.failed = true;
        self.rest = Bytes::new();
        error
    }
}
