//! Validated agent → children: pure, and it cannot fail.

mod claim;
mod config_map;
mod deployment;
mod service;
mod service_account;

use agent_pod_config::OperatorAddress;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};

use super::validate::Validated;
use crate::{labels, names};

/// The children of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Children {
    /// The document and the trust.
    pub config_map: ConfigMap,
    /// Who the pods are.
    pub service_account: ServiceAccount,
    /// Where callers find the agent.
    pub service: Service,
    /// What the pods keep on disk; none where the files may end with the pod.
    pub claim: Option<PersistentVolumeClaim>,
    /// The pods.
    pub deployment: Deployment,
}

/// Builds every child. `attention` is where pods ask for attention; absent: nowhere.
#[must_use]
pub fn build(agent: &Validated, attention: Option<&OperatorAddress>) -> Children {
    Children {
        config_map: config_map::build(agent, attention),
        service_account: service_account::build(agent),
        service: service::build(agent),
        claim: claim::build(agent),
        deployment: deployment::build(agent),
    }
}

/// The metadata of a child: its name, its labels, and the agent as its controller.
fn metadata(agent: &Validated) -> ObjectMeta {
    let name = agent.resource.name_any();
    ObjectMeta {
        name: Some(names::child(&name)),
        namespace: agent.resource.namespace(),
        labels: Some(labels::child(&name)),
        // Children go when their agent goes. The reference never crosses a namespace.
        owner_references: agent.resource.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests;
