//! Server-side apply of children: only what changed is written, and nobody else's object is touched.

mod desired;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use dashmap::DashMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

pub use desired::{ChildKind, Desired};

use crate::names::{APPLIED_ANNOTATION, MANAGER, ObjectKey};
use crate::{drift, labels};

/// One call of the API server; the client has no time-out of its own for responses.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// What the controller of Deployments writes for itself.
const ROLLOUT_ANNOTATIONS: &str = "deployment.kubernetes.io/";

/// What is known of a live child.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Its generation.
    pub generation: i64,
    /// Its status; null when there was no need to ask for it.
    pub status: Value,
}

/// What tells two states of a child apart, as far as somebody other than its own controller has changed it.
///
/// A Deployment's `resourceVersion` moves with its status all the time; its generation moves with its spec alone.
#[must_use]
pub fn version(kind: ChildKind, meta: &ObjectMeta) -> Option<String> {
    if kind != ChildKind::Deployment {
        return meta.resource_version.clone();
    }
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.labels.hash(&mut hasher);
    for annotation in meta.annotations.iter().flatten().filter(|(key, _)| !key.starts_with(ROLLOUT_ANNOTATIONS)) {
        annotation.hash(&mut hasher);
    }
    for owner in meta.owner_references.iter().flatten() {
        (&owner.uid, owner.controller).hash(&mut hasher);
    }
    Some(format!("{}/{:x}", meta.generation?, hasher.finish()))
}

/// Whose child it must be.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Its `metadata.uid`.
    pub uid: String,
    /// Its kind and name, for the message of a conflict.
    pub name: String,
}

/// Why a child is not as desired.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The object exists and is not ours.
    #[error("{kind} `{name}` exists and {owner}; delete or rename it")]
    Conflict {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// The operator may not do it.
    #[error("the operator may not {verb} {kind} `{name}`: {message}")]
    Denied {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// `get` or `patch`.
        verb: &'static str,
        /// What the API server says.
        message: String,
    },
    /// The API server, a quota or a policy refused the object: an edit is needed.
    #[error("the API server refused {kind} `{name}`: {message}")]
    Refused {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// What the API server says, and the remedy where it does not say it.
        message: String,
    },
    /// The API server failed.
    #[error("the API server failed with {kind} `{name}`: {message}")]
    Failed {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// What the API server says.
        message: String,
    },
    /// The namespace is being deleted, and the agent with it.
    #[error("the namespace of {kind} `{name}` is being deleted")]
    Ending {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
    },
    /// The API server could not be asked.
    #[error("the API server did not answer for {kind} `{name}`")]
    Unavailable {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// What went wrong; absent for a time-out.
        #[source]
        source: Option<Box<kube::Error>>,
    },
}

/// The last look at a child: as long as neither side has changed, there is no need for another one.
#[derive(Clone, Debug)]
struct Checked {
    kind: ChildKind,
    hash: [u8; 32],
    version: String,
    generation: i64,
}

/// Applies children.
pub struct Applier {
    client: Client,
    /// Of the children of each name; there are a few kinds.
    checked: DashMap<ObjectKey, Vec<Checked>>,
}

impl Applier {
    /// An applier that has seen nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, checked: DashMap::new() }
    }

    /// Makes the live child be as desired, but for what others have added where others may.
    ///
    /// `seen` is the child's [`version`] as the watch last told it: when it is the one of the last look, the child is as it was
    /// then, and is not read again.
    ///
    /// # Errors
    /// See [`ApplyError`]. Nothing is written on a conflict.
    pub async fn apply(&self, desired: &Desired, owner: &Owner, seen: Option<&str>) -> Result<Live, ApplyError> {
        let checked = self.checked(desired).filter(|checked| seen == Some(checked.version.as_str()));
        if let Some(last) = checked.as_ref().filter(|last| last.hash == desired.hash) {
            return Ok(Live { generation: last.generation, status: Value::Null });
        }
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &desired.key.namespace, &desired.kind.api_resource());
        let name = &desired.key.name;
        let (exists, found) = if checked.is_some() {
            // It is ours and unchanged; only what is desired has changed.
            (true, None)
        } else {
            let found = call("get", desired, api.get_opt(name)).await?;
            let exists = found.is_some();
            if let Some(live) = &found {
                is_ours(desired, owner, live)?;
            }
            (exists, found.filter(|live| is_as_desired(desired, live)))
        };
        let live = match found {
            Some(live) => live,
            None => {
                let written = write(&api, desired, exists).await?;
                tracing::info!(kind = %desired.kind, namespace = %desired.key.namespace, %name, "child applied");
                written
            }
        };
        let generation = live.metadata.generation.unwrap_or_default();
        if let Some(version) = version(desired.kind, &live.metadata) {
            self.check(desired, version, generation);
        }
        Ok(Live { generation, status: live.data.get("status").cloned().unwrap_or_default() })
    }

    fn checked(&self, desired: &Desired) -> Option<Checked> {
        self.checked.get(&desired.key)?.iter().find(|checked| checked.kind == desired.kind).cloned()
    }

    fn check(&self, desired: &Desired, version: String, generation: i64) {
        let Desired { kind, key, hash, .. } = desired;
        let mut all = self.checked.entry(key.clone()).or_default();
        all.retain(|checked| checked.kind != *kind);
        all.reserve_exact(1);
        all.push(Checked { kind: *kind, hash: *hash, version, generation });
    }

    /// Forgets the children of that name, because their owner is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.checked.remove(key);
    }
}

