//! What pods report of Secret keys and model servers, shared from the agents' controller with the providers'.

mod provider;

use std::collections::BTreeMap;

use agent_pod_config::{PodState, SecretKey, SecretPresence, SecretState};
use dashmap::DashMap;

use crate::names::ObjectKey;

pub use provider::{Fault, MODELS_MAX, ModelReport, ProviderReport, coarse};

/// What pods say of a Secret's key; the worst of it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretReport {
    /// Whether it is there.
    pub presence: SecretPresence,
    /// Why a file that is there is of no use.
    pub problem: Option<String>,
    /// Whether every pod that misses it goes on with a value from before.
    pub former: bool,
    /// Whether a server refused the value in use.
    pub refused: bool,
}

impl SecretReport {
    fn of(state: &SecretState) -> Self {
        let SecretState { state: presence, problem, former, refused, .. } = state;
        Self { presence: *presence, problem: problem.clone(), former: *former, refused: *refused }
    }

    /// Adds what another pod says.
    fn merge(&mut self, other: &Self) {
        let (mine, its) = (self.is_missing(), other.is_missing());
        if its {
            self.former = other.former && (self.former || !mine);
            (self.presence, self.problem) = (other.presence, other.problem.clone().or_else(|| self.problem.take()));
        }
        self.refused |= other.refused;
    }

    /// Whether it is missing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.presence == SecretPresence::Missing
    }

    /// What is wrong with it, in words.
    #[must_use]
    pub fn words(&self, key: &SecretKey) -> String {
        let SecretKey { name, key } = key;
        let mut words = match self.problem.as_deref() {
            Some("empty") => format!("key `{key}` of Secret `{name}` is empty"),
            Some("not_text") => format!("key `{key}` of Secret `{name}` is no text in UTF-8"),
            // A pod sees a file or none: it cannot tell which of the two is missing.
            Some(_) | None => format!("Secret `{name}` is missing or has no key `{key}`"),
        };
        if self.former {
            words.push_str("; the value that was there before goes on being used");
        }
        words
    }
}

/// Reports by provider; boxed, because a node of the map has room for eleven.
pub type ProviderReports = BTreeMap<ObjectKey, Box<ProviderReport>>;

/// What the pods of an agent say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Of Secret keys; one pod that misses a key suffices for it to be missing.
    pub secrets: BTreeMap<SecretKey, SecretReport>,
    /// Of the providers that they call.
    pub providers: ProviderReports,
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
            let said = SecretReport::of(secret);
            self.secrets.entry(key).and_modify(|known| known.merge(&said)).or_insert(said);
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
        coarse.providers.values_mut().for_each(|report| report.coarsen());
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
    pub fn secret(&self, agents: &[ObjectKey], key: &SecretKey) -> Option<SecretReport> {
        let mut merged: Option<SecretReport> = None;
        for agent in agents {
            let Some(said) = self.agents.get(agent).and_then(|report| report.secrets.get(key).cloned()) else {
                continue;
            };
            match &mut merged {
                Some(known) => known.merge(&said),
                None => merged = Some(said),
            }
        }
        merged
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
    pub fn last(&self, agent: &ObjectKey) -> ProviderReports {
        self.agents.get(agent).map(|report| report.providers.clone()).unwrap_or_default()
    }

    /// Forgets an agent that is gone.
    pub fn forget(&self, agent: &ObjectKey) {
        self.agents.remove(agent);
    }
}

#[cfg(test)]
mod tests;
