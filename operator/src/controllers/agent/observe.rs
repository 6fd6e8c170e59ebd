//! What the pods of an agent say together.

use crate::pods::{PodReport, Target};
use crate::reports::Report;

/// What the pods say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Every pod, by name.
    pub pods: Vec<PodReport>,
}

impl Observation {
    /// What these pods say.
    #[must_use]
    pub fn of(pods: Vec<PodReport>) -> Self {
        Self { pods }
    }

    /// The pods that callers reach.
    pub fn ready(&self) -> impl Iterator<Item = &PodReport> {
        self.pods.iter().filter(|report| report.pod.ready)
    }

    /// Whether every ready pod serves the target.
    #[must_use]
    pub fn all_loaded(&self, target: &Target) -> bool {
        self.ready().all(|report| report.has_loaded(target))
    }

    /// Whether a ready pod has come up and has not been asked yet: what it serves will be known in a moment.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.ready().any(|report| !report.asked)
    }

    /// Whether a ready pod has not loaded the target yet, and none has refused it.
    #[must_use]
    pub fn is_loading(&self, target: &Target) -> bool {
        !self.all_loaded(target) && self.pods.iter().all(|report| report.refusal(target).is_none())
    }

    /// What ready pods report together.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::of(self.ready().filter_map(|report| report.state.as_deref()))
    }

    /// What those of them that serve the target report; `None` when none does.
    #[must_use]
    pub fn report_of(&self, target: &Target) -> Option<Report> {
        let mut loaded = self.ready().filter(|report| report.has_loaded(target)).peekable();
        loaded.peek()?;
        Some(Report::of(loaded.filter_map(|report| report.state.as_deref())))
    }
}
