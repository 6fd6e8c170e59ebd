//! Live pods: what the watch tells of them, what they say themselves, and the nudge.

mod nudge;
mod observed;
mod pace;
mod poll;
mod poller;
mod trouble;
mod view;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

pub use nudge::{Nudges, next_value};
pub use observed::{Health, Heard, PodReport, Pods, SILENT_AFTER, Silence, Target};
pub use poll::{PollError, StateClient};
pub use poller::{Asker, Poller};
pub use trouble::{Trouble, not_made, not_set_up};
pub use view::{PodView, agent_of};

use crate::names::{MANAGER, REVISION_ANNOTATION};

const NUDGE_TIMEOUT: Duration = Duration::from_secs(3);

/// Changes the annotation of a live pod, which makes the kubelet refresh its volumes at once.
///
/// # Errors
/// When the API server refuses or does not answer in time (`None`). A pod that is gone is no error.
pub async fn nudge(client: Client, pod: &PodView, value: &str) -> Result<(), Option<Box<kube::Error>>> {
    let api: Api<Pod> = Api::namespaced(client, &pod.key.namespace);
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    // The uid keeps the patch from a pod that has taken the name since.
    let patch = json!({"metadata": {"uid": pod.uid, "annotations": {REVISION_ANNOTATION: value}}});
    match tokio::time::timeout(NUDGE_TIMEOUT, api.patch_metadata(&pod.key.name, &params, &Patch::Merge(patch))).await {
        Ok(Ok(_pod)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 || status.code == 409 => Ok(()),
        Ok(Err(error)) => Err(Some(Box::new(error))),
        Err(_elapsed) => Err(None),
    }
}
