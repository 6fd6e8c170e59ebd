//! The reply: from the bytes of a stream of server-sent events to ours.
//!
//! Free of sockets: the same bytes give the same events, however they are cut. The golden files are in
//! `tests/fixtures`.

mod lines;

use std::collections::VecDeque;

use agent_pod_core::model::{ModelError, ModelEvent, ModelStream};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use sse_stream::{ByteStreamBody, Sse, SseStream};

use super::reply::Reply;
use crate::model::error::malformed;

pub(crate) use lines::split;
pub use lines::{EVENT_BYTES_MAX, STREAM_BYTES_MAX};

/// The events of a reply that comes as server-sent events.
///
/// `first_call` numbers the first tool call that comes without an id. The reply ends with `[DONE]`, or with the bytes
/// after a `finish_reason`; an end before is an error, and so is a reply that says nothing. After an error nothing
/// follows.
pub fn decode<S>(bytes: S, first_call: u64) -> ModelStream
where
    S: Stream<Item = Result<Bytes, ModelError>> + Send + 'static,
{
    let decoder = Decoder {
        frames: SseStream::from_bytes_stream(lines::split(bytes.boxed()).boxed()),
        reply: Reply::new(first_call),
        events: VecDeque::new(),
        failure: None,
        ended: false,
    };
    stream::unfold(decoder, |mut decoder| async move { decoder.next().await.map(|event| (event, decoder)) }).boxed()
}

/// The events of a reply that comes as one JSON document.
///
/// # Errors
/// When it is none, says nothing, or is an error.
pub fn decode_whole(body: &[u8], first_call: u64) -> Result<Vec<ModelEvent>, ModelError> {
    let text = std::str::from_utf8(body).map_err(|_| malformed("reply is not JSON"))?;
    let (mut reply, mut events) = (Reply::new(first_call), VecDeque::new());
    reply.frame(text, &mut events)?;
    reply.complete();
    reply.end(&mut events)?;
    Ok(events.into())
}

type LineStream = BoxStream<'static, Result<Bytes, ModelError>>;

struct Decoder {
    frames: SseStream<ByteStreamBody<LineStream, Bytes>>,
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
            match self.frames.next().await {
                Some(Ok(frame)) => self.take(&frame),
                Some(Err(error)) => self.break_off(error),
                None => self.end(),
            }
        }
    }

    fn take(&mut self, frame: &Sse) {
        let Some(data) = &frame.data else { return };
        let taken = match frame.event.as_deref() {
            Some("error") => Err(Reply::error_event(data)),
            Some(_) | None => self.reply.frame(data, &mut self.events),
        };
        match taken {
            Ok(()) if self.reply.done() => self.end(),
            Ok(()) => {}
            Err(error) => self.fail(error),
        }
    }

    fn break_off(&mut self, error: sse_stream::Error) {
        // Some servers close the connection without ceremony once all is said.
        if self.reply.finished() {
            return self.end();
        }
        self.fail(match error {
            sse_stream::Error::Body(source) => {
                source.downcast::<ModelError>().map_or_else(|_| malformed("reply is no event stream"), |error| *error)
            }
            sse_stream::Error::InvalidLine
            | sse_stream::Error::DuplicatedEventLine
            | sse_stream::Error::DuplicatedIdLine
            | sse_stream::Error::DuplicatedRetry
            | sse_stream::Error::Utf8Parse(_)
            | sse_stream::Error::IntParse(_) => malformed("reply is no event stream"),
        });
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
