//! What is broken while the agent serves.

use std::collections::BTreeSet;

use agent_pod_config::{CandidateDocument, Document, SecretKey};
use astromesh_crds::v1alpha1::{Reason, condition};

use super::serving::refusal_may_pass;
use super::{Built, Stage, carried};
use crate::conditions::Verdict;
use crate::controllers::agent::dereference::Inputs;
use crate::names::ObjectKey;
use crate::reports::{Fault, Report, TOOL_READY};

/// While pods are being replaced, an old one may miss what the new ones have; while none is ready, or one has come up and has
/// not been asked, nothing is known.
pub(super) fn degraded(inputs: &Inputs, stage: &Stage<'_>) -> Option<Verdict> {
    let before = || carried(&inputs.previous.conditions, condition::DEGRADED);
    let Some(Built { agent, rollout: Some(rollout), observation: Some(observation), .. }) = &stage.built else {
        return before();
    };
    if agent.replicas_wanted() == 0 {
        return None;
    }
    let unknown = observation.ready().next().is_none() || observation.is_pending();
    if unknown || !rollout.is_complete(agent.replicas_wanted()) || refusal_may_pass(inputs) {
        return before();
    }
    let report = observation.report();
    let missing = missing_secrets(&agent.document, &report);
    let down = models_that_are_down(&agent.document, &report);
    let tools = tools_that_are_down(&report);
    let reason = match (missing.is_empty(), down.is_empty()) {
        (false, _) => Reason::CredentialsMissing,
        (true, false) => Reason::ProviderUnavailable,
        (true, true) => Reason::ToolUnavailable,
    };
    let messages: Vec<String> = missing.into_iter().chain(down).chain(tools).collect();
    (!messages.is_empty()).then(|| Verdict::present(reason, messages.join("; ")))
}

fn tools_that_are_down(report: &Report) -> Option<String> {
    let down: Vec<_> =
        report.tools.iter().filter(|(_, state)| *state != TOOL_READY).map(|(name, _)| format!("`{name}`")).collect();
    (!down.is_empty()).then(|| format!("left alone for a while after failures in a row: tool {}", down.join(", ")))
}

fn missing_secrets(document: &Document, report: &Report) -> Vec<String> {
    document.secrets().iter().filter_map(|key| secret_fault(key, report)).map(|fault| fault.words).collect()
}

/// What is wrong with a Secret's key.
pub(super) struct SecretFault {
    /// In words.
    pub(super) words: String,
    /// Whether a value that was there before goes on being used.
    pub(super) former: bool,
}

pub(super) fn secret_fault(key: &SecretKey, report: &Report) -> Option<SecretFault> {
    let said = report.secrets.get(key).filter(|said| said.is_missing())?;
    Some(SecretFault { words: said.words(key), former: said.former })
}

/// The provider that a candidate leads to.
pub(super) fn provider_of(candidate: &CandidateDocument) -> Option<ObjectKey> {
    let (namespace, name) = candidate.provider.split_once('/')?;
    Some(ObjectKey { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// The candidates of every role that cannot be called, each once.
fn models_that_are_down(document: &Document, report: &Report) -> Vec<String> {
    let roles = document.agents.values().flat_map(|agent| std::iter::once(&agent.model).chain(agent.roles.values()));
    let mut told = BTreeSet::new();
    let mut down = Vec::new();
    let mut candidates: Vec<_> = roles.flat_map(|role| &role.candidates).collect();
    candidates.sort_by_key(|candidate| (&candidate.provider, &candidate.model));
    for candidate in candidates {
        let Some(key) = provider_of(candidate).filter(|_| told.insert((&candidate.provider, &candidate.model))) else {
            continue;
        };
        let Some(fault) = report.providers.get(&key).and_then(|said| said.fault(&candidate.model)) else { continue };
        let keyed = document.providers.get(&candidate.provider).is_some_and(|provider| provider.auth.is_some());
        let words = if fault == Fault::Rejected { Fault::rejected(keyed).to_owned() } else { fault.words() };
        down.push(format!("model `{}/{}`: {words}", key.name, candidate.model));
    }
    down
}
