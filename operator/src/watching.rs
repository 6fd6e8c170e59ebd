//! Watches: each one fills a store and tells whoever is concerned by a change.

mod fill;
mod queue;

use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use astromesh_crds::v1alpha1::{Agent, Provider};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store, store};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

pub use fill::{Fill, Filling};
pub use queue::{Admission, Trigger};

use crate::metrics::Metrics;
use crate::peers::Peers;

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

/// Who is to be woken by a change.
#[derive(Debug, Default)]
pub struct Wakes {
    /// These agents: their documents may have to change.
    pub agents: Vec<ObjectRef<Agent>>,
    /// These agents: what is said of them may have to change. It waits until all documents are written.
    pub seen: Vec<ObjectRef<Agent>>,
    /// These providers.
    pub providers: Vec<ObjectRef<Provider>>,
}

/// The queues of the controllers: those of one scope, and of the others whose objects refer to each other.
#[derive(Clone, Default)]
pub struct Queues {
    /// Wakes agents.
    pub agents: Trigger<ObjectRef<Agent>>,
    /// Wakes providers.
    pub providers: Trigger<ObjectRef<Provider>>,
    /// The other scopes.
    pub peers: Peers,
}

impl Queues {
    fn wake(&self, wakes: Wakes) {
        let Wakes { agents, seen, providers } = wakes;
        agents.into_iter().for_each(|agent| self.agents_of(&agent).send(agent));
        seen.into_iter().for_each(|agent| self.agent_seen(agent));
        providers.into_iter().for_each(|provider| self.wake_provider(provider));
    }

    /// Wakes an agent of whose pods or children something is seen, in whichever scope it is.
    pub fn agent_seen(&self, agent: ObjectRef<Agent>) {
        self.agents_of(&agent).send_later(agent);
    }

    fn agents_of(&self, agent: &ObjectRef<Agent>) -> Trigger<ObjectRef<Agent>> {
        let other = agent.namespace.as_deref().and_then(|namespace| self.peers.agent_queue(namespace));
        other.unwrap_or_else(|| self.agents.clone())
    }

    /// Wakes a provider, in whichever scope it is.
    pub fn wake_provider(&self, provider: ObjectRef<Provider>) {
        let other = provider.namespace.as_deref().and_then(|namespace| self.peers.provider_queue(namespace));
        other.as_ref().unwrap_or(&self.providers).send(provider);
    }
}

/// A store, and the watch that fills it.
pub struct Watch<K: Lookup<DynamicType = ()> + Clone + 'static> {
    /// What is known.
    pub store: Store<K>,
    /// How far it has come.
    pub filling: Filling,
    fill: watch::Sender<Fill>,
    writer: Writer<K>,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
}

/// Objects of one request of a list: a page is in memory several times while it is read.
const PAGE: u32 = 100;

impl<K> Watch<K>
where
    K: Lookup<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    /// A watch that has not started yet. `resource` is the plural; `keep` takes of an object what is kept.
    #[must_use]
    pub fn new<R>(resource: &'static str, api: Api<R>, config: Config, keep: fn(R) -> K) -> Self
    where
        R: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let (store, writer) = store();
        let (fill, filling) = Filling::new(resource);
        let events = watcher(api, config.page_size(PAGE)).default_backoff().map_ok(move |event| match event {
            Event::Init => Event::Init,
            Event::InitDone => Event::InitDone,
            Event::InitApply(object) => Event::InitApply(keep(object)),
            Event::Apply(object) => Event::Apply(keep(object)),
            Event::Delete(object) => Event::Delete(keep(object)),
        });
        Self { store, filling, fill, writer, events: events.boxed() }
    }

    /// Runs the watch for ever, and wakes whom `wakes` names for every object that may have changed.
    pub async fn run(self, metrics: Arc<Metrics>, queues: Queues, wakes: impl FnMut(&Touched<K>) -> Wakes + Send) {
        let sink =
            Sink { resource: self.filling.resource, store: self.store, writer: self.writer, fill: self.fill, metrics };
        drive(self.events, sink, queues, wakes).await;
    }
}

/// Where the events of a watch go.
struct Sink<K: Lookup<DynamicType = ()> + Clone + 'static> {
    resource: &'static str,
    store: Store<K>,
    writer: Writer<K>,
    fill: watch::Sender<Fill>,
    metrics: Arc<Metrics>,
}

