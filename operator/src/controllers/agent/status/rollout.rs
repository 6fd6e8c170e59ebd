//! How far a Deployment has come.

use crate::applier::Live;
use crate::pods::Trouble;
use crate::stores::Progress;

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
    /// Whether its newest template has come up once.
    pub came_up: bool,
    /// Why pods cannot be created, if so.
    pub not_made: Option<Trouble>,
}

impl Rollout {
    /// A Deployment as the watch shows it, or as it was read last where nothing is watched.
    #[must_use]
    pub fn of(live: &Live, watched: Option<Progress>) -> Self {
        let read = || serde_json::from_value(live.status.clone()).ok().map(Progress::of);
        let Some(progress) = watched.or_else(read) else { return Self::default() };
        let Progress { observed_generation, replicas, updated, available, deadline_exceeded, came_up, not_made } =
            progress;
        Self {
            observed: observed_generation >= live.generation,
            replicas,
            updated,
            available,
            deadline_exceeded,
            came_up,
            not_made,
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

    /// Whether nothing is being replaced, and pods are missing all the same, of a template that has come up once: they crash, a node is
    /// lost, more are asked for.
    #[must_use]
    pub fn has_lost_pods(&self, wanted: i32) -> bool {
        let of_one_template = self.replicas == self.updated && self.replicas <= wanted;
        self.observed && self.came_up && of_one_template && !self.is_complete(wanted)
    }
}
