//! `GET /openapi.json`.

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::OpenApi;

/// The document, serialized once.
#[derive(Clone)]
pub(crate) struct DocumentText(Bytes);

/// The route that serves `document`.
pub(crate) fn router(document: &OpenApi) -> Router {
    let text = document.to_json().expect("the document has string keys only");
    Router::new().route("/openapi.json", get(show)).with_state(DocumentText(text.into()))
}

/// This document.
///
/// Needs no token.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "pod",
    security(()),
    responses((status = 200, description = "The OpenAPI document.", body = serde_json::Value)),
)]
pub(crate) async fn show(State(DocumentText(text)): State<DocumentText>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], text)
}
