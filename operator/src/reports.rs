//! What pods report about Secret keys, shared from the agents' controller with the providers'.

use std::collections::BTreeMap;

use agent_pod_config::{SecretKey, SecretPresence};
use dashmap::DashMap;

use crate::names::ObjectKey;

/// Which Secret keys the pods of an agent have.
pub type SecretReport = BTreeMap<SecretKey, SecretPresence>;

/// The last report of each agent's pods, in memory: after a start the pods are asked again.
#[derive(Debug, Default)]
pub struct Reports {
    agents: DashMap<ObjectKey, SecretReport>,
}

impl Reports {
    /// Keeps a report. Says whether it differs from the last one.
    #[must_use]
    pub fn keep(&self, agent: &ObjectKey, report: SecretReport) -> bool {
        let changed = self.agents.get(agent).is_none_or(|known| *known != report);
        if changed {
            self.agents.insert(agent.clone(), report);
        }
        changed
    }

    /// What the pods of `agents` say of a key; `None` when none of them knows it. One that misses it suffices.
    #[must_use]
    pub fn presence(&self, agents: &[ObjectKey], key: &SecretKey) -> Option<SecretPresence> {
        let mut presence = None;
        for agent in agents {
            match self.agents.get(agent).and_then(|report| report.get(key).copied()) {
                Some(SecretPresence::Missing) => return Some(SecretPresence::Missing),
                Some(SecretPresence::Present) => presence = Some(SecretPresence::Present),
                None => {}
            }
        }
        presence
    }

    /// Forgets an agent that is gone.
    pub fn forget(&self, agent: &ObjectKey) {
        self.agents.remove(agent);
    }
}
