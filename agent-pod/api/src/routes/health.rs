//! `GET /v1/health`.

use axum::Json;
use axum::extract::State;

use crate::openapi::schemas::Health;
use crate::state::ApiState;

/// Whether this pod answers.
///
/// Needs no token.
#[utoipa::path(
    get,
    path = "/v1/health",
    tag = "pod",
    security(()),
    responses((status = 200, description = "It answers.", body = Health)),
)]
pub(crate) async fn health(State(state): State<ApiState>) -> Json<Health> {
    Json(Health { status: "ok", version: state.version })
}
