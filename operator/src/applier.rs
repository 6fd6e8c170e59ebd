//! Server-side apply of children: only what changed is written, and nobody else's object is touched.

mod desired;

use std::time::Duration;

use dashmap::DashMap;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;

pub use desired::{ChildKind, Desired};

use crate::labels;
use crate::names::{APPLIED_ANNOTATION, MANAGER, ObjectKey};
use crate::subset;

/// One call of the API server; the client has no time-out of its own for responses.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What is known of a live child.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Live {
    /// Its generation.
    pub generation: i64,
    /// Its status.
    pub status: Value,
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
    /// The API server refused the object.
    #[error("the API server refused {kind} `{name}`: {message}")]
    Refused {
        /// Its kind.
        kind: ChildKind,
        /// Its name.
        name: String,
        /// What the API server says.
        message: String,
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
    hash: String,
    version: String,
    live: Live,
}

/// Applies children.
pub struct Applier {
    client: Client,
    checked: DashMap<(ChildKind, ObjectKey), Checked>,
}

impl Applier {
    /// An applier that has seen nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, checked: DashMap::new() }
    }

    /// Makes the live child contain what is desired.
    ///
    /// `version` is the child's `resourceVersion` as the watch last told it: when it is the one of the last look, the
    /// child is as it was then, and nothing is asked.
    ///
    /// # Errors
    /// See [`ApplyError`]. Nothing is written on a conflict.
    pub async fn apply(&self, desired: &Desired, owner: &Owner, version: Option<&str>) -> Result<Live, ApplyError> {
        let id = (desired.kind, desired.key.clone());
        if let Some(checked) = self.checked.get(&id)
            && checked.hash == desired.hash
            && version == Some(checked.version.as_str())
        {
            return Ok(checked.live.clone());
        }
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &desired.key.namespace, &desired.kind.api_resource());
        let name = &desired.key.name;
        let found = call("get", desired, api.get_opt(name)).await?;
        let exists = found.is_some();
        let found = match found {
            Some(live) => {
                is_ours(desired, owner, &live)?;
                is_as_desired(desired, &live).then_some(live)
            }
            None => None,
        };
        let live = match found {
            Some(live) => live,
            None => {
                let written = write(&api, desired, exists).await?;
                tracing::info!(kind = %desired.kind, namespace = %desired.key.namespace, %name, "child applied");
                written
            }
        };
        let summary = Live {
            generation: live.metadata.generation.unwrap_or_default(),
            status: live.data.get("status").cloned().unwrap_or_default(),
        };
        if let Some(version) = live.metadata.resource_version {
            self.checked.insert(id, Checked { hash: desired.hash.clone(), version, live: summary.clone() });
        }
        Ok(summary)
    }

    /// Forgets the children of that name, because their owner is gone.
    pub fn forget(&self, key: &ObjectKey) {
        for kind in ChildKind::ALL {
            self.checked.remove(&(kind, key.clone()));
        }
    }
}

/// Applies a child.
///
/// Where somebody has changed the key of a list item, such as the port of a Service, an apply adds ours beside theirs,
/// and the API server refuses the pair. Then a merge puts our list in place of the live one, and the apply is repeated
/// for the ownership of its fields.
async fn write(api: &Api<DynamicObject>, desired: &Desired, exists: bool) -> Result<DynamicObject, ApplyError> {
    let name = &desired.key.name;
    let params = PatchParams::apply(MANAGER).force();
    let apply = async || call("patch", desired, api.patch(name, &params, &Patch::Apply(&desired.value))).await;
    match apply().await {
        Err(refused @ ApplyError::Refused { .. }) if exists => {
            let merge = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
            match call("patch", desired, api.patch(name, &merge, &Patch::Merge(&desired.value))).await {
                Ok(_merged) => apply().await,
                Err(_also_refused) => Err(refused),
            }
        }
        result => result,
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
    subset::contains(&live, &desired.value)
}

/// A namespace that is being deleted takes no new objects: no permission would help, and the agent goes with it.
fn is_ending(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

async fn call<T>(
    verb: &'static str,
    desired: &Desired,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ApplyError> {
    let (kind, name) = (desired.kind, desired.key.name.clone());
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 && !is_ending(&status) => {
            Err(ApplyError::Denied { kind, name, verb, message: status.message.clone() })
        }
        Ok(Err(kube::Error::Api(status)))
            if (400..500).contains(&status.code) && ![403, 408, 409, 429].contains(&status.code) =>
        {
            Err(ApplyError::Refused { kind, name, message: status.message.clone() })
        }
        Ok(Err(source)) => Err(ApplyError::Unavailable { kind, name, source: Some(Box::new(source)) }),
        Err(_elapsed) => Err(ApplyError::Unavailable { kind, name, source: None }),
    }
}

#[cfg(test)]
mod tests;
