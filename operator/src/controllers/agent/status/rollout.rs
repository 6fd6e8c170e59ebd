//! How far a Deployment has come.

use serde_json::Value;

use crate::applier::Live;

/// The numbers of a Deployment's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Whether the numbers speak of the newest spec.
    pub observed: bool,
    /// Pods, old ones included.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods that are available.
    pub available: i32,
}

impl Rollout {
    /// Reads a live Deployment.
    #[must_use]
    pub fn of(live: &Live) -> Self {
        let number = |field: &str| live.status.get(field).and_then(Value::as_i64).unwrap_or(0);
        let count = |field: &str| i32::try_from(number(field)).unwrap_or(i32::MAX);
        Self {
            observed: number("observedGeneration") >= live.generation,
            replicas: count("replicas"),
            updated: count("updatedReplicas"),
            available: count("availableReplicas"),
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
