//! What surrounds every handler: the span of the request, the net for panics, and the answers where there is no route.

use std::any::Any;

use agent_pod_core::byte_pool::PoolError;
use agent_pod_core::error::{ErrorCode, RunError};
use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, Uri};
use axum::response::{IntoResponse as _, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;
use uuid::Uuid;

use crate::error::ApiError;
use crate::openai::error::ChatError;
use crate::socket::draining;

/// The routes within the layers; call it when all routes are there.
pub(crate) fn surround(routes: Router) -> Router {
    let spans =
        TraceLayer::new_for_http().make_span_with(span).on_request(()).on_response(()).on_eos(()).on_failure(());
    routes
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(|panic: Box<dyn Any + Send>| panicked(&*panic)))
        .layer(spans)
}

/// The route's pattern and not the path, so that spans of one route have one name.
fn span(request: &Request) -> Span {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    tracing::debug_span!("request", method = %request.method(), route, request_id = %Uuid::now_v7())
}

async fn no_route(uri: Uri) -> ApiError {
    let message = format!("there is no route {}; GET /openapi.json lists the routes", uri.path());
    RunError::new(ErrorCode::NotFound, message).into()
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("{} does not take {method}; the header `Allow` names what it takes", uri.path());
    let error = RunError::new(ErrorCode::MethodNotAllowed, message);
    if speaks_openai(uri.path()) {
        return ChatError::from(error).into_response();
    }
    ApiError::from(error).into_response()
}

/// Whether the clients of a route expect the errors of OpenAI's API.
pub(crate) fn speaks_openai(path: &str) -> bool {
    path == "/v1/chat/completions" || path == "/v1/models" || path.starts_with("/v1/models/")
}

/// The answer to a request that the pod, which stops, no longer has the time to answer.
#[must_use]
pub fn stopping(path: &str) -> Response {
    if speaks_openai(path) {
        ChatError::from(draining()).into_response()
    } else {
        ApiError::from(draining()).into_response()
    }
}

/// The answer to a request for whose head there is no memory.
#[must_use]
pub fn overloaded(path: &str) -> Response {
    let error = PoolError::Exhausted.for_caller();
    if speaks_openai(path) { ChatError::from(error).into_response() } else { ApiError::from(error).into_response() }
}

/// The panic's message stays here: it may hold anything.
fn panicked(panic: &(dyn Any + Send)) -> Response {
    let literal = panic.downcast_ref::<&str>().copied();
    let message =
        literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of an unknown type");
    tracing::error!(panic = message, "handler panicked");
    ApiError::from(RunError::new(ErrorCode::Internal, "the call failed by a fault of ours; it has been logged"))
        .into_response()
}
