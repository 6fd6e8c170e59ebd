//! A pod as the operator needs it.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::trouble::{self, Trouble};
use crate::labels;
use crate::names::{ObjectKey, REVISION_ANNOTATION};

/// A pod as the operator needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Its place.
    pub key: ObjectKey,
    /// Its `metadata.uid`.
    pub uid: String,
    /// Where to reach it; absent until it runs.
    pub address: Option<String>,
    /// Whether it is in the endpoints of the Service.
    pub ready: bool,
    /// Since when it is there, while its node is still setting it up: volumes, network, sandbox.
    pub set_up_since: Option<Timestamp>,
    /// How often its container has been started anew.
    pub restarts: i32,
    /// The last nudge.
    pub nudged: Option<String>,
    /// Why it does not come, as far as Kubernetes says so.
    pub trouble: Option<Trouble>,
}

impl PodView {
    /// What matters of a pod; `None` for one that has ended or is being deleted.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if phase == "Succeeded" || phase == "Failed" || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        Some(Self {
            key: ObjectKey::of(pod),
            uid: pod.uid().unwrap_or_default(),
            address: address_of(pod),
            ready,
            set_up_since: if address_of(pod).is_none() && is_scheduled(conditions) {
                pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
            } else {
                None
            },
            restarts: containers(pod).iter().map(|container| container.restart_count).sum(),
            nudged: pod.annotations().get(REVISION_ANNOTATION).cloned(),
            trouble: if ready { None } else { trouble_of(pod, conditions) },
        })
    }
}

fn address_of(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    status.pod_ip.clone().filter(|_| status.phase.as_deref() == Some("Running"))
}

fn is_scheduled(conditions: &[PodCondition]) -> bool {
    conditions.iter().any(|condition| condition.type_ == "PodScheduled" && condition.status == "True")
}

/// Others may have added containers that come first.
fn trouble_of(pod: &Pod, conditions: &[PodCondition]) -> Option<Trouble> {
    let first = pod.status.as_ref().and_then(|status| status.init_container_statuses.as_deref()).unwrap_or_default();
    trouble::of_pod(conditions, containers(pod)).or_else(|| trouble::of_pod(&[], first))
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

/// The agent whose pod it is: by the label that its Deployment selects it with, which nobody can take from it without making
/// it another pod.
#[must_use]
pub fn agent_of(pod: &Pod) -> Option<ObjectKey> {
    let name = pod.labels().get(labels::INSTANCE)?;
    Some(ObjectKey { namespace: pod.namespace()?, name: name.clone() })
}
