//! Reading statuses as users and tools do.

use astromesh_crds::v1alpha1::{Agent, Provider};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// A resource that reports by conditions.
pub trait Reported {
    /// Its conditions.
    fn conditions(&self) -> &[Condition];
    /// Its generation.
    fn generation(&self) -> Option<i64>;
    /// The generation that its status speaks of.
    fn observed_generation(&self) -> Option<i64>;

    /// The condition of a type.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions().iter().find(|condition| condition.type_ == type_)
    }

    /// Whether the status says so, of the newest generation: `Ready=True`, `Loaded=False/LoadFailed`, or `!Degraded`
    /// for a condition that is absent.
    fn says(&self, text: &str) -> bool {
        if let Some(absent) = text.strip_prefix('!') {
            return self.condition(absent).is_none() && self.observed_generation() == self.generation();
        }
        let (type_, rest) = text.split_once('=').unwrap_or((text, "True"));
        let (status, reason) = rest.split_once('/').map_or((rest, None), |(status, reason)| (status, Some(reason)));
        self.condition(type_).is_some_and(|condition| {
            condition.status == status
                && reason.is_none_or(|reason| condition.reason == reason)
                && condition.observed_generation == self.generation()
        })
    }

    /// What kstatus makes of it.
    fn kstatus(&self) -> Kstatus {
        let is = |type_: &str, status: &str| self.condition(type_).is_some_and(|condition| condition.status == status);
        if self.observed_generation() != self.generation() {
            Kstatus::InProgress
        } else if is("Stalled", "True") {
            Kstatus::Failed
        } else if is("Reconciling", "True") || !is("Ready", "True") {
            Kstatus::InProgress
        } else {
            Kstatus::Current
        }
    }
}

/// The states of kstatus, which Flux, Argo CD and `kubectl wait` build on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kstatus {
    /// Work is under way.
    InProgress,
    /// The newest spec is in effect.
    Current,
    /// It will not be without an edit.
    Failed,
}

impl Reported for Agent {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }

    fn generation(&self) -> Option<i64> {
        self.metadata.generation
    }

    fn observed_generation(&self) -> Option<i64> {
        self.status.as_ref()?.observed_generation
    }
}

impl Reported for Provider {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }

    fn generation(&self) -> Option<i64> {
        self.metadata.generation
    }

    fn observed_generation(&self) -> Option<i64> {
        self.status.as_ref()?.observed_generation
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An agent of generation 2 whose status speaks of `observed`.
    fn agent(observed: i64, conditions: &[(&str, &str, &str)]) -> Agent {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(type_, status, reason)| {
                json!({"type": type_, "status": status, "reason": reason, "message": "", "observedGeneration": observed,
                       "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "a", "generation": 2},
            "spec": {"model": {"candidates": []}, "prompts": {"system": "x"}},
            "status": {"observedGeneration": observed, "conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn a_status_is_read_by_type_status_and_reason() {
        let agent = agent(2, &[("Ready", "False", "Loading")]);
        for true_of_it in ["Ready=False", "Ready=False/Loading", "!Degraded"] {
            assert!(agent.says(true_of_it), "{true_of_it}");
        }
        for false_of_it in ["Ready", "Ready=True", "Ready=False/LoadFailed", "!Ready", "Loaded=False"] {
            assert!(!agent.says(false_of_it), "{false_of_it}");
        }
    }

    #[test]
    fn a_status_of_an_older_generation_says_nothing() {
        let agent = agent(1, &[("Ready", "True", "Succeeded")]);
        assert!(!agent.says("Ready=True") && !agent.says("!Degraded"));
        assert_eq!(agent.kstatus(), Kstatus::InProgress);
    }

    #[test]
    fn kstatus_reads_stalled_before_reconciling_before_ready() {
        let ready = ("Ready", "True", "Succeeded");
        assert_eq!(agent(2, &[ready]).kstatus(), Kstatus::Current);
        assert_eq!(agent(2, &[ready, ("Reconciling", "True", "Rollout")]).kstatus(), Kstatus::InProgress);
        assert_eq!(agent(2, &[("Ready", "False", "PodsUnavailable")]).kstatus(), Kstatus::InProgress);
        let stalled = [("Reconciling", "True", "Rollout"), ("Stalled", "True", "LoadFailed")];
        assert_eq!(agent(2, &stalled).kstatus(), Kstatus::Failed);
    }
}
