//! The life of the operator: probes, election, controllers, and an orderly end.

mod leading;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use astromesh_logs::Logs;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::leading::{Port, lead};
use crate::lease::{self, Candidate};
use crate::metrics::Metrics;
use crate::server::{self, Bounds, Health};
use crate::telemetry::chain;

/// What the operator is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of agents that name none.
    pub agent_image: String,
    /// Its own namespace.
    pub namespace: String,
    /// Its own service account.
    pub service_account: String,
    /// The name of this replica.
    pub identity: String,
    /// Namespaces to serve; empty: all.
    pub watch_namespaces: Vec<String>,
    /// Its own token for agents.
    pub token_file: PathBuf,
    /// Its own token for the API server: the account that it names owns the Lease.
    pub api_token_file: PathBuf,
    /// Where pods ask for attention, if they are to.
    pub attention_url: Option<String>,
    /// Whether replicas elect a leader.
    pub leader_elect: bool,
    /// Reconciliations at the same time.
    pub concurrency: u16,
    /// Address of probes and metrics.
    pub listen: SocketAddr,
    /// Where it logs; only what it drops is counted.
    pub logs: Logs,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the cluster cannot be reached by any configuration, the port is taken, the lease is lost, or a task ends early.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        identity = settings.identity,
        namespace = settings.namespace,
        watch_namespaces = settings.watch_namespaces.join(","),
        leader_elect = settings.leader_elect,
        listen = %settings.listen,
        "the operator starts"
    );
    let stop = CancellationToken::new();
    let mut background = JoinSet::new();
    background.spawn(cancel_on_signal(stop.clone())?);
    let listener =
        TcpListener::bind(settings.listen).await.with_context(|| format!("failed to listen on {}", settings.listen))?;
    let client = Client::try_default().await.context("failed to configure the Kubernetes client")?;
    let result = run_until(&settings, client, listener, &stop).await;
    background.shutdown().await;
    result
}

/// Serves the port, stands by, leads, and stops when told to.
async fn run_until(
    settings: &Settings,
    client: Client,
    listener: TcpListener,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::default().counting(settings.logs.clone()));
    let (sink, attention) = server::attention();
    let health = Health::new(Arc::clone(&metrics), sink);
    let mut serving = JoinSet::new();
    serving.spawn(server::serve(listener, health.clone(), Bounds::default()));

    let owner = if settings.leader_elect { owner(settings) } else { None };
    let mut candidate = Candidate::new(client.clone(), &settings.namespace, &settings.identity, owner);
    // A standby is ready: an upgrade can go on.
    health.ready();
    let leads = !settings.leader_elect || candidate.acquire(stop).await;
    let result = if leads {
        lead(settings, client, &mut candidate, Port { health: &health, metrics: &metrics, attention }, stop).await
    } else {
        tracing::info!("stopped, without having led");
        Ok(())
    };
    serving.shutdown().await;
    result
}

/// Who owns the Lease, where that is known.
fn owner(settings: &Settings) -> Option<OwnerReference> {
    match lease::owner(&settings.api_token_file, &settings.namespace) {
        Ok(owner) => Some(owner),
        Err(error) => {
            tracing::info!(reason = %chain(&error), "the lease has no owner: an uninstall may leave it behind");
            None
        }
    }
}

fn cancel_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let started = Instant::now();
    Ok(async move {
        let signal = tokio::select! {
            _signal = terminate.recv() => "SIGTERM",
            _signal = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal, after_seconds = started.elapsed().as_secs(), "told to stop");
        stop.cancel();
    })
}
