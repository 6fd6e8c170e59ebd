//! Probes and metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::conditions::find;
use crate::metrics::Metrics;
use crate::stores::Stores;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the probes say.
#[derive(Clone, Default)]
pub struct Health {
    ready: Arc<AtomicBool>,
    stores: Arc<Mutex<Vec<Stores>>>,
    metrics: Arc<Metrics>,
}

impl Health {
    /// Not ready yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// From now on ready, or not.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
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

/// Serves until told to stop.
///
/// # Errors
/// When the socket breaks.
pub async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// A standby is ready too: it has nothing to do but to wait.
async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the watches are not filled yet")
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    health.count();
    ([(header::CONTENT_TYPE, OPEN_METRICS)], health.metrics.encode())
}
