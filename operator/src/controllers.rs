//! Builds and joins everything that runs while this replica is the leader.

pub mod agent;
pub mod provider;
mod watches;

use std::future::ready as ready_now;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::OperatorAddress;
use astromesh_crds::v1alpha1::{Agent, Provider};
use futures::{Stream, StreamExt as _, stream};
use kube::Client;
use kube::runtime::controller::{self, Action, Config, Controller};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::agent::last_good::LastGoods;
use self::watches::{Routes, Watches};
use crate::announcer::Announcer;
use crate::applier::Applier;
use crate::backoff::Backoffs;
use crate::index::Index;
use crate::metrics::Metrics;
use crate::names::ObjectKey;
use crate::peers::Peer;
use crate::pods::Pods;
use crate::probing::{self, ProbeClient, Probes};
use crate::reports::Reports;
use crate::scope::Scope;
use crate::statuses::Statuses;
use crate::stores::Stores;
use crate::texts::Texts;
use crate::trust::TrustState;
use crate::watching::{Admission, Queues, Trigger};

/// Events that come together are handled together; an edit must not wait noticeably.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// What pods report of a provider comes from many agents one after the other; it is put together once.
const DEBOUNCE_REPORTS: Duration = Duration::from_millis(100);

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
    pub trust: watch::Receiver<TrustState>,
    /// Where pods ask for attention; absent: nowhere.
    pub attention: Option<OperatorAddress>,
    /// What is known of pods, of every scope.
    pub pods: Arc<Pods>,
    /// Has pods asked what they serve.
    pub looks: Trigger<ObjectKey>,
    /// Looks at servers that nobody uses.
    pub probe_client: ProbeClient,
    /// What pods report, of every scope.
    pub reports: Arc<Reports>,
    /// Who refers to what, in every scope.
    pub index: Arc<Index>,
    /// Wakes the controllers of the whole cluster, and those of single namespaces.
    pub queues: Queues,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// A scope that the others know, and that does nothing yet.
pub struct Prepared {
    /// What its watches will know, for readiness and for gauges.
    pub stores: Stores,
    watches: Watches,
    environment: Environment,
}

/// Prepares a scope. All are prepared before the first one starts: each waits for what the others know.
#[must_use]
pub fn prepare(scope: &Scope, mut environment: Environment) -> Prepared {
    let watches = Watches::new(scope, &environment.client);
    let peers = environment.queues.peers.clone();
    let stores = watches.stores().among(Arc::clone(&environment.index), peers.clone());
    if let Scope::Namespace(namespace) = scope {
        environment.queues = Queues { peers: peers.clone(), ..Queues::default() };
        let peer = Peer {
            agents: stores.agents.clone(),
            providers: stores.providers.clone(),
            agent_queue: environment.queues.agents.clone(),
            provider_queue: environment.queues.providers.clone(),
            permissions: stores.permissions.clone(),
        };
        peers.join(namespace, peer);
    }
    Prepared { stores, watches, environment }
}

impl Prepared {
    /// Starts the watches and controllers, as tasks of `tasks`. They end after `stop`, with what is in flight finished; one that
    /// ends before is an error, which the caller tells by its name.
    pub fn start(self, stop: &CancellationToken, tasks: &mut JoinSet<&'static str>) {
        let Self { stores, watches, environment } = self;
        let Environment { client, agent_image, identity, concurrency, trust, attention, pods, looks, .. } = environment;
        let Environment { probe_client, reports, queues, metrics, .. } = environment;
        let announcer = Arc::new(Announcer::new(client.clone(), &identity));
        let (probes, probe_looks) = Probes::new();
        let probes = Arc::new(probes);
        let agents = Arc::new(agent::Context {
            default_image: agent_image,
            stores: stores.clone(),
            trust: trust.clone(),
            applier: Applier::new(client.clone()),
            statuses: Statuses::new(client.clone()),
            texts: Texts::new(client.clone()),
            last_goods: LastGoods::new(client.clone()),
            attention,
            pods,
            looks: looks.clone(),
            reports: Arc::clone(&reports),
            queues: queues.clone(),
            announcer: Arc::clone(&announcer),
            backoffs: Backoffs::default(),
            metrics: Arc::clone(&metrics),
        });
        let providers = Arc::new(provider::Context {
            stores,
            statuses: Statuses::new(client),
            reports,
            probes: Arc::clone(&probes),
            announcer,
            backoffs: Backoffs::default(),
            metrics: Arc::clone(&metrics),
        });
        let (agent_requests, provider_requests) = (queues.agents.clone(), queues.providers.clone());
        let routes = Routes { queues, looks, agents: Arc::clone(&agents), providers: Arc::clone(&providers), metrics };
        tasks.spawn(run_probes(
            probing::run(probes, probe_looks, probe_client, routes.queues.providers.clone()),
            stop.clone(),
        ));
        watches.start(&routes, stop, tasks);
        let config = |debounce| Config::default().concurrency(concurrency).debounce(debounce);
        let requests = Arc::new(Admission::new(agent_requests, usize::from(concurrency)));
        tasks.spawn(run_agents(agents, requests, trust, config(DEBOUNCE), stop.clone()));
        tasks.spawn(run_providers(providers, provider_requests, config(DEBOUNCE_REPORTS), stop.clone()));
    }
}

