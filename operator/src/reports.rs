//! What pods report of Secret keys and model servers, shared from the agents' controller with the providers'.

mod provider;

use std::collections::BTreeMap;

use agent_pod_config::{PodState, SecretKey, SecretPresence};
use dashmap::DashMap;

use crate::names::ObjectKey;

pub use provider::{Fault, MODELS_MAX, ModelReport, ProviderReport, coarse};

/// Which Secret keys the pods of an agent have.
pub type SecretReport = BTreeMap<SecretKey, SecretPresence>;

/// What the pods of an agent say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Of Secret keys; one pod that misses a key suffices for `Missing`.
    pub secrets: SecretReport,
    /// Of the providers that they call.
    pub providers: BTreeMap<ObjectKey, ProviderReport>,
    /// The states of the tools by name; one pod that leaves a tool alone suffices for it not to be `ready`.
    pub tools: BTreeMap<String, String>,
    /// How the budget stands, as the pod says that knows of the most use in the newest window.
    pub budget: Option<String>,
}

/// The state of a tool that can be called.
pub const TOOL_READY: &str = "ready";

/// How budgets stand, from good to bad.
const BUDGET_STATES: [&str; 3] = ["ok", "near", "exceeded"];

impl Report {
    /// What several pods say together.
    #[must_use]
    pub fn of<'a>(states: impl IntoIterator<Item = &'a PodState>) -> Self {
        let mut report = Self::default();
        let mut budgets = Vec::new();
        for state in states {
            report.add(state);
            budgets.extend(state.agents.iter().filter_map(|agent| agent.budget.as_ref()));
        }
        // A pod that nobody calls may not have heard what others have used; one that has heard is right.
        let newest = budgets.iter().map(|budget| budget.window_end.as_str()).max();
        let current = budgets.iter().filter(|budget| Some(budget.window_end.as_str()) == newest);
        let worst = current.max_by_key(|budget| BUDGET_STATES.iter().position(|state| *state == budget.state));
        report.budget = worst.map(|budget| budget.state.clone());
        report
    }

    fn add(&mut self, state: &PodState) {
        for secret in &state.secrets {
            let key = SecretKey { name: secret.secret.clone(), key: secret.key.clone() };
            let known = self.secrets.entry(key).or_insert(secret.state);
            if secret.state == SecretPresence::Missing {
                *known = SecretPresence::Missing;
            }
        }
        for tool in state.agents.iter().flat_map(|agent| &agent.tools) {
            let known = self.tools.entry(tool.name.clone()).or_insert_with(|| tool.state.clone());
            if tool.state != TOOL_READY {
                known.clone_from(&tool.state);
            }
        }
        let key = |namespace: &str, name: &str| ObjectKey { namespace: namespace.to_owned(), name: name.to_owned() };
        for endpoint in &state.endpoints {
            self.providers.entry(key(&endpoint.namespace, &endpoint.name)).or_default().add_endpoint(endpoint);
        }
        for model in &state.providers {
            self.providers.entry(key(&model.namespace, &model.name)).or_default().add_model(model);
        }
    }

    /// The same without what changes with every call.
    fn coarse(&self) -> Self {
        let mut coarse = self.clone();
        coarse.providers.values_mut().for_each(ProviderReport::coarsen);
        coarse
    }
}

/// The last report of each agent's pods, in memory: after a start the pods are asked again.
#[derive(Debug, Default)]
pub struct Reports {
    agents: DashMap<ObjectKey, Report>,
}

impl Reports {
    /// Keeps a report. Says whether it differs from the last one by more than a little latency.
    #[must_use]
    pub fn keep(&self, agent: &ObjectKey, report: Report) -> bool {
        let known = self.agents.insert(agent.clone(), report.clone());
        known.is_none_or(|known| known.coarse() != report.coarse())
    }

    /// What the pods of `agents` say of a key; `None` when none of them knows it. One that misses it suffices.
    #[must_use]
    pub fn presence(&self, agents: &[ObjectKey], key: &SecretKey) -> Option<SecretPresence> {
        let mut presence = None;
        for agent in agents {
            match self.agents.get(agent).and_then(|report| report.secrets.get(key).copied()) {
                Some(SecretPresence::Missing) => return Some(SecretPresence::Missing),
                Some(SecretPresence::Present) => presence = Some(SecretPresence::Present),
                None => {}
            }
        }
        presence
    }

    /// What the pods of `agents` say together of a generation of a provider; `None` when none serves that one yet.
    #[must_use]
    pub fn provider(
        &self,
        agents: &[ObjectKey],
        provider: &ObjectKey,
        generation: Option<i64>,
    ) -> Option<ProviderReport> {
        let mut merged: Option<ProviderReport> = None;
        for agent in agents {
            let Some(report) = self.agents.get(agent) else { continue };
            let said = report.providers.get(provider).filter(|said| said.generation == generation);
            if let Some(said) = said {
                merged.get_or_insert_default().merge(said);
            }
        }
        merged
    }

    /// What the pods of an agent have last said of providers.
    #[must_use]
    pub fn last(&self, agent: &ObjectKey) -> BTreeMap<ObjectKey, ProviderReport> {
        self.agents.get(agent).map(|report| report.providers.clone()).unwrap_or_default()
    }

    /// Forgets an agent that is gone.
    pub fn forget(&self, agent: &ObjectKey) {
        self.agents.remove(agent);
    }
}

#[cfg(test)]
mod tests;
