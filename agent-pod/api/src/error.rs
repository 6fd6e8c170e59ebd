//! Failed calls as HTTP answers: the only place that knows which status a code has.

use std::time::Duration;

use agent_pod_core::error::{ErrorBody, ErrorCode, RunError};
use axum::Json;
use axum::http::header::{HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Names the run of an answer, of a failed one too.
pub(crate) const X_RUN_ID: HeaderName = HeaderName::from_static("x-run-id");

/// A failed call.
pub(crate) struct ApiError(RunError);

#[derive(Serialize)]
struct ErrorAnswer {
    error: ErrorBody,
}

impl From<RunError> for ApiError {
    fn from(error: RunError) -> Self {
        Self(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(error) = self;
        report(&error);
        (status(error.code), headers(&error), Json(ErrorAnswer { error: error.body() })).into_response()
    }
}

/// The status of a code.
pub(crate) fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidJson
        | ErrorCode::InvalidMessage
        | ErrorCode::UnsupportedContent
        | ErrorCode::ProviderRejected => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::ToolForbidden => StatusCode::FORBIDDEN,
        ErrorCode::AgentNotFound
        | ErrorCode::SessionNotFound
        | ErrorCode::ToolNotFound
        | ErrorCode::RunNotFound
        | ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::Busy | ErrorCode::IdempotencyInProgress | ErrorCode::AlreadyDecided => StatusCode::CONFLICT,
        ErrorCode::BodyTooLarge | ErrorCode::ContextTooLong => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::ValidationFailed | ErrorCode::IdempotencyMismatch => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::Overloaded
        | ErrorCode::SessionBusy
        | ErrorCode::BudgetExceeded
        | ErrorCode::AllCoolingDown
        | ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        // Never sent: whoever cancels a run over HTTP is gone. 499 is what proxies log for it.
        ErrorCode::Cancelled => StatusCode::from_u16(499).expect("499 is within 100 to 999"),
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::AllProvidersFailed
        | ErrorCode::NoCapableProvider
        | ErrorCode::ProviderUnauthorized
        | ErrorCode::ProviderModelNotFound => StatusCode::BAD_GATEWAY,
        ErrorCode::Draining | ErrorCode::AllCircuitsOpen | ErrorCode::MemoryUnavailable | ErrorCode::Suspended => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// Logs a failure that is not the caller's. Once for each: where it becomes an answer or an event.
pub(crate) fn report(error: &RunError) {
    let status = status(error.code);
    let (code, run_id) = (error.code.as_str(), error.run_id.as_deref());
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(code, run_id, error = %error, "call failed by a fault of ours");
    } else if status.is_server_error() {
        tracing::warn!(code, run_id, error = %error, "call failed");
    }
}

/// The headers that go with an error.
pub(crate) fn headers(error: &RunError) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(wait) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    if let Some(run_id) = error.run_id.as_deref().and_then(|run_id| HeaderValue::from_str(run_id).ok()) {
        headers.insert(X_RUN_ID, run_id);
    }
    if error.code == ErrorCode::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    headers
}

/// Rounded up, and at least one: a caller that comes back early is refused again.
fn whole_seconds(wait: Duration) -> u64 {
    let started = u64::from(wait.subsec_nanos() > 0);
    wait.as_secs().saturating_add(started).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/reference/errors.md: code, status, domain and word on retrying of every code.
    #[test]
    fn the_reference_lists_every_code_as_it_is() {
        let page = include_str!("../../../docs/reference/errors.md");
        let documented: Vec<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .map(|row| row.split(" | ").take(4).collect::<Vec<_>>().join(" "))
            .collect();
        let known: Vec<String> = ErrorCode::ALL
            .iter()
            .map(|code| {
                let sent =
                    if *code == ErrorCode::Cancelled { "–".to_owned() } else { status(*code).as_str().to_owned() };
                let domain = serde_json::to_value(code.domain()).unwrap();
                let retry = if code.retryable() { "yes" } else { "no" };
                format!("{}` {sent} {} {retry}", code.as_str(), domain.as_str().unwrap())
            })
            .collect();
        let sorted = |mut rows: Vec<String>| {
            rows.sort();
            rows
        };
        assert_eq!(sorted(documented), sorted(known));
    }
}
