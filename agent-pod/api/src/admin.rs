//! The admin port: probes, metrics and the state, for the kubelet, the scraper and the operator.
//!
//! Whoever knows the state by its `ETag` may wait for another one: `?wait=<seconds>` with `If-None-Match`.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::access::Arrival;
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::service::{AdminService, TaggedState};
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::credentials::Credentials;
use crate::error::ApiError;
use crate::layers::surround;

/// The longest wait for a change of the state.
const WAIT_SECONDS_MAX: u64 = 30;

/// The most calls that wait for one. The port has more connections, so that probes find one in any case.
const WAITS_MAX: usize = 16;

/// What the handlers of the admin port share.
#[derive(Clone)]
struct AdminState {
    admin: Arc<dyn AdminService>,
    waits: Arc<Semaphore>,
}

impl FromRef<AdminState> for Arc<dyn AdminService> {
    fn from_ref(state: &AdminState) -> Self {
        Arc::clone(&state.admin)
    }
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The admin port. Metrics and the state are made on the runtime's blocking threads, so that probes never wait for them.
/// Serve it as the public one: with the peer's address as the request extension
/// `ConnectInfo<SocketAddr>`.
pub fn admin_router(admin: Arc<dyn AdminService>) -> Router {
    let state = AdminState { admin, waits: Arc::new(Semaphore::new(WAITS_MAX)) };
    let routes = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/internal/state", get(internal_state));
    surround(routes.with_state(state))
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

/// How long a call may wait for a change.
#[derive(Deserialize)]
struct Patience {
    wait: Option<u64>,
}

/// Whoever is on this machine may read it; from elsewhere only those that the service lets.
async fn internal_state(
    State(AdminState { admin, waits }): State<AdminState>,
    patience: Result<Query<Patience>, QueryRejection>,
    credentials: Credentials,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let patience = patience.map_err(|_| invalid_wait())?.wait.unwrap_or_default();
    if patience > WAIT_SECONDS_MAX {
        return Err(invalid_wait().into());
    }
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    // From before the state is looked at, so that no change is missed.
    let mut changes = admin.state_changes();
    // Whoever finds no place is answered at once.
    let place = if patience > 0 { waits.try_acquire().ok() } else { None };
    let patience = if place.is_some() { Duration::from_secs(patience) } else { Duration::ZERO };
    let end = Instant::now() + patience;
    loop {
        let TaggedState { tag, body } = state_for(Arc::clone(&admin), credentials.clone()).await?;
        let tag = format!("\"{tag}\"");
        if !names(&known, &tag) {
            return Ok(([(ETAG, tag)], Json(body)).into_response());
        }
        let changed = Instant::now() < end && matches!(timeout_at(end, changes.changed()).await, Ok(Ok(())));
        if !changed {
            return Ok((StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response());
        }
    }
}

async fn state_for(admin: Arc<dyn AdminService>, credentials: Credentials) -> Result<TaggedState, RunError> {
    aside(move || {
        match credentials.arrival {
            Arrival::Loopback => {}
            Arrival::Network => admin.may_read_state(credentials.token())?,
        }
        Ok(admin.state())
    })
    .await?
}

/// Whether `If-None-Match` names the tag; weak ones are the same here.
fn names(known: &str, tag: &str) -> bool {
    known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

fn invalid_wait() -> RunError {
    let message = format!("`wait` must be a whole number of seconds from 0 to {WAIT_SECONDS_MAX}");
    RunError::new(ErrorCode::ValidationFailed, message)
}

/// Does `work` where nobody waits for it but its caller.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_panicked| {
        RunError::new(ErrorCode::Internal, "the call failed by a fault of ours; it has been logged")
    })
}
