//! The life of the operator: probes, election, controllers, and an orderly end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use astromesh_logs::Logs;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::controllers::{self, Environment};
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::pods::{Asker, Pods, Poller, StateClient};
use crate::probing::ProbeClient;
use crate::scope::Scope;
use crate::server::{self, Health};
use crate::stores::Stores;
use crate::trust::{Keeper, TrustState};
use crate::watching::{Queues, Trigger};

/// What is in flight may take this long to finish after SIGTERM; the whole stop takes less than 10 s.
const FINISH_WITHIN: Duration = Duration::from_secs(8);
/// After the lease is lost, everything must have stopped before another replica may lead.
const ABANDON_WITHIN: Duration = Duration::from_secs(1);

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
    let stop = CancellationToken::new();
    let mut background = JoinSet::new();
    background.spawn(cancel_on_signal(stop.clone())?);
    let metrics = Arc::new(Metrics::default().counting(settings.logs.clone()));
    let health = Health::new(Arc::clone(&metrics));
    let listener =
        TcpListener::bind(settings.listen).await.with_context(|| format!("failed to listen on {}", settings.listen))?;
    let serving = CancellationToken::new();
    background.spawn(serve(listener, health.clone(), serving.clone()));
    let client = Client::try_default().await.context("failed to configure the Kubernetes client")?;

    let mut candidate = Candidate::new(client.clone(), &settings.namespace, &settings.identity);
    // A standby is ready: an upgrade can go on.
    health.set_ready(true);
    let leads = !settings.leader_elect || candidate.acquire(&stop).await;
    let result = if leads { lead(&settings, client, &mut candidate, (&health, &metrics), &stop).await } else { Ok(()) };
    serving.cancel();
    background.shutdown().await;
    result
}

/// Everything that only the leader does.
async fn lead(
    settings: &Settings,
    client: Client,
    candidate: &mut Candidate,
    (health, metrics): (&Health, &Arc<Metrics>),
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    metrics.leads(true);
    health.set_ready(false);
    // Not `stop` itself: the controllers stop on more than a signal, and the lease is kept until they have.
    let work = stop.child_token();
    let mut tasks = JoinSet::new();
    let (sender, trust) = watch::channel(TrustState::Unknown);
    let subject = format!("system:serviceaccount:{}:{}", settings.namespace, settings.service_account);
    let keeper = Keeper { client: client.clone(), subject, sender };
    let until = work.clone();
    tasks.spawn(async move {
        keeper.run(until).await;
        "the watch of token keys"
    });
    let (_attention, attention) = tokio::sync::mpsc::channel(1);
    let (pods, looks, queues) = (Arc::<Pods>::default(), Trigger::default(), Queues::default());
    let state_client =
        StateClient::new(Some(settings.token_file.clone())).context("failed to build the HTTP client")?;
    let asker = Asker::new(client.clone(), state_client, Arc::clone(&pods), Arc::clone(metrics));
    let poller = Poller { asker, looks: looks.clone(), attention, told: false, queues: queues.clone() };
    let environment = Environment {
        client,
        agent_image: settings.agent_image.clone(),
        identity: settings.identity.clone(),
        concurrency: settings.concurrency,
        trust,
        attention: None,
        pods: Arc::clone(&pods),
        looks: looks.clone(),
        probe_client: ProbeClient::new().context("failed to build the HTTP client of probes")?,
        reports: Arc::default(),
        index: Arc::default(),
        queues,
        metrics: Arc::clone(metrics),
    };
    let stores: Vec<_> = Scope::all(&settings.watch_namespaces)
        .iter()
        .map(|scope| controllers::start(scope, environment.clone(), &work, &mut tasks))
        .collect();
    drop(environment);
    tasks.spawn(run_poller(poller, work.clone()));
    health.set_stores(stores.clone());
    tasks.spawn(become_ready(stores, health.clone(), work.clone()));

    let keeping = CancellationToken::new();
    let end = {
        let keep =
            async { if settings.leader_elect { candidate.keep(&keeping).await } else { std::future::pending().await } };
        let mut keep = std::pin::pin!(keep);
        tokio::select! {
            // In this order: tasks that end because of a stop have not ended early.
            biased;
            () = stop.cancelled() => {
                // The lease is renewed while what is in flight finishes.
                tokio::select! {
                    () = finish(&mut tasks, FINISH_WITHIN) => End::Stopped,
                    _kept = &mut keep => End::Lost,
                }
            }
            ended = tasks.join_next() => End::Early(ended.map_or("everything", |name| name.unwrap_or("a task that panicked"))),
            _kept = &mut keep => End::Lost,
        }
    };
    work.cancel();
    health.set_ready(false);
    match end {
        End::Stopped => {}
        End::Early(_) | End::Lost => finish(&mut tasks, ABANDON_WITHIN).await,
    }
    tasks.shutdown().await;
    metrics.leads(false);
    match end {
        End::Stopped => {
            candidate.release().await;
            tracing::info!("stopped");
            Ok(())
        }
        End::Lost => bail!("the lease is lost: another replica leads"),
        End::Early(name) => {
            candidate.release().await;
            bail!("{name} has ended early")
        }
    }
}

/// Why a leader stops.
enum End {
    Stopped,
    Lost,
    Early(&'static str),
}

/// Lets tasks end by themselves for a while.
async fn finish(tasks: &mut JoinSet<&'static str>, within: Duration) {
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task panicked");
            }
        }
    };
    if tokio::time::timeout(within, all).await.is_err() {
        tracing::warn!("not everything has finished in time");
    }
}

async fn run_poller(poller: Poller, stop: CancellationToken) -> &'static str {
    stop.run_until_cancelled(poller.run()).await;
    "the questions to pods"
}

/// Tells the probe when every watch has been filled once, then waits to the end like every other task.
async fn become_ready(stores: Vec<Stores>, health: Health, work: CancellationToken) -> &'static str {
    let filled = async {
        for stores in &stores {
            stores.filled().await;
        }
        tracing::info!("watches filled");
        health.set_ready(true);
    };
    work.run_until_cancelled(filled).await;
    work.cancelled().await;
    "readiness"
}

async fn serve(listener: TcpListener, health: Health, stop: CancellationToken) {
    if let Err(error) = server::serve(listener, health, stop).await {
        tracing::error!(%error, "probes and metrics are not served any more");
    }
}

fn cancel_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _signal = terminate.recv() => {}
            _signal = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    })
}
