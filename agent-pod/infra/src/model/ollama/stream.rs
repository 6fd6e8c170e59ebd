//! The reply: from the bytes of a stream of JSON documents, one per line, to ours.
//!
//! Free of sockets: the same bytes give the same events, however they are cut. The golden files are in
//! `tests/fixtures/ollama`.

use std::collections::VecDeque;

use agent_pod_core::model::{ModelError, ModelEvent, ModelStream};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use serde::de::IgnoredAny;

use super::reply::Reply;
use crate::http::Growing;
use crate::model::error::{malformed, no_memory};

/// The most bytes of one line. One token makes some 150 bytes; a whole tool call comes in one line.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The most bytes of a reply with everything around its text.
pub const STREAM_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The events of a reply that comes line by line.
///
/// `first_call` numbers the first tool call that comes without an id. The reply ends with the line that says `done`; an
/// end before is an error, and so is a reply that says nothing. After an error nothing follows.
pub fn decode<S>(bytes: S, first_call: u64) -> ModelStream
where
    S: Stream<Item = Result<Bytes, ModelError>> + Send + 'static,
{
    let decoder = Decoder {
        bytes: bytes.boxed(),
        rest: BytesMut::new(),
        held: Growing::new(),
        scanned: 0,
        stream_bytes: 0,
        reply: Reply::new(first_call),
        events: VecDeque::new(),
        failure: None,
        ended: false,
    };
    stream::unfold(decoder, |mut decoder| async move { decoder.next().await.map(|event| (event, decoder)) }).boxed()
}

/// The events of a reply that comes as one JSON document, or as several lines under the wrong name.
///
/// # Errors
/// When it is none, says nothing, or is an error.
pub fn decode_whole(body: &[u8], first_call: u64) -> Result<Vec<ModelEvent>, ModelError> {
    let (mut reply, mut events) = (Reply::new(first_call), VecDeque::new());
    let mut documents = serde_json::Deserializer::from_slice(body).into_iter::<IgnoredAny>();
    let mut start = 0;
    while let Some(document) = documents.next() {
        let _: IgnoredAny = document.map_err(|_| malformed("reply is not JSON"))?;
        let end = documents.byte_offset();
        reply.frame(body.get(start..end).unwrap_or_default(), &mut events)?;
        if reply.done() {
            break;
        }
        start = end;
    }
    reply.end(&mut events)?;
    Ok(events.into())
}

struct Decoder {
    bytes: BoxStream<'static, Result<Bytes, ModelError>>,
    rest: BytesMut,
    held: Growing,
    /// How much of the rest is known to hold no line end.
    scanned: usize,
    stream_bytes: usize,
    reply: Reply,
    events: VecDeque<ModelEvent>,
    failure: Option<ModelError>,
    ended: bool,
}

impl Decoder {
    async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            if self.ended {
                return self.failure.take().map(Err);
            }
            if let Some(line) = self.line() {
                self.take(&line);
                continue;
            }
            if self.rest.is_empty() {
                self.held.taken();
            }
            match self.bytes.next().await {
                Some(Ok(piece)) => match self.held.to(self.rest.len() + piece.len()).await {
                    Ok(()) => self.receive(&piece),
                    Err(error) => self.fail(no_memory(error)),
                },
                Some(Err(error)) => self.fail(error),
                None => self.last(),
            }
        }
    }

    /// The next whole line.
    fn line(&mut self) -> Option<Bytes> {
        let unseen = self.rest.get(self.scanned..).unwrap_or_default();
        match unseen.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let line = self.rest.split_to(self.scanned + at + 1).freeze();
                self.scanned = 0;
                Some(line)
            }
            None => {
                self.scanned = self.rest.len();
                None
            }
        }
    }

    fn receive(&mut self, piece: &[u8]) {
        self.stream_bytes += piece.len();
        if self.stream_bytes > STREAM_BYTES_MAX {
            return self.fail(malformed("reply too large"));
        }
        self.rest.extend_from_slice(piece);
        let first = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        if first > LINE_BYTES_MAX {
            self.fail(malformed("event too large"));
        }
    }

    fn take(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        if line.len() > LINE_BYTES_MAX {
            return self.fail(malformed("event too large"));
        }
        match self.reply.frame(line, &mut self.events) {
            Ok(()) if self.reply.done() => self.end(),
            Ok(()) => {}
            Err(error) => self.fail(error),
        }
    }

    /// The stream is over. What has no line end is half a line, unless it is a document all the same.
    fn last(&mut self) {
        let line = self.rest.split();
        if serde_json::from_slice::<IgnoredAny>(&line).is_ok() {
            self.take(&line);
        }
        if !self.ended {
            self.end();
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.failure = self.reply.end(&mut self.events).err();
    }

    fn fail(&mut self, error: ModelError) {
        self.ended = true;
        self.failure = Some(error);
    }
}
