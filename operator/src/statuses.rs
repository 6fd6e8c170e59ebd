//! Writing statuses: by server-side apply, and only when they differ.

use std::fmt::Debug;

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
pub struct Statuses<K: HasStatus> {
    client: Client,
    written: DashMap<ObjectKey, Written<K::Status>>,
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
        Self { client, written: DashMap::new() }
    }

    /// The newest status that is known of `object`.
    #[must_use]
    pub fn live(&self, object: &K, stored: Option<&K::Status>) -> K::Status {
        self.shown(object);
        let newer = self.written.get(&ObjectKey::of(object)).map(|written| written.status.clone());
        newer.or_else(|| stored.cloned()).unwrap_or_default()
    }

    /// The store shows `object`: what was written of it until then need not be remembered.
    pub fn shown(&self, object: &K) {
        let is_old = |_: &_, written: &_| is_shown(written, object);
        self.written.remove_if(&ObjectKey::of(object), is_old);
    }

    /// Writes `status` unless it equals `previous`. Says whether it wrote.
    ///
    /// # Errors
    /// See [`StatusError`]. An object that is gone is no error.
    pub async fn write(&self, object: &K, previous: &K::Status, status: &K::Status) -> Result<bool, StatusError> {
        if previous == status {
            return Ok(false);
        }
        let key = ObjectKey::of(object);
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
    }
}

fn is_shown<K: Resource, S>(written: &Written<S>, object: &K) -> bool {
    written.uid != object.uid() || written.version <= version(object)
}

/// Resource versions of the API server are numbers that grow.
fn version(object: &impl kube::ResourceExt) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}
