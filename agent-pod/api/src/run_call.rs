//! Everything that a call of the run route carries.

use std::time::Duration;

use agent_pod_core::error::{ErrorCode, FieldProblem, RunError};
use agent_pod_core::event::TurnRequest;
use agent_pod_core::service::RunOptions;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use crate::json_body::read_json;
use crate::turn_request::{parse_turn, problem};

const TIMEOUT_HEADER: &str = "x-request-timeout-ms";
const TRACE_HEADER: &str = "traceparent";

/// A checked call of the run route.
pub(crate) struct RunCall {
    /// The question.
    pub(crate) turn: TurnRequest,
    /// The caller's trace and deadline.
    pub(crate) options: RunOptions,
    /// Whether the answer shall be a stream of events.
    pub(crate) stream: bool,
}

impl RunCall {
    /// Reads a body of at most `bytes_max` bytes and the headers.
    ///
    /// # Errors
    /// As [`read_json`], and `validation_failed` with every problem of body and headers.
    pub(crate) async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Self, RunError> {
        let timeout = timeout(headers);
        let body = read_json(headers, body, bytes_max).await?;
        match (parse_turn(body), timeout) {
            (Ok(parsed), Ok(timeout)) => Ok(Self {
                turn: parsed.turn,
                options: RunOptions { trace_id: trace_id(headers), timeout, ..RunOptions::default() },
                stream: parsed.stream || accepts_events(headers),
            }),
            (parsed, timeout) => {
                Err(validation_failed(parsed.err().into_iter().flatten().chain(timeout.err()).collect()))
            }
        }
    }
}

/// JSON of the wrong shape, with every problem.
pub(crate) fn validation_failed(problems: Vec<FieldProblem>) -> RunError {
    let named: Vec<_> = problems.iter().map(|problem| format!("`{}` {}", problem.path, problem.message)).collect();
    let message = format!("the request is not valid: {}", named.join("; "));
    RunError { problems, ..RunError::new(ErrorCode::ValidationFailed, message) }
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, FieldProblem> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(None) };
    match value.to_str().unwrap_or_default().trim().parse::<u64>() {
        Ok(milliseconds) if milliseconds > 0 => Ok(Some(Duration::from_millis(milliseconds))),
        Ok(_) | Err(_) => Err(problem("X-Request-Timeout-Ms", "must be a whole number of milliseconds above 0")),
    }
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let ranges =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    ranges
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// The trace id of `version-traceid-parentid-flags`. A malformed header is ignored, as the standard wants it.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(TRACE_HEADER).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let parts: Vec<_> = value.to_str().ok()?.trim().split('-').collect();
    let [version, trace_id, parent_id, flags, rest @ ..] = parts.as_slice() else { return None };
    let version_known = is_hex(version, 2) && *version != "ff" && (*version != "00" || rest.is_empty());
    let ids_set = is_hex(trace_id, 32) && is_hex(parent_id, 16) && !is_zero(trace_id) && !is_zero(parent_id);
    (version_known && ids_set && is_hex(flags, 2)).then(|| (*trace_id).to_owned())
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}