/// Applies a child.
///
/// Where somebody has changed the key of a list item, such as the port of a Service, an apply adds ours beside theirs,
/// and the API server refuses the pair. Then a merge puts our list in place of the live one, and the apply is repeated
/// for the ownership of its fields. What somebody has added where nobody may is taken away by a merge, too.
async fn write(api: &Api<DynamicObject>, desired: &Desired, exists: bool) -> Result<DynamicObject, ApplyError> {
    let name = &desired.key.name;
    let params = PatchParams::apply(MANAGER).force();
    let apply = async || call("patch", desired, api.patch(name, &params, &Patch::Apply(&desired.value))).await;
    let merge = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    let written = match apply().await {
        Err(refused @ ApplyError::Refused { .. }) if exists => {
            match call("patch", desired, api.patch(name, &merge, &Patch::Merge(&desired.value))).await {
                Ok(_merged) => apply().await,
                Err(_also_refused) => Err(refused),
            }
        }
        result => result,
    }?;
    let surplus =
        serde_json::to_value(&written).ok().and_then(|live| drift::surplus(desired.kind, &live, &desired.value));
    match surplus {
        Some(surplus) => call("patch", desired, api.patch(name, &merge, &Patch::Merge(&surplus))).await,
        None => Ok(written),
    }
}

/// Refuses an object that somebody else made.
///
/// Ours is what has our owner as its controller, or no controller and our mark: an orphan of a deleted agent of the
/// same name is taken on again.
fn is_ours(desired: &Desired, owner: &Owner, live: &DynamicObject) -> Result<(), ApplyError> {
    let conflict = |owner: String| ApplyError::Conflict { kind: desired.kind, name: desired.key.name.clone(), owner };
    let controller = live.owner_references().iter().find(|reference| reference.controller == Some(true));
    match controller {
        Some(controller) if controller.uid == owner.uid => Ok(()),
        Some(controller) if format!("{} `{}`", controller.kind, controller.name) == owner.name => {
            Err(conflict("still belongs to a deleted object of this name, and will go with it".into()))
        }
        Some(controller) => Err(conflict(format!("belongs to {} `{}`", controller.kind, controller.name))),
        None => {
            let meta = &live.metadata;
            let marked = meta.annotations.as_ref().is_some_and(|all| all.contains_key(APPLIED_ANNOTATION));
            if marked || labels::is_managed(meta.labels.as_ref()) {
                Ok(())
            } else {
                Err(conflict("was not made by the operator".into()))
            }
        }
    }
}

fn is_as_desired(desired: &Desired, live: &DynamicObject) -> bool {
    let Ok(live) = serde_json::to_value(live) else { return false };
    // The hash is a field of the desired object too; what has not changed on either side is not written.
    drift::contains(&live, &desired.value) && drift::surplus(desired.kind, &live, &desired.value).is_none()
}

async fn call<T>(
    verb: &'static str,
    desired: &Desired,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ApplyError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(refusal(verb, desired, &status)),
        Ok(Err(source)) => Err(unavailable(desired, Some(Box::new(source)))),
        Err(_elapsed) => Err(unavailable(desired, None)),
    }
}

fn unavailable(desired: &Desired, source: Option<Box<kube::Error>>) -> ApplyError {
    ApplyError::Unavailable { kind: desired.kind, name: desired.key.name.clone(), source }
}

/// What an answer of the API server means: who has to act, if anybody.
fn refusal(verb: &'static str, desired: &Desired, status: &kube::core::Status) -> ApplyError {
    let (kind, name, message) = (desired.kind, desired.key.name.clone(), status.message.clone());
    match status.code {
        403 if is_ending(status) => ApplyError::Ending { kind, name },
        403 if is_missing_permission(&message) => ApplyError::Denied { kind, name, verb, message },
        // Somebody was quicker, or the server asks for patience.
        408 | 409 | 429 => ApplyError::Failed { kind, name, message },
        400..500 => ApplyError::Refused { kind, name, message: with_remedy(kind, message) },
        _ => ApplyError::Failed { kind, name, message },
    }
}

/// Whether a namespace is being deleted: it takes no new objects, no permission would help, and the agent goes with it.
#[must_use]
pub fn is_ending(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// Role-based access control says who may not do what; quotas, policies and other admission say what is wrong with the object.
fn is_missing_permission(message: &str) -> bool {
    message.contains(" is forbidden: User \"") && message.contains(" cannot ")
}

/// The remedy where the API server does not name it.
fn with_remedy(kind: ChildKind, message: String) -> String {
    if kind == ChildKind::ConfigMap && message.contains("immutable") {
        return format!(
            "{message}; somebody has made it immutable, and nodes keep such a one as long as a pod uses it: delete it, set \
             spec.suspend until the agent's pods have gone, and take it back"
        );
    }
    message
}

#[cfg(test)]
mod tests;
