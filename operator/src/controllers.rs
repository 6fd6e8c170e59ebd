//! Builds and joins everything that runs while this replica is the leader.

pub mod agent;
pub mod provider;
mod watches;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use astromesh_crds::v1alpha1::{Agent, Provider};
use futures::{Stream, StreamExt as _, stream};
use kube::Client;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::watches::{Routes, Watches};
use crate::announcer::Announcer;
use crate::applier::Applier;
use crate::backoff::Backoffs;
use crate::metrics::Metrics;
use crate::peers::{Peer, Peers};
use crate::pods::{Nudges, StateClient};
use crate::probing::{self, ProbeClient, Probes};
use crate::reports::Reports;
use crate::scope::Scope;
use crate::statuses::Statuses;
use crate::stores::Stores;
use crate::texts::Texts;
use crate::trust::TrustBundle;
use crate::watching::{Queues, triggers};

/// Events that come together are handled together; an edit must not wait noticeably.
const DEBOUNCE: Duration = Duration::from_millis(10);

/// What every controller needs.
#[derive(Clone)]
pub struct Environment {
    /// The API server.
    pub client: Client,
    /// The image of agents that name none.
    pub agent_image: String,
    /// The name of this replica.
    pub identity: String,
    /// Reconciliations at the same time, per controller.
    pub concurrency: u16,
    /// Whom pods trust.
    pub trust: watch::Receiver<Option<Arc<TrustBundle>>>,
    /// Asks pods.
    pub state_client: StateClient,
    /// Looks at servers that nobody uses.
    pub probe_client: ProbeClient,
    /// What pods report, of every scope.
    pub reports: Arc<Reports>,
    /// The scopes of single namespaces.
    pub peers: Peers,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// Starts the watches and controllers of one scope, as tasks of `tasks`. They end after `stop`, with what is in flight
/// finished; one that ends before is an error, which the caller tells by its name.
///
/// Returns the stores, for readiness and for gauges.
#[must_use]
pub fn start(
    scope: &Scope,
    environment: Environment,
    stop: &CancellationToken,
    tasks: &mut JoinSet<&'static str>,
) -> Stores {
    let watches = Watches::new(scope, &environment.client);
    let (agent_trigger, agent_requests) = triggers();
    let (provider_trigger, provider_requests) = triggers();
    let Environment { client, agent_image, identity, concurrency, trust, state_client, probe_client, .. } = environment;
    let Environment { reports, peers, metrics, .. } = environment;
    let stores = watches.stores().with_peers(peers.clone());
    if let Scope::Namespace(namespace) = scope {
        let peer = Peer {
            agents: stores.agents.clone(),
            providers: stores.providers.clone(),
            agent_queue: agent_trigger.clone(),
            provider_queue: provider_trigger.clone(),
        };
        peers.join(namespace, peer);
    }
    let queues = Queues { agents: agent_trigger, providers: provider_trigger, peers };
    let announcer = Arc::new(Announcer::new(client.clone(), &identity));
    let (probes, looks) = Probes::new();
    let probes = Arc::new(probes);
    let agents = Arc::new(agent::Context {
        client: client.clone(),
        default_image: agent_image,
        stores: stores.clone(),
        trust: trust.clone(),
        applier: Applier::new(client.clone()),
        statuses: Statuses::new(client.clone()),
        texts: Texts::new(client.clone()),
        state_client,
        nudges: Nudges::default(),
        reports: Arc::clone(&reports),
        queues: queues.clone(),
        announcer: Arc::clone(&announcer),
        backoffs: Backoffs::default(),
        metrics: Arc::clone(&metrics),
    });
    let providers = Arc::new(provider::Context {
        stores: stores.clone(),
        statuses: Statuses::new(client),
        reports,
        probes: Arc::clone(&probes),
        announcer,
        backoffs: Backoffs::default(),
        metrics: Arc::clone(&metrics),
    });
    let routes = Routes { queues, agents: Arc::clone(&agents), providers: Arc::clone(&providers), metrics };
    tasks.spawn(run_probes(probing::run(probes, looks, probe_client, routes.queues.providers.clone()), stop.clone()));
    watches.start(&routes, stop, tasks);
    let config = Config::default().concurrency(concurrency).debounce(DEBOUNCE);
    tasks.spawn(fill(stores.clone(), stop.clone()));
    tasks.spawn(run_agents(agents, agent_requests, trust, config.clone(), stop.clone()));
    tasks.spawn(run_providers(providers, provider_requests, config, stop.clone()));
    stores
}

async fn fill(stores: Stores, stop: CancellationToken) -> &'static str {
    if let Some(Ok(())) = stop.run_until_cancelled(stores.fill()).await {
        stop.cancelled().await;
    }
    "the filling of stores"
}

async fn run_probes(looks: impl Future<Output = ()>, stop: CancellationToken) -> &'static str {
    stop.run_until_cancelled(looks).await;
    "the looks at servers"
}

async fn run_agents(
    ctx: Arc<agent::Context>,
    requests: mpsc::Receiver<ObjectRef<Agent>>,
    trust: watch::Receiver<Option<Arc<TrustBundle>>>,
    config: Config,
    stop: CancellationToken,
) -> &'static str {
    if stop.run_until_cancelled(ctx.stores.filled()).await.is_some() {
        // The watches feed the store; requests come from them by way of the channel.
        Controller::for_stream(stream::pending(), ctx.stores.agents.clone())
            .reconcile_on(queue(requests))
            .reconcile_all_on(changes(trust))
            .with_config(config)
            .graceful_shutdown_on(stop.cancelled_owned())
            .run(agent::reconcile, agent::error_policy, ctx)
            // Failures are logged where they happen; an object that is gone is no failure.
            .for_each(|_result| ready(()))
            .await;
    }
    "the controller of agents"
}

async fn run_providers(
    ctx: Arc<provider::Context>,
    requests: mpsc::Receiver<ObjectRef<Provider>>,
    config: Config,
    stop: CancellationToken,
) -> &'static str {
    if stop.run_until_cancelled(ctx.stores.filled()).await.is_some() {
        Controller::for_stream(stream::pending(), ctx.stores.providers.clone())
            .reconcile_on(queue(requests))
            .with_config(config)
            .graceful_shutdown_on(stop.cancelled_owned())
            .run(provider::reconcile, provider::error_policy, ctx)
            .for_each(|_result| ready(()))
            .await;
    }
    "the controller of providers"
}

/// The requests as a stream.
fn queue<T: Send + 'static>(requests: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(requests, |mut requests| async move { requests.recv().await.map(|request| (request, requests)) })
}

/// Each change of a watched value.
fn changes<T: Send + Sync + 'static>(value: watch::Receiver<T>) -> impl Stream<Item = ()> + Send + 'static {
    stream::unfold(value, |mut value| async move { value.changed().await.is_ok().then_some(((), value)) })
}