/// Feeds a store. During a list, objects are told about only when the store shows them, and those that have gone while the
/// watch was broken are told about then too.
async fn drive<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    mut sink: Sink<K>,
    queues: Queues,
    mut wakes: impl FnMut(&Touched<K>) -> Wakes + Send,
) where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    let mut events = pin!(events);
    let (mut listed, mut before) = (Vec::new(), HashMap::new());
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                sink.failed(&error);
                continue;
            }
        };
        if matches!(event, Event::Init) {
            listed.clear();
            before = sink.store.state().into_iter().map(|known| (ObjectRef::from_obj(known.as_ref()), known)).collect();
        }
        sink.writer.apply_watcher_event(&event);
        match event {
            Event::Init => {}
            Event::InitApply(object) => {
                let object = ObjectRef::from_obj(&object);
                before.remove(&object);
                listed.push(object);
            }
            Event::InitDone => {
                // From the store, one by one: thousands are not held twice.
                for object in std::mem::take(&mut listed).iter().filter_map(|object| sink.store.get(object)) {
                    queues.wake(wakes(&Touched::Present(K::clone(&object))));
                }
                for (_, gone) in std::mem::take(&mut before) {
                    queues.wake(wakes(&Touched::Gone(Arc::unwrap_or_clone(gone))));
                }
                sink.filled();
            }
            Event::Apply(object) => queues.wake(wakes(&Touched::Present(object))),
            Event::Delete(object) => queues.wake(wakes(&Touched::Gone(object))),
        }
    }
}

impl<K> Sink<K>
where
    K: Lookup<DynamicType = ()> + Clone + 'static,
{
    fn filled(&self) {
        self.metrics.watch_denied(self.resource, false);
        self.fill.send_if_modified(|fill| std::mem::replace(fill, Fill::Filled) != Fill::Filled);
    }

    fn failed(&self, error: &watcher::Error) {
        self.metrics.watch_error();
        let Some(message) = denial(error) else {
            let error = crate::telemetry::chain(error);
            tracing::warn!(resource = self.resource, error, "watch broke, starting again");
            return;
        };
        self.metrics.watch_denied(self.resource, true);
        let denied = Fill::Denied(message.clone());
        // Said once, and not at every try.
        if self.fill.send_if_modified(|fill| std::mem::replace(fill, denied.clone()) != denied) {
            tracing::error!(resource = self.resource, message, "the operator may not list and watch, trying again");
        }
    }
}

/// What the API server says where a permission is missing.
fn denial(error: &watcher::Error) -> Option<String> {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return None;
    };
    (status.code == 403).then(|| status.message.clone())
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

    fn sink(resource: &'static str) -> (Sink<Provider>, Filling) {
        let (store, writer) = store();
        let (fill, filling) = Filling::new(resource);
        (Sink { resource, store, writer, fill, metrics: Arc::default() }, filling)
    }

    /// What the watch tells of these events: the object, whether it is there, and how many the store shows then.
    async fn told(events: Vec<watcher::Result<Event<Provider>>>) -> (Vec<(String, bool, usize)>, Option<String>) {
        let (sink, filling) = sink("providers");
        let store = sink.store.clone();
        let mut told = Vec::new();
        let wakes = |touched: &Touched<Provider>| {
            let there = matches!(touched, Touched::Present(_));
            told.push((touched.object().name_any(), there, store.len()));
            Wakes::default()
        };
        drive(stream::iter(events), sink, Queues::default(), wakes).await;
        (told, filling.denied())
    }

    fn list(names: &[&str]) -> Vec<watcher::Result<Event<Provider>>> {
        let items = names.iter().map(|name| Event::InitApply(provider(name)));
        std::iter::once(Event::Init).chain(items).chain([Event::InitDone]).map(Ok).collect()
    }

    #[tokio::test]
    async fn listed_objects_are_told_about_when_the_store_shows_them() {
        let mut events = list(&["a", "b"]);
        events.push(Err(watcher::Error::NoResourceVersion));
        events.push(Ok(Event::Delete(provider("a"))));
        let expected = [("a".into(), true, 2), ("b".into(), true, 2), ("a".into(), false, 1)];
        assert_eq!(told(events).await.0, expected);
    }

    #[tokio::test]
    async fn what_has_gone_while_the_watch_was_broken_is_told_about_after_the_next_list() {
        let events = list(&["a", "b"]).into_iter().chain(list(&["b"])).collect();
        let expected = [("a".into(), true, 2), ("b".into(), true, 2), ("b".into(), true, 1), ("a".into(), false, 1)];
        assert_eq!(told(events).await.0, expected);
    }

    #[tokio::test]
    async fn a_missing_permission_is_known_until_the_next_list() {
        let status = kube::core::Status::failure("not allowed to", "Forbidden").with_code(403);
        let refused = || Err(watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status.clone()))));
        let (_, denied) = told(vec![refused(), refused()]).await;
        assert_eq!(denied.as_deref(), Some("the operator may not list and watch providers: not allowed to"));
        assert_eq!(told(std::iter::once(refused()).chain(list(&[])).collect()).await.1, None);
    }
}
