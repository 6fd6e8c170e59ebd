//! Everything that only the leader does, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::OperatorAddress;
use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Settings;
use crate::controllers::{self, Environment};
use crate::lease::{Candidate, Lost};
use crate::metrics::Metrics;
use crate::names::ObjectKey;
use crate::pods::{Asker, Pods, Poller, StateClient};
use crate::probing::ProbeClient;
use crate::scope::Scope;
use crate::server::Health;
use crate::stores::Stores;
use crate::trust::{Keeper, TrustState};
use crate::watching::{Queues, Trigger};

/// What is in flight may take this long to finish after SIGTERM; with the release of the lease, which takes up to 2 s,
/// the whole stop takes less than 10 s.
pub(super) const FINISH_WITHIN: Duration = Duration::from_secs(7);
/// The same after a task has ended early. The lease is not renewed any more, but the fence closes with it.
const ABANDON_WITHIN: Duration = Duration::from_secs(1);

/// What the port shows of the leader, and what it brings.
pub(super) struct Port<'a> {
    pub(super) health: &'a Health,
    pub(super) metrics: &'a Arc<Metrics>,
    /// The pods that have asked to be looked at.
    pub(super) attention: mpsc::Receiver<ObjectKey>,
}

/// Why a leader stops.
enum End {
    Stopped,
    Lost(Lost),
    Early(&'static str),
}

/// Everything that only the leader does.
pub(super) async fn lead(
    settings: &Settings,
    client: Client,
    candidate: &mut Candidate,
    Port { health, metrics, attention }: Port<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let client = if settings.leader_elect { candidate.fence().around(&client) } else { client };
    // Not `stop` itself: the controllers stop on more than a signal, and the lease is kept until they have.
    let work = stop.child_token();
    let mut tasks = JoinSet::new();
    start(settings, client, Port { health, metrics, attention }, &work, &mut tasks)?;
    health.leads(true);

    let end = {
        let keep =
            async { if settings.leader_elect { candidate.keep(stop).await } else { std::future::pending().await } };
        let mut keep = std::pin::pin!(keep);
        tokio::select! {
            // In this order: tasks that end because of a stop have not ended early.
            biased;
            () = stop.cancelled() => {
                health.unready("the operator is stopping");
                let began = Instant::now();
                // The lease is renewed while what is in flight finishes.
                tokio::select! {
                    () = finish(&mut tasks, FINISH_WITHIN) => {
                        tracing::info!(took = ?began.elapsed(), "controllers stopped");
                        End::Stopped
                    }
                    lost = &mut keep => End::Lost(lost),
                }
            }
            ended = tasks.join_next() => End::Early(ended.map_or("everything", |name| name.unwrap_or("a task that panicked"))),
            lost = &mut keep => End::Lost(lost),
        }
    };
    // Pods are sent to the next leader from now on.
    health.leads(false);
    work.cancel();
    health.unready(end.reason());
    if let End::Early(_) = end {
        finish(&mut tasks, ABANDON_WITHIN).await;
    }
    let unfinished = tasks.len();
    // At once where the lease is lost.
    tasks.shutdown().await;
    match end {
        End::Lost(_) => {}
        End::Stopped | End::Early(_) if unfinished == 0 => candidate.release().await,
        End::Stopped | End::Early(_) => {
            tracing::warn!(unfinished, "lease not released, it expires: a write may still be on its way");
        }
    }
    match end {
        End::Stopped | End::Lost(Lost::Gone) => {
            tracing::info!("stopped");
            Ok(())
        }
        End::Lost(_) | End::Early(_) => bail!("{}", end.reason()),
    }
}

impl End {
    fn reason(&self) -> String {
        match self {
            Self::Stopped => "the operator has stopped".to_owned(),
            Self::Lost(lost) => lost.to_string(),
            Self::Early(name) => format!("{name} has ended early"),
        }
    }
}

/// Starts everything that works, as tasks.
fn start(
    settings: &Settings,
    client: Client,
    Port { health, metrics, attention }: Port<'_>,
    work: &CancellationToken,
    tasks: &mut JoinSet<&'static str>,
) -> anyhow::Result<()> {
    let (sender, trust) = watch::channel(TrustState::Unknown);
    let subject = format!("system:serviceaccount:{}:{}", settings.namespace, settings.service_account);
    let keeper = Keeper { client: client.clone(), subject, sender };
    let until = work.clone();
    tasks.spawn(async move {
        keeper.run(until).await;
        "the watch of token keys"
    });
    let (pods, looks, queues) = (Arc::<Pods>::default(), Trigger::default(), Queues::default());
    let state_client =
        StateClient::new(Some(settings.token_file.clone())).context("failed to build the HTTP client")?;
    let asker = Asker::new(client.clone(), state_client, Arc::clone(&pods), Arc::clone(metrics));
    let address = settings.attention_url.clone().map(|attention| OperatorAddress { attention });
    let told = address.is_some();
    let poller = Poller { asker, looks: looks.clone(), attention, told, queues: queues.clone() };
    let until = work.clone();
    tasks.spawn(async move {
        until.run_until_cancelled(poller.run()).await;
        "the questions to pods"
    });
    let environment = Environment {
        client,
        agent_image: settings.agent_image.clone(),
        identity: settings.identity.clone(),
        concurrency: settings.concurrency,
        trust: trust.clone(),
        attention: address,
        pods,
        looks,
        probe_client: ProbeClient::new().context("failed to build the HTTP client of probes")?,
        reports: Arc::default(),
        index: Arc::default(),
        queues,
        metrics: Arc::clone(metrics),
    };
    let scopes = Scope::all(&settings.watch_namespaces);
    let prepared: Vec<_> = scopes.iter().map(|scope| controllers::prepare(scope, environment.clone())).collect();
    let stores: Vec<_> = prepared.iter().map(|scope| scope.stores.clone()).collect();
    prepared.into_iter().for_each(|scope| scope.start(work, tasks));
    health.set_stores(stores.clone());
    let mut needs = vec![need("the keys of service account tokens", keys(trust))];
    for (scope, stores) in scopes.iter().zip(stores) {
        let what = match scope {
            Scope::Cluster => "the first answers of the watches".to_owned(),
            Scope::Namespace(namespace) => format!("the first answers of the watches in namespace `{namespace}`"),
        };
        needs.push(need(what, filled(stores)));
    }
    tasks.spawn(become_ready(needs, health.clone(), work.clone()));
    Ok(())
}

/// Something that has to be there before the leader is ready.
struct Need {
    what: String,
    met: BoxFuture<'static, ()>,
}

fn need(what: impl Into<String>, met: impl Future<Output = ()> + Send + 'static) -> Need {
    Need { what: what.into(), met: Box::pin(met) }
}

/// Waits until the keys are known, or may not be read: then what needs them says so.
async fn keys(mut trust: watch::Receiver<TrustState>) {
    if trust.wait_for(|trust| *trust != TrustState::Unknown).await.is_err() {
        // Whoever reads them has ended, which ends everything.
        std::future::pending().await
    }
}

async fn filled(stores: Stores) {
    stores.filled().await;
}

/// Tells the probe what is missing until all is there, then waits to the end like every other task.
async fn become_ready(needs: Vec<Need>, health: Health, work: CancellationToken) -> &'static str {
    let began = Instant::now();
    let mut missing: Vec<_> = needs.iter().map(|need| need.what.clone()).collect();
    health.waits_for(&missing);
    let mut open: FuturesUnordered<_> = needs
        .into_iter()
        .map(|Need { what, met }| async move {
            met.await;
            what
        })
        .collect();
    let all = async {
        while let Some(there) = open.next().await {
            missing.retain(|what| *what != there);
            health.waits_for(&missing);
        }
        tracing::info!(took = ?began.elapsed(), "ready: watches filled, token keys read");
    };
    work.run_until_cancelled(all).await;
    work.cancelled().await;
    "readiness"
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
