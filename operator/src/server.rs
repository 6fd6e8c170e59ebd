//! The operator's port: probes, metrics, and pods that ask for attention.

mod attention;
mod listener;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;

pub use attention::{ATTENTION_MAX, AttentionSink, attention};
pub use listener::Bounds;

use crate::conditions::find;
use crate::metrics::Metrics;
use crate::stores::Stores;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the port says, and where it puts what it is told.
#[derive(Clone)]
pub struct Health {
    /// Why not; `None`: ready.
    unready: Arc<Mutex<Option<String>>>,
    stores: Arc<Mutex<Vec<Stores>>>,
    metrics: Arc<Metrics>,
    attention: AttentionSink,
}

impl Health {
    /// Not ready yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, attention: AttentionSink) -> Self {
        let unready = Arc::new(Mutex::new(Some("the operator is starting".to_owned())));
        Self { unready, stores: Arc::default(), metrics, attention }
    }

    /// From now on ready.
    pub fn ready(&self) {
        self.set(None);
    }

    /// From now on not ready, until all of this is there.
    pub fn waits_for(&self, missing: &[String]) {
        self.set((!missing.is_empty()).then(|| format!("waiting for {}", missing.join(", and for "))));
    }

    /// From now on not ready, for this reason.
    pub fn unready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, unready: Option<String>) {
        *self.unready.lock().unwrap_or_else(PoisonError::into_inner) = unready;
    }

    /// From now on this replica is the leader, or it is it no more.
    pub fn leads(&self, leads: bool) {
        self.metrics.leads(leads);
        self.attention.accept(leads);
    }

    /// The stores that the gauges are counted from.
    pub fn set_stores(&self, stores: Vec<Stores>) {
        if let Ok(mut known) = self.stores.lock() {
            *known = stores;
        }
    }

    fn count(&self) {
        let Ok(stores) = self.stores.lock() else { return };
        let agents: Vec<_> = stores.iter().flat_map(|stores| stores.agents.state()).collect();
        let ready = agents
            .iter()
            .filter_map(|agent| find(&agent.status.as_ref()?.conditions, "Ready"))
            .filter(|condition| condition.status == "True")
            .count();
        self.metrics.agents(ready, agents.len() - ready);
    }
}

/// Serves for as long as it is polled, within `bounds`.
pub async fn serve(listener: TcpListener, health: Health, bounds: Bounds) {
    listener::serve(listener, router(health), bounds).await;
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route(attention::PATH, post(attention::ask))
        .with_state(health)
}

/// A standby is ready too: it has nothing to do but to wait.
async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    match health.unready.lock().unwrap_or_else(PoisonError::into_inner).clone() {
        None => (StatusCode::OK, "ok".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    health.count();
    ([(header::CONTENT_TYPE, OPEN_METRICS)], health.metrics.encode())
}