async fn run_probes(looks: impl Future<Output = ()>, stop: CancellationToken) -> &'static str {
    stop.run_until_cancelled(looks).await;
    "the looks at servers"
}

/// Nothing is reconciled before the watches have listed everything and the token keys are known: what is not there yet would
/// be told as a failure.
async fn run_agents(
    ctx: Arc<agent::Context>,
    requests: Arc<Admission<ObjectRef<Agent>>>,
    mut trust: watch::Receiver<TrustState>,
    config: Config,
    stop: CancellationToken,
) -> &'static str {
    let ready = async {
        ctx.stores.filled_with_others().await;
        // The keeper of the keys ends only when everything stops.
        drop(trust.wait_for(|trust| *trust != TrustState::Unknown).await);
    };
    if stop.run_until_cancelled(ready).await.is_some() {
        let everybody = wake_all(changes(trust), Arc::clone(&ctx));
        // The watches feed the store; requests come from them by way of the trigger.
        let controller = Controller::for_stream(stream::pending(), ctx.stores.agents.clone())
            .reconcile_on(Arc::clone(&requests).admitted())
            .with_config(config)
            .graceful_shutdown_on(stop.cancelled_owned())
            .run(agent::reconcile, agent::error_policy, Arc::clone(&ctx))
            // Failures are logged where they happen; an object that is gone is no failure.
            .for_each(|result| {
                if let Some(agent) = worked_on(result) {
                    requests.done(&agent);
                }
                ready_now(())
            });
        tokio::select! {
            () = controller => {}
            () = everybody => {}
        }
    }
    "the controller of agents"
}

/// Wakes all agents at each change of the token keys, and of what the operator may see. An edit goes before them.
async fn wake_all(keys: impl Stream<Item = ()>, ctx: Arc<agent::Context>) {
    let mut changes = pin!(stream::select(keys, ctx.stores.permissions.clone().changes()));
    while let Some(()) = changes.next().await {
        for agent in ctx.stores.agents.state() {
            ctx.queues.agent_seen(ObjectRef::from_obj(agent.as_ref()));
        }
    }
    std::future::pending().await
}

/// Which object a controller has looked at, or has not found.
fn worked_on<E, Q>(result: Result<(ObjectRef<Agent>, Action), controller::Error<E, Q>>) -> Option<ObjectRef<Agent>> {
    match result {
        Ok((agent, _action)) => Some(agent),
        Err(controller::Error::ObjectNotFound(agent) | controller::Error::ReconcilerFailed(_, agent)) => {
            Some(agent.into_kind_unchecked(()))
        }
        Err(controller::Error::QueueError(_) | controller::Error::RunnerError(_)) => None,
    }
}

async fn run_providers(
    ctx: Arc<provider::Context>,
    requests: Trigger<ObjectRef<Provider>>,
    config: Config,
    stop: CancellationToken,
) -> &'static str {
    if stop.run_until_cancelled(ctx.stores.filled_with_others()).await.is_some() {
        Controller::for_stream(stream::pending(), ctx.stores.providers.clone())
            .reconcile_on(requests.requests())
            .with_config(config)
            .graceful_shutdown_on(stop.cancelled_owned())
            .run(provider::reconcile, provider::error_policy, ctx)
            .for_each(|_result| ready_now(()))
            .await;
    }
    "the controller of providers"
}

/// Each change of a watched value.
fn changes<T: Send + Sync + 'static>(value: watch::Receiver<T>) -> impl Stream<Item = ()> + Send + 'static {
    stream::unfold(value, |mut value| async move { value.changed().await.is_ok().then_some(((), value)) })
}
