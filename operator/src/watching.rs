//! Watches: each one fills a store and tells whoever is concerned by a change.

mod fill;
mod queue;

use std::collections::HashMap;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use astromesh_crds::v1alpha1::{Agent, Provider};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _, TryStreamExt as _, future};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store, store};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

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

    /// Whether agents wait for their documents, in whichever scope.
    #[must_use]
    pub fn are_busy(&self) -> bool {
        self.agents.is_busy() || self.peers.are_busy()
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
/// A watch that was denied is let in again when it has gone on for this long after a list: whoever may list and not watch is told
/// so within milliseconds.
const LET_IN_AFTER: Duration = Duration::from_secs(2);

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
        let config = config.page_size(PAGE);
        let begin = move || until_denied(watcher(api.clone(), config.clone()));
        let events = stream::repeat_with(begin).flatten().default_backoff().map_ok(move |event| match event {
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

/// A watch up to where it is denied. kube would open it again without a list, and nothing would tell that it has been let in.
fn until_denied<K: Send + 'static>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
) -> BoxStream<'static, watcher::Result<Event<K>>> {
    let go_on = |denied: &mut bool, event: watcher::Result<Event<K>>| {
        let ended = std::mem::replace(denied, event.as_ref().is_err_and(|error| denial(error).is_some()));
        future::ready((!ended).then_some(event))
    };
    events.scan(false, go_on).boxed()
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
    let mut let_in = None;
    loop {
        let next = match let_in {
            Some(at) => timeout_at(at, events.next()).await,
            None => Ok(events.next().await),
        };
        let event = match next {
            Ok(Some(Ok(event))) => event,
            Ok(Some(Err(error))) => {
                let_in = None;
                sink.failed(&error);
                continue;
            }
            Ok(None) => return,
            Err(_elapsed) => {
                let_in = None;
                sink.filled();
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
                if sink.is_denied() {
                    let_in = Some(Instant::now() + LET_IN_AFTER);
                } else {
                    sink.filled();
                }
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
    fn is_denied(&self) -> bool {
        matches!(&*self.fill.borrow(), Fill::Denied(_))
    }

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

    fn forbidden() -> Box<kube::core::Status> {
        Box::new(kube::core::Status::failure("not allowed to", "Forbidden").with_code(403))
    }

    const DENIED: &str = "the operator may not list and watch providers: not allowed to";

    /// What is denied `after` these events, with a watch that goes on.
    async fn denied(events: Vec<watcher::Result<Event<Provider>>>, after: Duration) -> Option<String> {
        let (sink, filling) = sink("providers");
        let events = stream::iter(events).chain(stream::pending());
        drop(tokio::time::timeout(after, drive(events, sink, Queues::default(), |_| Wakes::default())).await);
        filling.denied()
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_permission_is_known_until_a_list_and_a_watch_have_come_through() {
        let no_list = || Err(watcher::Error::InitialListFailed(kube::Error::Api(forbidden())));
        let no_watch = || Err(watcher::Error::WatchStartFailed(kube::Error::Api(forbidden())));
        let (at_once, later) = (Duration::from_millis(10), LET_IN_AFTER * 2);
        assert_eq!(denied(vec![no_list(), no_list()], later).await.as_deref(), Some(DENIED));
        let let_in = || std::iter::once(no_list()).chain(list(&["a"]));
        assert_eq!(denied(let_in().collect(), at_once).await.as_deref(), Some(DENIED), "the watch may be denied");
        assert_eq!(denied(let_in().collect(), later).await, None);
        let half = let_in().chain([no_watch()]).collect();
        assert_eq!(denied(half, later).await.as_deref(), Some(DENIED), "a list alone is not enough");
        assert_eq!(denied(list(&["a"]), at_once).await, None, "nobody waits who was not denied");
    }

    #[tokio::test]
    async fn a_watch_that_was_denied_begins_with_a_list_again() {
        let no_watch = Err(watcher::Error::WatchStartFailed(kube::Error::Api(forbidden())));
        let broken = Err(watcher::Error::NoResourceVersion);
        let events = list(&["a"]).into_iter().chain([broken, no_watch]).chain(list(&["b"]));
        let until: Vec<_> = until_denied(stream::iter(events.collect::<Vec<_>>())).collect().await;
        assert_eq!(until.len(), 5, "{until:?}");
        assert!(until[4].is_err());
    }
}
