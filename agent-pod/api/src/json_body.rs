//! JSON bodies, read within bounds.

use std::time::Duration;

use agent_pod_core::error::{ErrorCode, RunError};
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde_json::Value;

/// How long a body may take to arrive: the 10 MiB of the default limit at about 1.4 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A body that has been read.
#[derive(Debug)]
pub(crate) struct JsonBody {
    /// What it says.
    pub(crate) value: Value,
    /// How long it was.
    pub(crate) bytes: usize,
}

/// The JSON of a request of at most `bytes_max` bytes.
///
/// # Errors
/// `unsupported_media_type`, `body_too_large`, `invalid_json`; `deadline_exceeded` for a body that dribbles in.
pub(crate) async fn read_json(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<JsonBody, RunError> {
    require_json_type(headers)?;
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > bytes_max)) {
        return Err(too_large(bytes_max));
    }
    let bytes = tokio::time::timeout(BODY_TIMEOUT, read(body, bytes_max)).await.map_err(|_elapsed| too_slow())??;
    let value = serde_json::from_slice(&bytes)
        .map_err(|error| RunError::new(ErrorCode::InvalidJson, no_json("body", &error)))?;
    Ok(JsonBody { value, bytes: bytes.len() })
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

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, RunError> {
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_broken| RunError::new(ErrorCode::InvalidJson, "the body broke off; send it again"))?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// A body of more than `bytes_max` bytes.
pub(crate) fn too_large(bytes_max: usize) -> RunError {
    let message = format!("the body exceeds the {bytes_max} bytes that this agent takes; send less");
    RunError::new(ErrorCode::BodyTooLarge, message)
}

fn too_slow() -> RunError {
    let message = format!("the body did not arrive within {} s; send it again", BODY_TIMEOUT.as_secs());
    RunError::new(ErrorCode::DeadlineExceeded, message)
}
