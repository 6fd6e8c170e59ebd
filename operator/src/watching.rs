//! Watches: each one fills a store and tells whoever is concerned by a change.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store, store};
use kube::runtime::watcher::{self, Config, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::metrics::Metrics;

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

/// A store, and the watch that fills it.
pub struct Watch<K: Lookup + 'static>
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

    /// Runs the watch for ever, and calls `touched` for every object that may have changed.
    pub async fn run(self, metrics: Arc<Metrics>, touched: impl AsyncFnMut(Touched<K>)) {
        let prune = self.prune;
        let events = watcher(self.api, self.config).default_backoff().modify(move |object| {
            object.meta_mut().managed_fields = None;
            prune(object);
        });
        drive(events, self.writer, metrics, touched).await;
    }
}

/// Feeds a store. During a list, objects are told about only when the store shows them.
async fn drive<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>>,
    mut writer: Writer<K>,
    metrics: Arc<Metrics>,
    mut touched: impl AsyncFnMut(Touched<K>),
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
                for object in listed.drain(..) {
                    touched(Touched::Present(object)).await;
                }
            }
            Event::Apply(object) => touched(Touched::Present(object)).await,
            Event::Delete(object) => touched(Touched::Gone(object)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use astromesh_crds::v1alpha1::Provider;
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
        drive(events, writer, Arc::default(), async |touched: Touched<Provider>| {
            told.push((touched.object().name_any(), store.len()));
        })
        .await;
        assert_eq!(told, [("a".into(), 2), ("b".into(), 2), ("a".into(), 1)]);
    }
}
