//! Looks whether the servers of providers answer that nobody uses: without credentials, and at no cost in tokens.
//!
//! The controller of providers asks here and reads the last finding; the looks themselves are made by a task of its own,
//! so that a slow server holds up no reconciliation. A finding that has changed wakes the controller.

mod client;

use std::sync::Arc;
use std::time::Duration;

use astromesh_crds::v1alpha1::{Provider, ProviderType};
use dashmap::DashMap;
use futures::{StreamExt as _, stream};
use kube::runtime::reflector::ObjectRef;
use reqwest::Url;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use client::ProbeClient;

use crate::names::ObjectKey;
use crate::watching::Trigger;

/// How often a server is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A timer that fires a little early is not to skip a look.
const DUE_AFTER: Duration = Duration::from_secs(55);
/// How many servers are looked at at the same time.
const AT_ONCE: usize = 8;
/// How many looks may wait; one more is dropped and asked for again later.
const WAITING_MAX: usize = 4_096;

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The server answers, with whatever status.
    Answers,
    /// It does not, for this reason.
    Silent(String),
}

/// A look to be made.
#[derive(Debug)]
pub struct Look {
    provider: ObjectKey,
    url: Url,
}

/// The looks so far, in memory: a new leader starts over.
#[derive(Debug)]
pub struct Probes {
    known: DashMap<ObjectKey, Known>,
    queue: mpsc::Sender<Look>,
}

#[derive(Debug)]
struct Known {
    url: Url,
    generation: Option<i64>,
    asked: Instant,
    finding: Option<Finding>,
}

impl Probes {
    /// No looks yet, and the queue of those to make.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Look>) {
        let (queue, looks) = mpsc::channel(WAITING_MAX);
        (Self { known: DashMap::new(), queue }, looks)
    }

    /// The last finding for the server as the provider now names it. Asks for a new look when one is due.
    #[must_use]
    pub fn look(&self, provider: &Provider, now: Instant) -> Option<Finding> {
        let key = ObjectKey::of(provider);
        let url = models_url(provider)?;
        let generation = provider.metadata.generation;
        let due = |known: &Known| known.generation != generation || now.duration_since(known.asked) >= DUE_AFTER;
        let (finding, is_due) = match self.known.get(&key) {
            Some(known) if known.url == url => (known.finding.clone(), due(&known)),
            Some(_) | None => (None, true),
        };
        let look = Look { provider: key.clone(), url: url.clone() };
        if is_due && self.queue.try_send(look).is_ok() {
            self.known.insert(key, Known { url, generation, asked: now, finding: finding.clone() });
        }
        finding
    }

    /// Keeps a finding, unless the server has been given another address since. Says whether it is news.
    fn keep(&self, look: &Look, finding: Finding) -> bool {
        let Some(mut known) = self.known.get_mut(&look.provider).filter(|known| known.url == look.url) else {
            return false;
        };
        let finding = Some(finding);
        let news = known.finding != finding;
        known.finding = finding;
        news
    }

    /// Forgets a provider that is gone or has users.
    pub fn forget(&self, provider: &ObjectKey) {
        self.known.remove(provider);
    }
}

/// Makes the looks, a bounded number at the same time, until nobody can ask any more.
pub async fn run(
    probes: Arc<Probes>,
    looks: mpsc::Receiver<Look>,
    client: ProbeClient,
    wake: Trigger<ObjectRef<Provider>>,
) {
    let looks = stream::unfold(looks, |mut looks| async move { looks.recv().await.map(|look| (look, looks)) });
    let (probes, client, wake) = (&probes, &client, &wake);
    looks
        .for_each_concurrent(AT_ONCE, |look| async move {
            let finding = client.look(&look.url).await;
            if probes.keep(&look, finding) {
                let provider = ObjectRef::new(&look.provider.name).within(&look.provider.namespace);
                wake.send(provider);
            }
        })
        .await;
}

/// Where the server lists its models.
fn models_url(provider: &Provider) -> Option<Url> {
    let mut url = Url::parse(provider.spec.endpoint()?).ok()?;
    let path = url.path().trim_end_matches('/').to_owned();
    let path = match provider.spec.provider_type {
        ProviderType::Ollama => format!("{path}/api/tags"),
        ProviderType::OpenaiCompat | ProviderType::Vllm | ProviderType::Llamacpp | ProviderType::HfTgi => {
            format!("{}/models", if path.is_empty() { "/v1" } else { &path })
        }
    };
    url.set_path(&path);
    Some(url)
}

#[cfg(test)]
mod tests;
