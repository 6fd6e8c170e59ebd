//! The admin port: probes, metrics and the state, for the kubelet, the scraper and the operator.

use std::sync::Arc;

use agent_pod_core::access::Arrival;
use agent_pod_core::error::{ErrorCode, RunError};
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

/// The admin port. Metrics and the state are made on the runtime's blocking threads, so that probes never wait for them.
/// Serve it as the public one: with the peer's address as the request extension
/// `ConnectInfo<SocketAddr>`.
pub fn admin_router(admin: Arc<dyn AdminService>) -> Router {
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/internal/state", get(internal_state));
    surround(routes.with_state(admin))
}

/// Depends on nothing outside: a restart cures no trouble that lies there.
async fn live(State(admin): State<Arc<dyn AdminService>>) -> (StatusCode, &'static str) {
    if admin.alive() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the threads that serve callers have stood still for too long")
    }
}

async fn ready(State(admin): State<Arc<dyn AdminService>>) -> (StatusCode, &'static str) {
    if admin.ready() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") }
}

async fn metrics(State(admin): State<Arc<dyn AdminService>>) -> Result<impl IntoResponse, ApiError> {
    let text = aside(move || admin.metrics()).await?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text))
}

/// Whoever is on this machine may read it; from elsewhere only those that the service lets.
async fn internal_state(
    State(admin): State<Arc<dyn AdminService>>,
    credentials: Credentials,
) -> Result<Json<Value>, ApiError> {
    let state = aside(move || -> Result<Value, RunError> {
        match credentials.arrival {
            Arrival::Loopback => {}
            Arrival::Network => admin.may_read_state(credentials.token())?,
        }
        Ok(admin.state())
    });
    Ok(Json(state.await??))
}

/// Does `work` where nobody waits for it but its caller.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_panicked| {
        RunError::new(ErrorCode::Internal, "the call failed by a fault of ours; it has been logged")
    })
}
