//! JSON bodies, read within bounds: of size, of time, and of what the pod has the memory for.
//!
//! A body is drawn on the pool before it is read, and what it becomes is weighed and drawn before it is parsed. What
//! stays reserved belongs to the call until its run has ended.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agent_pod_core::byte_pool::weight::{COPIES, of_json};
use agent_pod_core::byte_pool::{BytePool, ByteReservation, PoolError, Priority, SMALL_BYTES};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::service::AgentHandle;
use axum::body::{Body, BodyDataStream};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How long a body may take to arrive: the 10 MiB of the default limit at about 1.4 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes that are read where there is no agent to set the limit, and how long they wait for a place.
const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// While others wait for memory, a body that holds more than a small call has to bring [`MOVING_BYTES`] in this time.
const STALL_WINDOW: Duration = Duration::from_secs(2);

/// 32 KiB a second, which any line manages that sends bodies of this size at all.
const MOVING_BYTES: usize = 64 * 1024;

/// A longer text is weighed and parsed on a thread of its own: from here on it takes longer than a millisecond.
const INLINE_BYTES_MAX: usize = 128 * 1024;

/// Within what a body has to stay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits<'a> {
    /// What it draws on.
    pub(crate) pool: &'a BytePool,
    /// The most bytes of it.
    pub(crate) bytes_max: usize,
    /// How long it waits for memory.
    pub(crate) wait: Duration,
}

impl<'a> BodyLimits<'a> {
    /// The widest ones of these agents.
    pub(crate) fn of(pool: &'a BytePool, agents: &[Arc<AgentHandle>]) -> Self {
        Self {
            pool,
            bytes_max: agents.iter().map(|agent| agent.body_bytes_max).max().unwrap_or(BODY_BYTES_MAX),
            wait: agents.iter().map(|agent| agent.queue_timeout).max().unwrap_or(QUEUE_TIMEOUT),
        }
    }
}

/// A body that has been read.
#[derive(Debug)]
pub(crate) struct JsonBody {
    /// What it says.
    pub(crate) value: Value,
    /// How long it was.
    pub(crate) bytes: usize,
    /// What it and everything made of it holds of the pool.
    pub(crate) held: ByteReservation,
}

/// The JSON of a request.
///
/// # Errors
/// `unsupported_media_type`, `body_too_large`, `invalid_json`; `request_timeout` for a body that dribbles in;
/// `overloaded` where others hold the memory that it takes.
pub(crate) async fn read_json(headers: &HeaderMap, body: Body, limits: &BodyLimits<'_>) -> Result<JsonBody, RunError> {
    require_json_type(headers)?;
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let announced = announced.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > limits.bytes_max) {
        return Err(too_large(limits.bytes_max));
    }
    let reading = read(body.into_data_stream(), announced, limits);
    let (bytes, held) = tokio::time::timeout(BODY_TIMEOUT, reading).await.map_err(|_elapsed| too_slow())??;
    let length = bytes.len();
    let (value, held) = parse(bytes, held, limits.wait).await?;
    let value = value.map_err(|error| RunError::new(ErrorCode::InvalidJson, no_json("body", &error)))?;
    Ok(JsonBody { value, bytes: length, held })
}

/// Weighs a text, draws what it takes once it is parsed, and parses it.
///
/// # Errors
/// `body_too_large` or `overloaded` where there is no memory for it.
pub(crate) async fn parse(
    text: Bytes,
    mut held: ByteReservation,
    wait: Duration,
) -> Result<(serde_json::Result<Value>, ByteReservation), RunError> {
    let length = text.len();
    let (text, weight) = apart(length, move || {
        let weight = of_json(&text);
        (text, weight)
    })
    .await;
    let needed = (COPIES * weight).max(weight + length);
    let drawn = held.resize(needed, Priority::Call.of(needed), wait).await;
    drawn.map_err(PoolError::for_caller)?;
    Ok((apart(length, move || serde_json::from_slice(&text)).await, held))
}

