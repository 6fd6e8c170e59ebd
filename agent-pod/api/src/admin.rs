//! The admin port: probes, metrics and the state, for the kubelet, the scraper and the operator.

use std::sync::Arc;

use agent_pod_core::access::Arrival;
use agent_pod_core::service::AdminService;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use crate::credentials::Credentials;
use crate::error::ApiError;
use crate::layers::surround;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The admin port. Serve it as the public one: with the peer's address as the request extension
/// `ConnectInfo<SocketAddr>`.
pub fn admin_router(admin: Arc<dyn AdminService>) -> Router {
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/internal/state", get(internal_state));
    surround(routes.with_state(admin))
}

/// Depends on nothing: a restart cures no trouble that lies outside.
async fn live() -> &'static str {
    "ok"
}

async fn ready(State(admin): State<Arc<dyn AdminService>>) -> (StatusCode, &'static str) {
    if admin.ready() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") }
}

async fn metrics(State(admin): State<Arc<dyn AdminService>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], admin.metrics())
}

/// Whoever is on this machine may read it; from elsewhere only those that the service lets.
async fn internal_state(
    State(admin): State<Arc<dyn AdminService>>,
    credentials: Credentials,
) -> Result<Json<Value>, ApiError> {
    match credentials.arrival {
        Arrival::Loopback => {}
        Arrival::Network => admin.may_read_state(credentials.token())?,
    }
    Ok(Json(admin.state()))
}
