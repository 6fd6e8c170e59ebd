//! The pods.
//!
//! The template never depends on what the document says, only on which Secret keys it names: an edit of a prompt or a
//! model is read by the running pods, and rolls nothing.

mod container;
mod volumes;

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{LocalObjectReference, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt as _;

use super::{Validated, metadata};
use crate::{labels, names};

/// The user of the image: distroless' `nonroot`.
const USER: i64 = 65_532;
/// Old ReplicaSets kept for `kubectl rollout undo`.
const HISTORY: i32 = 2;
/// What a pod needs to stop beyond the waits that the agent asks for, in seconds.
const STOP_MARGIN_SECONDS: u64 = 5;

pub(super) fn build(agent: &Validated) -> Deployment {
    let name = agent.resource.name_any();
    Deployment {
        metadata: metadata(agent),
        spec: Some(DeploymentSpec {
            replicas: Some(agent.replicas_wanted()),
            revision_history_limit: Some(HISTORY),
            selector: LabelSelector { match_labels: Some(labels::selector(&name)), ..LabelSelector::default() },
            strategy: Some(strategy(agent)),
            template: template(agent, &name),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn strategy(agent: &Validated) -> DeploymentStrategy {
    if agent.pods.persistence.is_some() {
        // The volume is one node's: the new pod could not mount it beside the old one.
        return DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None };
    }
    // A new pod is ready before an old one goes: a rollout never takes capacity away.
    DeploymentStrategy {
        type_: Some("RollingUpdate".into()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        }),
    }
}

fn template(agent: &Validated, name: &str) -> PodTemplateSpec {
    let runtime = &agent.pods.runtime;
    let mut pod_labels = runtime.pod_labels.clone();
    pod_labels.extend(labels::pod(name));
    let pull_secrets: Vec<_> =
        runtime.image_pull_secrets.iter().map(|secret| LocalObjectReference { name: secret.name.clone() }).collect();
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels),
            annotations: not_empty(runtime.pod_annotations.clone(), std::collections::BTreeMap::is_empty),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names::child(name)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            // As the API server would say: who changes it is undone.
            scheduler_name: Some("default-scheduler".to_owned()),
            termination_grace_period_seconds: Some(grace_seconds(agent)),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".into(), ..SeccompProfile::default() }),
                ..PodSecurityContext::default()
            }),
            image_pull_secrets: not_empty(pull_secrets, Vec::is_empty),
            node_selector: not_empty(runtime.node_selector.clone(), std::collections::BTreeMap::is_empty),
            tolerations: not_empty(runtime.tolerations.clone(), Vec::is_empty),
            containers: vec![container::build(agent)],
            volumes: Some(volumes::volumes(agent, name)),
            ..PodSpec::default()
        }),
    }
}

/// How long a pod may take to stop: it serves on for `endpointDelay`, then runs end within `drainTimeout`.
fn grace_seconds(agent: &Validated) -> i64 {
    let runtime = &agent.pods.runtime;
    let waits: Duration =
        [&runtime.endpoint_delay, &runtime.drain_timeout].into_iter().filter_map(|wait| wait.get()).sum();
    let seconds = waits.as_secs() + u64::from(waits.subsec_nanos() > 0) + STOP_MARGIN_SECONDS;
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// An empty list is left out: the API server drops it, and it would look like drift for ever.
fn not_empty<T>(value: T, is_empty: impl Fn(&T) -> bool) -> Option<T> {
    if is_empty(&value) { None } else { Some(value) }
}