/// Does the work here or, where it is long, where it holds up nobody.
async fn apart<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes <= INLINE_BYTES_MAX {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Why a `what` could not be read.
pub(crate) fn no_json(what: &str, error: &serde_json::Error) -> String {
    let said = error.to_string();
    // The reader has no code for it.
    if said.starts_with("recursion limit exceeded") {
        return format!("the {what} is nested too deeply; lists and objects stand in each other up to 127 deep");
    }
    format!("the {what} is not JSON: {said}")
}

/// No content type at all is taken for JSON: the original system's clients leave it out.
fn require_json_type(headers: &HeaderMap) -> Result<(), RunError> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let content_type = content_type.to_str().unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    Err(RunError::new(
        ErrorCode::UnsupportedMediaType,
        "the body has to be JSON: send it with `Content-Type: application/json`",
    ))
}

/// Reads a body, drawing before each read. A body whose length is known draws it in one go once it is no small call:
/// whoever holds a part and waits for the rest would stop the others, who do the same.
async fn read(
    mut chunks: BodyDataStream,
    announced: Option<usize>,
    limits: &BodyLimits<'_>,
) -> Result<(Bytes, ByteReservation), RunError> {
    let mut held = limits.pool.reservation();
    let mut bytes = BytesMut::with_capacity(announced.unwrap_or_default());
    let mut pace = Pace::new();
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = chunks.next() => chunk,
            () = pace.stalled(&held) => return Err(stalled()),
        };
        let Some(chunk) = chunk else { return Ok((bytes.freeze(), held)) };
        let chunk =
            chunk.map_err(|_broken| RunError::new(ErrorCode::InvalidJson, "the body broke off; send it again"))?;
        let total = bytes.len() + chunk.len();
        if total > limits.bytes_max {
            return Err(too_large(limits.bytes_max));
        }
        if total > held.bytes() {
            let wanted = match announced {
                Some(length) if total > SMALL_BYTES => length.max(total),
                Some(_) | None => total.next_power_of_two().min(limits.bytes_max),
            };
            let drawn = held.resize(wanted, Priority::Body.of(wanted), limits.wait).await;
            drawn.map_err(PoolError::for_caller)?;
            pace.restart();
        }
        pace.moved(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
}

/// Whether what is being read moves on.
pub(crate) struct Pace {
    window: Interval,
    moved: usize,
}

impl Pace {
    pub(crate) fn new() -> Self {
        let mut window = interval(STALL_WINDOW);
        window.set_missed_tick_behavior(MissedTickBehavior::Delay);
        window.reset();
        Self { window, moved: 0 }
    }

    /// So many bytes have come.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
    }

    /// What went by was no fault of the sender.
    pub(crate) fn restart(&mut self) {
        self.moved = 0;
        self.window.reset();
    }

    /// Waits until others want what is held here and too little of it moves.
    async fn stalled(&mut self, held: &ByteReservation) {
        poll_fn(|context| self.poll_stalled(context, held)).await;
    }

    pub(crate) fn poll_stalled(&mut self, context: &mut Context<'_>, held: &ByteReservation) -> Poll<()> {
        loop {
            ready!(self.window.poll_tick(context));
            let moved = std::mem::take(&mut self.moved);
            if moved < MOVING_BYTES && held.bytes() > 0 && held.pool().is_contended() {
                return Poll::Ready(());
            }
        }
    }
}

/// A body of more than `bytes_max` bytes.
pub(crate) fn too_large(bytes_max: usize) -> RunError {
    let message = format!("the body exceeds the {bytes_max} bytes that this agent takes; send less");
    RunError::new(ErrorCode::BodyTooLarge, message)
}

fn too_slow() -> RunError {
    let message = format!("the body did not arrive within {} s; send it again", BODY_TIMEOUT.as_secs());
    RunError::new(ErrorCode::RequestTimeout, message)
}

fn stalled() -> RunError {
    let message = "the body stood still while others waited for the memory that it held; send it again";
    RunError::new(ErrorCode::RequestTimeout, message).retry_after(Duration::from_secs(1))
}
