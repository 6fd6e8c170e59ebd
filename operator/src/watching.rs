//! Watches: each one fills a store and tells whoever is concerned by a change.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use astromesh_crds::v1alpha1::{Agent, Provider};
use futures::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store, store};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::metrics::Metrics;
use crate::peers::Peers;

/// How many requests to reconcile may wait for a controller to take them; then the watches wait.
const TRIGGERS_MAX: usize = 1_024;

/// Asks a controller to reconcile an object.
pub type Trigger<K> = mpsc::Sender<ObjectRef<K>>;

/// What has happened to an object.
#[derive(Debug)]
pub enum Touched<K> {
    /// It is there, perhaps changed.
    Present(K),
    /// It is gone.
    Gone(K),
}

impl<K> Touched<K> {
    /// The object as last seen.
    pub fn object(&self) -> &K {
        match self {
            Self::Present(object) | Self::Gone(object) => object,
        }
    }
}

/// A queue of requests to reconcile.
#[must_use]
pub fn triggers<K: Resource<DynamicType = ()>>() -> (Trigger<K>, mpsc::Receiver<ObjectRef<K>>) {
    mpsc::channel(TRIGGERS_MAX)
}

/// Who is to be woken by a change.
#[derive(Debug, Default)]
pub struct Wakes {
    /// These agents.
    pub agents: Vec<ObjectRef<Agent>>,
    /// These providers.
    pub providers: Vec<ObjectRef<Provider>>,
}

/// The queues of the controllers: those of one scope, and of the others whose objects refer to each other.
#[derive(Clone)]
pub struct Queues {
    /// Wakes agents.
    pub agents: Trigger<Agent>,
    /// Wakes providers.
    pub providers: Trigger<Provider>,
    /// The other scopes.
    pub peers: Peers,
}

impl Queues {
    /// Full queues make the watch wait.
    async fn wake(&self, wakes: Wakes) {
        let Wakes { agents, providers } = wakes;
        for agent in agents {
            self.wake_agent(agent).await;
        }
        for provider in providers {
            self.wake_provider(provider).await;
        }
    }

    /// Wakes an agent, in whichever scope it is.
    pub async fn wake_agent(&self, agent: ObjectRef<Agent>) {
        let other = agent.namespace.as_deref().and_then(|namespace| self.peers.agent_queue(namespace));
        // A closed queue means that everything stops.
        drop(other.as_ref().unwrap_or(&self.agents).send(agent).await);
    }

    /// Wakes a provider, in whichever scope it is.
    pub async fn wake_provider(&self, provider: ObjectRef<Provider>) {
        let other = provider.namespace.as_deref().and_then(|namespace| self.peers.provider_queue(namespace));
        drop(other.as_ref().unwrap_or(&self.providers).send(provider).await);
    }
}

/// A store, and the watch that fills it.
pub struct Watch<K: Lookup + Clone + 'static>
where
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    /// What is known.
    pub store: Store<K>,
    writer: Writer<K>,
    api: Api<K>,
    config: Config,
    prune: fn(&mut K),
}

impl<K> Watch<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// A watch that has not started yet. `prune` drops what need not be kept.
    #[must_use]
    pub fn new(api: Api<K>, config: Config, prune: fn(&mut K)) -> Self {
        let (store, writer) = store();
        Self { store, writer, api, config, prune }
    }

    /// Runs the watch for ever, and wakes whom `wakes` names for every object that may have changed.
    pub async fn run(self, metrics: Arc<Metrics>, queues: Queues, wakes: impl FnMut(&Touched<K>) -> Wakes + Send) {
        let prune = self.prune;
        let events = watcher(self.api, self.config).default_backoff().modify(move |object| {
            object.meta_mut().managed_fields = None;
            prune(object);
        });
        drive(events, self.writer, metrics, (queues, wakes)).await;
    }
}

/// Feeds a store. During a list, objects are told about only when the store shows them.
async fn drive<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    mut writer: Writer<K>,
    metrics: Arc<Metrics>,
    (queues, mut wakes): (Queues, impl FnMut(&Touched<K>) -> Wakes + Send),
) where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let mut events = pin!(events);
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                metrics.watch_error();
                tracing::warn!(kind = %K::kind(&()), error = %crate::telemetry::chain(&error), "watch broke, starting again");
                continue;
            }
        };
        writer.apply_watcher_event(&event);
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => listed.push(object),
            Event::InitDone => {
                for object in std::mem::take(&mut listed) {
                    queues.wake(wakes(&Touched::Present(object))).await;
                }
            }
            Event::Apply(object) => queues.wake(wakes(&Touched::Present(object))).await,
            Event::Delete(object) => queues.wake(wakes(&Touched::Gone(object))).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use kube::ResourceExt as _;
    use serde_json::json;

    use super::*;

    fn provider(name: &str) -> Provider {
        serde_json::from_value(json!({
            "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"type": "openai_compat", "endpoint": "https://api.example.com"},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn listed_objects_are_told_about_when_the_store_shows_them() {
        let (store, writer) = store::<Provider>();
        let events = stream::iter([
            Ok(Event::Init),
            Ok(Event::InitApply(provider("a"))),
            Ok(Event::InitApply(provider("b"))),
            Ok(Event::InitDone),
            Err(watcher::Error::NoResourceVersion),
            Ok(Event::Delete(provider("a"))),
        ]);
        let mut told = Vec::new();
        let queues = Queues { agents: triggers().0, providers: triggers().0, peers: Peers::default() };
        let wakes = |touched: &Touched<Provider>| {
            told.push((touched.object().name_any(), store.len()));
            Wakes::default()
        };
        drive(events, writer, Arc::default(), (queues, wakes)).await;
        assert_eq!(told, [("a".into(), 2), ("b".into(), 2), ("a".into(), 1)]);
    }
}
