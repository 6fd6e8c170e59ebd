//! The agents' pods, as the operator sees them: what each one answers to `GET /internal/state`.
//!
//! Which pod is asked follows from the address that the connection came to. What it answers follows from two watches: the
//! pods that kwok plays, and the ConfigMaps that their kubelets would mount.

mod herald;
pub(crate) mod state;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::serve::IncomingStream;
use axum::{Json, Router};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::herald::News;
use self::state::Served;
use crate::fleet::{MANAGED, NODE_PREFIX};
use crate::view::{Key, survived};

/// The operator's annotation of live pods; a change makes a kubelet refresh the pod's volumes at once.
const NUDGE: &str = "astromesh.io/revision";
/// Names the agent on its pods.
const AGENT: &str = "astromesh.io/agent";
/// How much later than the operator we may hear of a pod.
const START: Duration = Duration::from_secs(1);
/// The longest that a question may wait for an answer that differs.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What the watches know.
#[derive(Default)]
struct World {
    mounts: HashMap<Key, Arc<Served>>,
    pods: HashMap<IpAddr, FakePod>,
}

struct FakePod {
    uid: String,
    name: String,
    mount: Key,
    nudge: Option<String>,
    served: watch::Sender<Option<Arc<Served>>>,
}

#[derive(Clone)]
struct Kubelets {
    world: Arc<Mutex<World>>,
    /// A pod has started.
    started: watch::Sender<()>,
    refreshes: mpsc::UnboundedSender<Refresh>,
    news: mpsc::UnboundedSender<News>,
    load: Duration,
}

/// A volume that was refreshed, and what the pod will have built of it.
struct Refresh {
    built: Instant,
    address: IpAddr,
    uid: String,
    served: Option<Arc<Served>>,
}

/// Serves until a watch or the socket breaks.
pub(crate) async fn serve(client: Client, listen: SocketAddr, load: Duration) -> anyhow::Result<()> {
    let (refreshes, queue) = mpsc::unbounded_channel();
    let (news, told) = mpsc::unbounded_channel();
    let kubelets = Kubelets { world: Arc::default(), started: watch::Sender::new(()), refreshes, news, load };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let router = Router::new()
        .route("/internal/state", get(state))
        // The Providers' server, for whoever asks whether it is there.
        .route("/v1/models", get(|| async { Json(json!({"object": "list", "data": [{"id": "scripted"}]})) }))
        .with_state(kubelets.clone())
        .into_make_service_with_connect_info::<LocalAddress>();
    tokio::select! {
        served = axum::serve(listener, router) => served.context("the socket broke"),
        watched = kubelets.watch_config_maps(client.clone()) => watched,
        watched = kubelets.watch_pods(client.clone()) => watched,
        ended = herald::tell(client.clone(), told) => {
            ended.context("nobody tells of changes any more")?;
            anyhow::bail!("nobody tells of changes any more")
        }
        () = kubelets.build(queue) => anyhow::bail!("nobody refreshes volumes any more"),
    }
}

impl Kubelets {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch_config_maps(&self, client: Client) -> anyhow::Result<()> {
        let config = watcher::Config::default().labels(MANAGED);
        let mut events = watcher(Api::<ConfigMap>::all(client), config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match survived(event) {
                Some(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) => {
                    if let Some(served) = Served::of(&map) {
                        self.world().mounts.insert(Key::of(&map), Arc::new(served));
                        self.start_those_that_wait(&Key::of(&map));
                    }
                }
                Some(watcher::Event::Delete(map)) => drop(self.world().mounts.remove(&Key::of(&map))),
                None | Some(watcher::Event::Init | watcher::Event::InitDone) => {}
            }
        }
        anyhow::bail!("the watch of ConfigMaps has ended")
    }

