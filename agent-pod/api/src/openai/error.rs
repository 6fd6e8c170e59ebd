//! Failed calls in the envelope of this API: the error object of every door, with `type` and `param` beside.

use agent_pod_core::error::{ErrorBody, ErrorCode, RunError};
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::{headers, report, status};

/// A failed call of this API.
pub(crate) struct ChatError(RunError);

#[derive(Serialize)]
pub(crate) struct Envelope {
    error: ChatErrorBody,
}

#[derive(Serialize)]
struct ChatErrorBody {
    #[serde(flatten)]
    body: ErrorBody,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
}

impl From<RunError> for ChatError {
    fn from(error: RunError) -> Self {
        Self(error)
    }
}

impl IntoResponse for ChatError {
    fn into_response(self) -> Response {
        let Self(error) = self;
        report(&error);
        (status(error.code), headers(&error), Json(envelope(&error))).into_response()
    }
}

/// The error as this API's clients read it.
pub(crate) fn envelope(error: &RunError) -> Envelope {
    let named = error.problems.first().map(|problem| problem.path.clone());
    let param = named.or_else(|| (error.code == ErrorCode::AgentNotFound).then(|| "model".to_owned()));
    Envelope { error: ChatErrorBody { body: error.body(), kind: kind(error.code), param } }
}

fn kind(code: ErrorCode) -> &'static str {
    match status(code) {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "api_error",
        _the_requests_fault => "invalid_request_error",
    }
}
