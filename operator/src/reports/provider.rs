//! What pods say of one provider, and what follows for its models.

use std::collections::{BTreeMap, BTreeSet};

use agent_pod_config::{EndpointState, ProviderState};

/// The stable codes of failures that somebody has to act on.
const UNAUTHORIZED: &str = "unauthorized";
const NOT_FOUND: &str = "not_found";
/// A model that is left alone.
const OPEN: &str = "open";

/// The most models of a server's list that are kept.
pub const MODELS_MAX: usize = 256;

/// What pods say of one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderReport {
    /// The generation of the Provider that they serve.
    pub generation: Option<i64>,
    /// Whether one of them reaches the server; absent while none has asked it.
    pub reachable: Option<bool>,
    /// Why those that do not reach it do not, in short phrases.
    pub failures: BTreeSet<String>,
    /// Whether the server refuses the credential when it is asked for its models.
    pub rejected: bool,
    /// The models that it offers; absent when it has not told.
    pub listed: Option<BTreeSet<String>>,
    /// The models that are called.
    pub models: BTreeMap<String, ModelReport>,
}

/// What pods say of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelReport {
    /// One of them leaves it alone after too many failures.
    pub open: bool,
    /// The last call of one of them was refused for its credential.
    pub rejected: bool,
    /// The last call of one of them was told that there is no such model.
    pub missing: bool,
    /// The last call of one of them succeeded.
    pub served: bool,
    /// The times to the first token, in milliseconds.
    pub latencies: Vec<u64>,
}

/// Why a model cannot be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The server does not answer, for these reasons.
    Unreachable(String),
    /// It refuses the credential.
    Rejected,
    /// It has no such model.
    Missing,
    /// It failed too often and is left alone for a while.
    Open,
}

impl ProviderReport {
    pub(super) fn add_endpoint(&mut self, state: &EndpointState) {
        let reachable = state.reachable;
        self.reachable = either(self.reachable, reachable);
        if reachable == Some(false) {
            self.failures.insert(state.message.clone().unwrap_or_else(|| "no answer".to_owned()));
        }
        self.rejected |= state.error.as_deref() == Some(UNAUTHORIZED);
        if let Some(models) = &state.models {
            self.listed.get_or_insert_default().extend(models.iter().cloned());
        }
    }

    pub(super) fn add_model(&mut self, state: &ProviderState) {
        let error = state.last_error.as_deref();
        let model = self.models.entry(state.model.clone()).or_default();
        model.merge(&ModelReport {
            open: state.circuit == OPEN,
            rejected: error == Some(UNAUTHORIZED),
            missing: error == Some(NOT_FOUND),
            served: error.is_none() && state.latency_ms.is_some(),
            latencies: state.latency_ms.into_iter().collect(),
        });
    }

    /// Adds what other pods say.
    pub(super) fn merge(&mut self, other: &Self) {
        self.generation = other.generation;
        self.reachable = either(self.reachable, other.reachable);
        self.failures.extend(other.failures.iter().cloned());
        self.rejected |= other.rejected;
        if let Some(listed) = &other.listed {
            self.listed.get_or_insert_default().extend(listed.iter().cloned());
        }
        for (name, model) in &other.models {
            self.models.entry(name.clone()).or_default().merge(model);
        }
    }

    pub(super) fn coarsen(&mut self) {
        for model in self.models.values_mut() {
            let steps: BTreeSet<u64> = model.latencies.iter().copied().map(coarse).collect();
            model.latencies = steps.into_iter().collect();
        }
    }

    /// Whether the server refuses the credential.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.rejected || self.models.values().any(|model| model.rejected)
    }

    /// Whether the server lacks a model. A call that was served says more than a list: some servers list their models
    /// under other names than they take.
    #[must_use]
    pub fn lacks(&self, name: &str) -> bool {
        let called = self.models.get(name);
        if called.is_some_and(|model| model.missing) {
            return true;
        }
        if called.is_some_and(|model| model.served) {
            return false;
        }
        // Ollama takes a name without a tag for its latest.
        let offers = |listed: &BTreeSet<String>| listed.contains(name) || listed.contains(&format!("{name}:latest"));
        self.listed.as_ref().is_some_and(|listed| !offers(listed))
    }

    /// Why a model cannot be called, if so: what is nearest to the cause.
    #[must_use]
    pub fn fault(&self, model: &str) -> Option<Fault> {
        let called = self.models.get(model);
        if self.reachable == Some(false) {
            Some(Fault::Unreachable(self.why_unreachable()))
        } else if self.rejected || called.is_some_and(|model| model.rejected) {
            Some(Fault::Rejected)
        } else if self.lacks(model) {
            Some(Fault::Missing)
        } else if called.is_some_and(|model| model.open) {
            Some(Fault::Open)
        } else {
            None
        }
    }

    /// Why nobody reaches the server, in short.
    #[must_use]
    pub fn why_unreachable(&self) -> String {
        self.failures.iter().cloned().collect::<Vec<_>>().join(", ")
    }

    /// The average time to the first token over pods and models; absent when none is measured.
    #[must_use]
    pub fn latency(&self) -> Option<u64> {
        let all: Vec<u64> = self.models.values().flat_map(|model| model.latencies.iter().copied()).collect();
        let count = u64::try_from(all.len()).ok().filter(|count| *count > 0)?;
        Some(all.iter().fold(0_u64, |sum, latency| sum.saturating_add(*latency)) / count)
    }
}

impl ModelReport {
    fn merge(&mut self, other: &Self) {
        self.open |= other.open;
        self.rejected |= other.rejected;
        self.missing |= other.missing;
        self.served |= other.served;
        self.latencies.extend(&other.latencies);
    }
}

impl Fault {
    /// That the server asks for another credential than it gets. `keyed`: whether it gets one.
    #[must_use]
    pub fn rejected(keyed: bool) -> &'static str {
        if keyed {
            "its server refuses the credential"
        } else {
            "its server asks for a credential, and the Provider's spec.auth names none"
        }
    }

    /// In words that follow the model's name.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Unreachable(why) => format!("its server does not answer ({why})"),
            Self::Rejected => Self::rejected(true).to_owned(),
            Self::Missing => "its server does not offer it".to_owned(),
            Self::Open => "it failed too often and is left alone for a while".to_owned(),
        }
    }
}

/// One that says yes suffices.
fn either(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one || other),
        (one, other) => one.or(other),
    }
}

/// Milliseconds with one digit that counts: 234 as 200.
#[must_use]
pub fn coarse(milliseconds: u64) -> u64 {
    let mut step = 1_u64;
    while milliseconds / step >= 10 {
        step = step.saturating_mul(10);
    }
    (milliseconds.saturating_add(step / 2) / step).saturating_mul(step)
}
