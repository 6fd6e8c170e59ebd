//! One HTTP call of a tool, within bounds.

use std::error::Error;

use agent_pod_core::agent::Turn;
use agent_pod_core::tool::ToolError;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use super::ToolSetupError;
use crate::http::{AddressForbidden, Client, ConnectTimeout, Drawn, HttpError, NameNotFound};

/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// The most calls of a pod at the same time. Each takes a connection, and may bring [`ANSWER_BYTES_MAX`]; those beyond wait.
const CALLS_AT_ONCE: usize = 256;

static PLACES: Semaphore = Semaphore::const_new(CALLS_AT_ONCE);

/// How much of a failed answer the model gets to see, in characters.
const FAILURE_CHARS_MAX: usize = 500;

/// What a server has answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

/// An absolute URL over HTTP without credentials.
pub(super) fn checked_url(text: &str) -> Result<Url, ToolSetupError> {
    let url = Url::parse(text.trim()).map_err(|_| ToolSetupError::Url)?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(ToolSetupError::Url);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ToolSetupError::Credentials);
    }
    Ok(url)
}

/// What every call tells of its run.
pub(super) fn run_headers(turn: &Turn<'_>) -> HeaderMap {
    let left = turn.deadline.saturating_duration_since(Instant::now()).as_millis();
    let trace = &turn.identity.trace_id;
    // The span is made of the run's own id: each run has one, and this process keeps no spans.
    let span: String = turn.identity.run_id.chars().rev().filter(char::is_ascii_hexdigit).take(16).collect();
    let told = [
        ("x-run-id", turn.identity.run_id.clone()),
        ("traceparent", format!("00-{trace}-{span:0>16}-01")),
        ("x-request-timeout-ms", left.to_string()),
    ];
    let header = |(name, value): (&'static str, String)| {
        Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
    };
    told.into_iter().filter_map(header).collect()
}

/// Sends a request and reads its answer.
///
/// # Errors
/// In words for the model, without anything of the network inside.
pub(super) async fn send(client: &Client, request: Request<Full<Bytes>>) -> Result<Answer, ToolError> {
    // It is never closed.
    let _place = PLACES.acquire().await.ok();
    let response = client.send(request).await.map_err(|error| ToolError::broken(unanswered(&error)))?;
    let (head, body) = response.into_parts();
    let text = beginning(body).await?;
    Ok(Answer { status: head.status, headers: head.headers, text })
}

/// The body as text; of one that is too long the beginning, with a marker. The rest is not read.
async fn beginning(mut body: Incoming) -> Result<String, ToolError> {
    let mut bytes = Drawn::new(ANSWER_BYTES_MAX);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_broken_off| ToolError::broken("the answer broke off"))?;
        let kept = bytes.keep(&frame.into_data().unwrap_or_default()).await;
        if !kept.map_err(|_exhausted| ToolError::broken("there was no memory for the answer"))? {
            let text = String::from_utf8_lossy(&bytes);
            return Ok(format!("{text}… [cut: the answer is longer than {ANSWER_BYTES_MAX} bytes]"));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The text of a success; a failure names the status and the beginning of what was said.
pub(super) fn success(answer: Answer) -> Result<String, ToolError> {
    let Answer { status, text, .. } = answer;
    if status.is_success() {
        return Ok(text);
    }
    let beginning: String = text.chars().take(FAILURE_CHARS_MAX).collect();
    let sentence = format!("the service answered {}: {beginning}", status.as_u16());
    let its_own = status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT;
    Err(if its_own { ToolError::broken(sentence) } else { ToolError::refused(sentence) })
}

fn unanswered(error: &HttpError) -> &'static str {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<AddressForbidden>() {
            return "the address of the service may not be called";
        }
        if error.is::<NameNotFound>() {
            return "the name of the service is not known";
        }
        if error.is::<ConnectTimeout>() {
            return "the service could not be reached in time";
        }
        cause = error.source();
    }
    "the service could not be reached"
}
