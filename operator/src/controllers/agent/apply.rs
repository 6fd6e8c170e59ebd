//! Children → the cluster.

use astromesh_crds::v1alpha1::Reason;
use kube::ResourceExt as _;

use super::Context;
use super::build::Children;
use super::dereference::Inputs;
use crate::applier::{ApplyError, ChildKind, Desired, Live, Owner};

/// What came of it.
#[derive(Debug)]
pub struct Applied {
    /// The Deployment as it is now; absent when it could not be applied.
    pub deployment: Option<Live>,
    /// Whether the pods can read the new document.
    pub config_map: bool,
    /// The most telling failure.
    pub failure: Option<ApplyError>,
}

/// Applies every child; one that fails does not stop the others.
///
/// The order matters for a new agent: a pod finds its document, its account and its Service before it starts.
pub async fn apply(children: &Children, inputs: &Inputs, ctx: &Context) -> Applied {
    let owner = Owner { uid: inputs.agent.uid().unwrap_or_default(), name: format!("Agent `{}`", inputs.key.name) };
    let mut desired = vec![
        Desired::new(ChildKind::ConfigMap, &children.config_map),
        Desired::new(ChildKind::ServiceAccount, &children.service_account),
        Desired::new(ChildKind::Service, &children.service),
    ];
    desired.extend(children.claim.iter().map(|claim| Desired::new(ChildKind::PersistentVolumeClaim, claim)));
    desired.push(Desired::new(ChildKind::Deployment, &children.deployment));
    let mut applied = Applied { deployment: None, config_map: false, failure: None };
    for child in &desired {
        let version = ctx.stores.children.version(child.kind, &child.key);
        match ctx.applier.apply(child, &owner, version.as_deref()).await {
            Ok(live) => match child.kind {
                ChildKind::ConfigMap => applied.config_map = true,
                ChildKind::Deployment => applied.deployment = Some(live),
                ChildKind::ServiceAccount | ChildKind::Service | ChildKind::PersistentVolumeClaim => {}
            },
            Err(error) => {
                let worse = applied.failure.as_ref().is_none_or(|first| rank(&error) < rank(first));
                if worse {
                    applied.failure = Some(error);
                }
            }
        }
    }
    applied
}

/// What a person must mend comes before what mends itself.
fn rank(error: &ApplyError) -> u8 {
    match error {
        ApplyError::Ending { .. } => 0,
        ApplyError::Denied { .. } => 1,
        ApplyError::Conflict { .. } => 2,
        ApplyError::Refused { .. } => 3,
        ApplyError::Failed { .. } | ApplyError::Unavailable { .. } => 4,
    }
}

/// The reason of `Programmed=False`.
#[must_use]
pub fn reason(error: &ApplyError) -> Reason {
    match error {
        ApplyError::Denied { .. } => Reason::Denied,
        ApplyError::Conflict { .. } => Reason::Conflict,
        ApplyError::Refused { .. }
        | ApplyError::Failed { .. }
        | ApplyError::Ending { .. }
        | ApplyError::Unavailable { .. } => Reason::ApplyFailed,
    }
}
