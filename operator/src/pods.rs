//! Live pods: what the watch tells of them, what they say themselves, and the nudge.

mod nudge;
mod poll;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

pub use nudge::{Nudges, next_value};
pub use poll::{PollError, StateClient};

use crate::names::{MANAGER, REVISION_ANNOTATION};

const NUDGE_TIMEOUT: Duration = Duration::from_secs(3);

/// A pod as the operator needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its `metadata.uid`.
    pub uid: String,
    /// Where to reach it; absent until it runs.
    pub address: Option<String>,
    /// Whether it is in the endpoints of the Service.
    pub ready: bool,
    /// The last nudge.
    pub nudged: Option<String>,
    /// Its image cannot be pulled.
    pub image_missing: bool,
}

impl PodView {
    /// What matters of a pod; `None` for one that has ended.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if phase == "Succeeded" || phase == "Failed" {
            return None;
        }
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let waiting =
            status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default().iter().any(|c| {
                let reason =
                    c.state.as_ref().and_then(|state| state.waiting.as_ref()).and_then(|w| w.reason.as_deref());
                matches!(reason, Some("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull"))
            });
        Some(Self {
            name: pod.name_any(),
            namespace: pod.namespace().unwrap_or_default(),
            uid: pod.uid().unwrap_or_default(),
            address: status.and_then(|status| status.pod_ip.clone()).filter(|_| phase == "Running"),
            ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
            nudged: pod.annotations().get(REVISION_ANNOTATION).cloned(),
            image_missing: waiting,
        })
    }
}

/// Drops what the operator does not need before a pod goes into the store.
pub fn prune(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.metadata.owner_references = None;
    pod.spec = None;
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.retain(|key, _| key == REVISION_ANNOTATION);
    }
}

/// Changes the annotation of a live pod, which makes the kubelet refresh its volumes at once.
///
/// # Errors
/// When the API server refuses or does not answer in time (`None`). A pod that is gone is no error.
pub async fn nudge(client: Client, pod: &PodView, value: &str) -> Result<(), Option<Box<kube::Error>>> {
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace);
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    // The uid keeps the patch from a pod that has taken the name since.
    let patch = json!({"metadata": {"uid": pod.uid, "annotations": {REVISION_ANNOTATION: value}}});
    match tokio::time::timeout(NUDGE_TIMEOUT, api.patch_metadata(&pod.name, &params, &Patch::Merge(patch))).await {
        Ok(Ok(_pod)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Ok(()),
        Ok(Err(error)) => Err(Some(Box::new(error))),
        Err(_elapsed) => Err(None),
    }
}
