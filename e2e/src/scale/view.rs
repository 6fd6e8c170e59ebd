//! What holds of our Agents, and since when: from watches, as any client sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::conditions::Reported as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fleet::{MANAGED, OURS, PREFIX};
use crate::pods::state::sha256;
use crate::say;

/// Between two looks at everything: a look at thousands of agents takes about a millisecond.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn of(object: &impl kube::ResourceExt) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }

    /// The ConfigMap of an agent.
    fn document(&self) -> Self {
        Self { namespace: self.namespace.clone(), name: format!("{}-agent", self.name) }
    }
}

/// What counts of an Agent.
#[derive(Clone, Debug)]
pub(crate) struct AgentView {
    generation: Option<i64>,
    programmed: bool,
    ready: bool,
    /// The revision that every ready pod serves.
    loaded: Option<String>,
}

/// What is known now.
#[derive(Default)]
pub(crate) struct Known {
    agents: HashMap<Key, AgentView>,
    /// SHA-256 of each document.
    documents: HashMap<Key, String>,
    changes: u64,
}

impl Known {
    pub(crate) fn agents(&self) -> usize {
        self.agents.len()
    }

    pub(crate) fn documents(&self) -> usize {
        self.documents.len()
    }

    pub(crate) fn programmed(&self) -> usize {
        self.agents.values().filter(|agent| agent.programmed).count()
    }

    pub(crate) fn ready(&self) -> usize {
        self.agents.keys().filter(|key| self.serves_newest(key)).count()
    }

    /// Changes of Agents and documents so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn document(&self, agent: &Key) -> Option<&String> {
        self.documents.get(&agent.document())
    }

    /// Whether an agent is Ready, and says that its pods serve what its ConfigMap holds.
    pub(crate) fn serves_newest(&self, key: &Key) -> bool {
        let Some(agent) = self.agents.get(key) else { return false };
        agent.ready && agent.loaded.is_some() && agent.loaded.as_ref() == self.document(key)
    }

    /// Whether an agent has come so far after an edit.
    pub(crate) fn is_ready_at(&self, key: &Key, generation: i64) -> bool {
        self.agents.get(key).is_some_and(|agent| agent.generation >= Some(generation)) && self.serves_newest(key)
    }
}

/// The watches.
#[derive(Clone)]
pub(crate) struct View {
    known: Arc<Mutex<Known>>,
    changed: watch::Sender<()>,
}

impl View {
    /// Starts watching; the tasks end when `tasks` is dropped.
    pub(crate) fn start(client: &Client, tasks: &mut JoinSet<anyhow::Result<()>>) -> Self {
        let view = Self { known: Arc::default(), changed: watch::Sender::new(()) };
        tasks.spawn(view.clone().watch_agents(client.clone()));
        tasks.spawn(view.clone().watch_documents(client.clone()));
        view
    }

    /// Looks at what is known.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.lock();
        change(&mut known);
        known.changes += 1;
        drop(known);
        self.changed.send_replace(());
    }

    /// Waits until something holds, and gives the moment.
    ///
    /// # Errors
    /// When it does not `within` this time.
    pub(crate) async fn until(
        &self,
        what: &str,
        within: Duration,
        mut holds: impl FnMut(&Known) -> bool,
    ) -> anyhow::Result<Instant> {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            loop {
                changed.borrow_and_update();
                if self.with(&mut holds) {
                    return Instant::now();
                }
                drop(changed.changed().await);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(within, waiting).await.with_context(|| {
            let (agents, ready) = self.with(|known| (known.agents(), known.ready()));
            format!("not within {within:?}: {what}; {ready} of {agents} agents are Ready")
        })
    }

    /// Waits until nothing has changed for some time.
    ///
    /// # Errors
    /// When it does not become quiet.
    pub(crate) async fn quiet(&self, time: Duration, within: Duration) -> anyhow::Result<()> {
        say(&format!("    waiting for {} s without a change", time.as_secs()));
        let mut changed = self.changed.subscribe();
        let waiting = async {
            while tokio::time::timeout(time, changed.changed()).await.is_ok() {
                changed.borrow_and_update();
            }
        };
        tokio::time::timeout(within, waiting).await.with_context(|| format!("agents still change after {within:?}"))
    }

    async fn watch_agents(self, client: Client) -> anyhow::Result<()> {
        let config = watcher::Config::default().labels(OURS);
        let mut events = watcher(Api::<Agent>::all(client), config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match survived(event) {
                Some(watcher::Event::Apply(agent) | watcher::Event::InitApply(agent)) => {
                    let view = AgentView {
                        generation: agent.metadata.generation,
                        programmed: agent.says("Programmed=True"),
                        ready: agent.says("Ready=True"),
                        loaded: agent.status.as_ref().and_then(|status| status.revision.as_ref()?.loaded.clone()),
                    };
                    self.change(|known| drop(known.agents.insert(Key::of(&agent), view)));
                }
                Some(watcher::Event::Delete(agent)) => self.change(|known| drop(known.agents.remove(&Key::of(&agent)))),
                None | Some(watcher::Event::Init | watcher::Event::InitDone) => {}
            }
        }
        anyhow::bail!("the watch of Agents has ended")
    }

    async fn watch_documents(self, client: Client) -> anyhow::Result<()> {
        let config = watcher::Config::default().labels(MANAGED);
        let mut events = watcher(Api::<ConfigMap>::all(client), config).default_backoff().boxed();
        while let Some(event) = events.next().await {
            match survived(event) {
                Some(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) => {
                    let document = map.data.as_ref().and_then(|data| data.get("document.json"));
                    let Some(document) = document.filter(|_| is_ours(&map)) else { continue };
                    let revision = sha256(document);
                    self.change(|known| drop(known.documents.insert(Key::of(&map), revision)));
                }
                Some(watcher::Event::Delete(map)) if is_ours(&map) => {
                    self.change(|known| drop(known.documents.remove(&Key::of(&map))));
                }
                None | Some(watcher::Event::Delete(_) | watcher::Event::Init | watcher::Event::InitDone) => {}
            }
        }
        anyhow::bail!("the watch of ConfigMaps has ended")
    }
}

/// The event, unless the watch broke: then it begins anew by itself.
pub(crate) fn survived<K>(event: Result<watcher::Event<K>, watcher::Error>) -> Option<watcher::Event<K>> {
    event.inspect_err(|error| say(&format!("    a watch begins anew: {error}"))).ok()
}

fn is_ours(map: &ConfigMap) -> bool {
    map.namespace().is_some_and(|namespace| namespace.starts_with(PREFIX))
}
