//! What is known → the status of a Provider. Pure.

mod verdicts;

use std::collections::BTreeSet;

use agent_pod_config::SecretKey;
use astromesh_crds::v1alpha1::{Provider, ProviderStatus, Reason, condition};
use k8s_openapi::jiff::Timestamp;

use self::verdicts::Judge;
use crate::conditions::{Conditions, Status, Verdict};
use crate::probing::Finding;
use crate::reports::{MODELS_MAX, ProviderReport, SecretReport, coarse};

/// What is known of a provider.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Why it is not valid by itself, if so.
    pub problem: Option<String>,
    /// The Secret keys that it needs, and what pods say of them.
    pub secrets: Vec<(SecretKey, Option<SecretReport>)>,
    /// How many agents use it.
    pub users: usize,
    /// What their pods say; absent while none serves this generation.
    pub report: Option<ProviderReport>,
    /// The models of its spec, and those that agents name.
    pub wanted: BTreeSet<String>,
    /// What the operator itself has found of a server that nobody uses.
    pub finding: Option<Finding>,
}

/// The whole status.
#[must_use]
pub fn status(provider: &Provider, previous: &ProviderStatus, facts: &Facts, now: Timestamp) -> ProviderStatus {
    let generation = provider.metadata.generation;
    let accepted = match &facts.problem {
        Some(problem) => Verdict::fails(Reason::Invalid, problem.as_str()),
        None => Verdict::holds("the spec is valid"),
    };
    let judge = Judge { facts, generation, previous: &previous.conditions };
    let (credentials, endpoint) = (judge.credentials(), judge.endpoint());
    let ready = [&accepted, &credentials, &endpoint]
        .into_iter()
        .find(|verdict| verdict.status == Status::False)
        .map_or_else(|| Verdict::holds("agents can use it"), |failed| failed.clone());
    let stalled = facts.problem.as_ref().map(|problem| Verdict::present(Reason::Invalid, problem.as_str()));
    ProviderStatus {
        observed_generation: generation,
        conditions: Conditions::new(&previous.conditions, generation, now)
            .with(condition::ACCEPTED, &accepted)
            .with(condition::CREDENTIALS_RESOLVED, &credentials)
            .with(condition::ENDPOINT_REACHABLE, &endpoint)
            .with(condition::MODELS_AVAILABLE, &judge.models())
            .with(condition::CIRCUIT_CLOSED, &judge.circuits())
            .with(condition::READY, &ready)
            .with_some(condition::STALLED, stalled.as_ref())
            .finish(),
        agents: u32::try_from(facts.users).unwrap_or(u32::MAX),
        models: models(previous, facts),
        latency_milliseconds: latency(previous, facts),
    }
}

/// The server's own list. Until pods have spoken of this generation, what they said last is better than nothing.
fn models(previous: &ProviderStatus, facts: &Facts) -> Vec<String> {
    match &facts.report {
        None if facts.users == 0 => Vec::new(),
        None => previous.models.clone(),
        Some(report) => report.listed.iter().flatten().take(MODELS_MAX).cloned().collect(),
    }
}

/// Rounded, and left alone until it has changed by half: a status must not be written at every pass.
fn latency(previous: &ProviderStatus, facts: &Facts) -> Option<u64> {
    let Some(report) = &facts.report else {
        return previous.latency_milliseconds.filter(|_| facts.users > 0);
    };
    let exact = report.latency()?;
    let near = |before: &u64| {
        let (low, high) = (exact.min(*before), exact.max(*before));
        high.saturating_mul(2) <= low.saturating_mul(3)
    };
    Some(previous.latency_milliseconds.filter(near).unwrap_or_else(|| coarse(exact)))
}

#[cfg(test)]
mod tests;