    async fn watch_pods(&self, client: Client) -> anyhow::Result<()> {
        let config = watcher::Config::default().labels(MANAGED);
        let mut events = watcher(Api::<Pod>::all(client), config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match survived(event) {
                Some(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => self.sync(&pod),
                Some(watcher::Event::Delete(pod)) => {
                    let uid = pod.uid();
                    self.world().pods.retain(|_, known| Some(&known.uid) != uid.as_ref());
                }
                None | Some(watcher::Event::Init | watcher::Event::InitDone) => {}
            }
        }
        anyhow::bail!("the watch of pods has ended")
    }

    /// What a kubelet does when it hears of a pod: start it, or refresh its volumes.
    fn sync(&self, pod: &Pod) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()?.parse().ok());
        let (Some(address), Some(uid), Some(agent)) = (address, pod.uid(), pod.labels().get(AGENT)) else { return };
        if !node.is_some_and(|node| node.starts_with(NODE_PREFIX)) {
            return;
        }
        let nudge = pod.annotations().get(NUDGE).cloned();
        let mut world = self.world();
        let World { mounts, pods } = &mut *world;
        match pods.get_mut(&address) {
            Some(known) if known.uid == uid => {
                if known.nudge != nudge {
                    known.nudge = nudge;
                    let served = mounts.get(&known.mount).cloned();
                    let built = Instant::now() + self.load;
                    drop(self.refreshes.send(Refresh { built, address, uid, served }));
                }
            }
            Some(_) | None => {
                let mount = Key { namespace: pod.namespace().unwrap_or_default(), name: format!("{agent}-agent") };
                // kwok says that it is ready, so it has loaded.
                let served = watch::Sender::new(mounts.get(&mount).cloned());
                let fake = FakePod { uid, name: pod.name_any(), mount, nudge, served };
                self.announce(&fake);
                pods.insert(address, fake);
                drop(world);
                self.started.send_replace(());
            }
        }
    }

    /// Starts the pods that were known before their ConfigMap was.
    fn start_those_that_wait(&self, mount: &Key) {
        let world = self.world();
        for pod in world.pods.values().filter(|pod| pod.mount == *mount && pod.served.borrow().is_none()) {
            pod.served.send_replace(world.mounts.get(mount).cloned());
            self.announce(pod);
        }
    }

    /// Lets each pod serve what it was given as soon as it has built it. All take the same time, so the first is done first.
    async fn build(&self, mut queue: mpsc::UnboundedReceiver<Refresh>) {
        while let Some(Refresh { built, address, uid, served }) = queue.recv().await {
            tokio::time::sleep_until(built).await;
            if let Some(pod) = self.world().pods.get(&address).filter(|pod| pod.uid == uid) {
                pod.served.send_replace(served);
                self.announce(pod);
            }
        }
    }

    /// Tells the operator that the state of a pod has changed.
    fn announce(&self, pod: &FakePod) {
        let operator = pod.served.borrow().as_ref().and_then(|served| served.operator.clone());
        if let Some(operator) = operator {
            let (namespace, pod) = (pod.mount.namespace.clone(), pod.name.clone());
            drop(self.news.send(News { operator, namespace, pod }));
        }
    }

    /// What the pod with this address serves. The operator may hear of a pod before we do.
    async fn served(&self, address: IpAddr) -> Option<watch::Receiver<Option<Arc<Served>>>> {
        let find = || Some(self.world().pods.get(&address)?.served.subscribe());
        let mut started = self.started.subscribe();
        let known = tokio::time::timeout(START, started.wait_for(|()| find().is_some())).await.is_ok();
        let mut served = find().filter(|_| known)?;
        tokio::time::timeout(START, served.wait_for(Option::is_some)).await.ok()?.ok()?;
        Some(served)
    }
}

/// The address that a connection came to.
#[derive(Clone, Copy, Debug)]
struct LocalAddress(Option<IpAddr>);

impl Connected<IncomingStream<'_, TcpListener>> for LocalAddress {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(stream.io().local_addr().ok().map(|address| address.ip()))
    }
}

#[derive(Debug, Deserialize)]
struct Wait {
    /// Seconds to wait for a state that differs from the one of `If-None-Match`, with or without an `s`.
    wait: Option<String>,
}

async fn state(
    State(kubelets): State<Kubelets>,
    ConnectInfo(LocalAddress(address)): ConnectInfo<LocalAddress>,
    Query(query): Query<Wait>,
    headers: HeaderMap,
) -> Response {
    let Some(address) = address else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let Some(mut served) = kubelets.served(address).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let differs = |now: &Option<Arc<Served>>| now.as_ref().is_some_and(|now| Some(&now.etag) != known.as_ref());
    let seconds = query.wait.as_deref().and_then(|wait| wait.trim_end_matches('s').parse().ok()).unwrap_or(0);
    let wait = Duration::from_secs(seconds).min(WAIT_MAX);
    drop(tokio::time::timeout(wait, served.wait_for(differs)).await);
    let now = served.borrow().clone();
    match now {
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(now) if Some(&now.etag) == known.as_ref() => {
            (StatusCode::NOT_MODIFIED, [(header::ETAG, now.etag.clone())]).into_response()
        }
        Some(now) => {
            let headers = [(header::ETAG, now.etag.clone()), (header::CONTENT_TYPE, "application/json".to_owned())];
            (headers, now.body.clone()).into_response()
        }
    }
}
