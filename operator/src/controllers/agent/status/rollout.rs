//! How far a Deployment has come.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};

use crate::applier::Live;
use crate::pods::{Trouble, not_made};

/// What a Deployment's status says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Whether it speaks of the newest spec.
    pub observed: bool,
    /// Pods, old ones included.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods that are available.
    pub available: i32,
    /// Whether it has given up: its progress deadline is over.
    pub deadline_exceeded: bool,
    /// Why pods cannot be created, if so.
    pub not_made: Option<Trouble>,
}

impl Rollout {
    /// Reads a Deployment as the watch shows it, or as it was read last where nothing is watched.
    #[must_use]
    pub fn of(live: &Live, watched: Option<&Deployment>) -> Self {
        let read = || serde_json::from_value::<DeploymentStatus>(live.status.clone()).ok();
        let Some(status) = watched.and_then(|deployment| deployment.status.clone()).or_else(read) else {
            return Self::default();
        };
        let conditions = status.conditions.unwrap_or_default();
        let condition = |type_: &str, status: &str| {
            conditions.iter().find(|condition| condition.type_ == type_ && condition.status == status)
        };
        let gave_up = condition("Progressing", "False").and_then(|condition| condition.reason.as_deref());
        let refused = condition("ReplicaFailure", "True").and_then(|condition| condition.message.as_deref());
        Self {
            observed: status.observed_generation.unwrap_or(0) >= live.generation,
            replicas: status.replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            deadline_exceeded: gave_up == Some("ProgressDeadlineExceeded"),
            not_made: refused.map(not_made),
        }
    }

    /// Whether enough pods of the newest template serve, and none of a former one is counted among them.
    #[must_use]
    pub fn serves(&self, wanted: i32) -> bool {
        self.observed && self.updated >= wanted && self.replicas == self.updated && self.available >= wanted
    }

    /// Whether nothing is being replaced, started or stopped any more.
    #[must_use]
    pub fn is_complete(&self, wanted: i32) -> bool {
        self.observed && self.updated == wanted && self.replicas == wanted && self.available >= wanted
    }
}
