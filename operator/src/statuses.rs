//! Writing statuses: by server-side apply, and only when they differ.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use dashmap::DashMap;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::applier::CALL_TIMEOUT;
use crate::names::{MANAGER, ObjectKey};

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The operator may not write it.
    #[error("the operator may not write the status: {0}")]
    Denied(String),
    /// The API server refused, or could not be asked.
    #[error("failed to write the status")]
    Write(#[source] Box<kube::Error>),
    /// The API server did not answer in time.
    #[error("the API server did not take the status in time")]
    Timeout,
}

/// Writes the statuses of one kind.
///
/// It remembers what it wrote until the store shows it: the store lags behind by a few milliseconds, and a status that is
/// compared with an older one could be left unwritten, or be given a wrong transition time.
///
/// Of each object it remembers a hash of what it has last found right, so that a status that somebody else writes is noticed.
pub struct Statuses<K: HasStatus> {
    client: Client,
    written: DashMap<ObjectKey, Written<K::Status>>,
    right: DashMap<ObjectKey, u64>,
}

struct Written<S> {
    uid: Option<String>,
    version: u64,
    status: S,
}

impl<K> Statuses<K>
where
    K: HasStatus + Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    K::Status: Clone + Default + PartialEq + Serialize,
{
    /// A writer that has written nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, written: DashMap::new(), right: DashMap::new() }
    }

    /// The newest status that is known of `object`. `stored` gives it as the store shows it now, which may be newer.
    #[must_use]
    pub fn live(&self, object: &K, stored: impl FnOnce() -> Option<Arc<K>>) -> K::Status {
        let uid = object.uid();
        let written = self.written.get(&ObjectKey::of(object)).filter(|written| written.uid == uid);
        let written = written.map(|written| (written.version, written.status.clone()));
        // In this order: what is not remembered any more is in the store.
        let stored = stored().filter(|stored| stored.uid() == uid && version(stored.as_ref()) > version(object));
        let newest = stored.as_deref().unwrap_or(object);
        let newer = written.filter(|(written, _)| *written > version(newest)).map(|(_, status)| status);
        newer.or_else(|| newest.status().cloned()).unwrap_or_default()
    }

    /// The store shows `object`: what was written of it until then need not be remembered. Says whether its status is not the one
    /// that was last found right: somebody else has written it.
    pub fn shown(&self, object: &K) -> bool {
        let key = ObjectKey::of(object);
        let is_shown = |_: &_, written: &Written<_>| written.uid != object.uid() || written.version <= version(object);
        self.written.remove_if(&key, is_shown);
        // A newer one is on its way to the store.
        !self.written.contains_key(&key)
            && self.right.get(&key).is_some_and(|right| object.status().map(hash) != Some(*right))
    }

    /// Writes `status` unless it equals `previous`. Says whether it wrote.
    ///
    /// # Errors
    /// See [`StatusError`]. An object that is gone is no error.
    pub async fn write(&self, object: &K, previous: &K::Status, status: &K::Status) -> Result<bool, StatusError> {
        let key = ObjectKey::of(object);
        // Before it is written: the watch may be quicker than the answer.
        self.right.insert(key.clone(), hash(status));
        if previous == status {
            return Ok(false);
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        // The uid keeps the status from an object that has taken the name since.
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": object.uid()},
            "status": status,
        });
        let params = PatchParams::apply(MANAGER).force();
        match tokio::time::timeout(CALL_TIMEOUT, api.patch_status(&key.name, &params, &Patch::Apply(&patch))).await {
            Ok(Ok(written)) => {
                let known = Written { uid: written.uid(), version: version(&written), status: status.clone() };
                self.written.insert(key, known);
                Ok(true)
            }
            Ok(Err(kube::Error::Api(answer))) if answer.code == 404 || answer.code == 409 => Ok(false),
            Ok(Err(kube::Error::Api(answer))) if answer.code == 403 => Err(StatusError::Denied(answer.message.clone())),
            Ok(Err(source)) => Err(StatusError::Write(Box::new(source))),
            Err(_elapsed) => Err(StatusError::Timeout),
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.written.remove(key);
        self.right.remove(key);
    }
}

fn hash(status: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    // A status is plain data, which can always be written.
    hasher.write(&serde_json::to_vec(status).unwrap_or_default());
    hasher.finish()
}

/// Resource versions of the API server are numbers that grow.
fn version(object: &impl kube::ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use astromesh_crds::v1alpha1::{Agent, AgentStatus};

    use super::*;
    use crate::testing::agent;
    use crate::testing::fake_api::FakeApi;

    /// An agent at a version, whose status tells it.
    fn at(version: u64) -> Arc<Agent> {
        let mut agent = agent(json!({}));
        agent.metadata.uid = Some("uid".into());
        agent.metadata.resource_version = Some(version.to_string());
        agent.status = Some(told(i64::try_from(version).unwrap()));
        Arc::new(agent)
    }

    fn told(generation: i64) -> AgentStatus {
        AgentStatus { observed_generation: Some(generation), ..AgentStatus::default() }
    }

    #[tokio::test]
    async fn what_was_written_is_known_until_the_store_shows_it() {
        let api = FakeApi::start().await;
        let statuses: Statuses<Agent> = Statuses::new(api.client.clone());
        let live = |seen: u64, stored: u64| statuses.live(&at(seen), || Some(at(stored))).observed_generation;
        assert_eq!(live(8, 8), Some(8), "nothing was written");
        assert_eq!(live(8, 9), Some(9), "the store is newer than what the reconciliation began with");
        let key = ObjectKey::of(at(8).as_ref());
        statuses.written.insert(key, Written { uid: Some("uid".into()), version: 10, status: told(100) });
        assert_eq!(live(8, 8), Some(100));
        statuses.shown(&at(9));
        assert_eq!(live(8, 9), Some(100), "the store does not show it yet");
        statuses.shown(&at(10));
        assert!(statuses.written.is_empty());
        assert_eq!(live(8, 10), Some(10), "what is not remembered is in the store");
    }

    #[tokio::test]
    async fn what_somebody_else_writes_is_noticed() {
        let api = FakeApi::start().await;
        let statuses: Statuses<Agent> = Statuses::new(api.client.clone());
        assert!(!statuses.shown(&at(8)), "nothing has been judged yet");
        statuses.write(&at(8), &told(8), &told(8)).await.unwrap();
        assert!(!statuses.shown(&at(8)));
        assert!(statuses.shown(&at(9)), "it says 9 where 8 is right");
        let mut emptied = Agent::clone(&at(9));
        emptied.status = None;
        assert!(statuses.shown(&emptied));
        let key = ObjectKey::of(at(8).as_ref());
        let written = Written { uid: Some("uid".into()), version: 10, status: told(8) };
        statuses.written.insert(key.clone(), written);
        assert!(!statuses.shown(&at(9)), "what is right is on its way to the store");
        statuses.forget(&key);
        assert!(!statuses.shown(&at(9)));
    }
}
