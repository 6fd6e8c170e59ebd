//! Whether a model can answer: an agent whose every candidate needs somebody to act serves nobody.

use agent_pod_config::CandidateDocument;
use astromesh_crds::v1alpha1::{Reason, condition};

use super::degraded::{provider_of, secret_fault};
use super::{Built, carried};
use crate::conditions::Verdict;
use crate::controllers::agent::dereference::Inputs;
use crate::reports::{Fault, Report};

const SERVES: &str = "a model can be called";

/// The default role's candidates: one that can be called suffices. What mends itself (a server that is away, a circuit that is
/// open) takes no readiness.
pub(super) fn verdict(inputs: &Inputs, built: &Built<'_>) -> Verdict {
    let target = built.agent.target();
    let Some(observation) = built.observation.filter(|seen| seen.ready().next().is_some()) else {
        return Verdict::holds(SERVES);
    };
    if observation.is_pending() {
        let reasons = [Reason::ModelNotFound, Reason::CredentialsMissing, Reason::CredentialsRejected];
        let before =
            carried(&inputs.previous.conditions, condition::READY).filter(|ready| reasons.contains(&ready.reason));
        return before.unwrap_or_else(|| Verdict::holds(SERVES));
    }
    // A pod that serves another revision speaks of other candidates.
    let Some(report) = observation.report_of(&target) else { return Verdict::holds(SERVES) };
    let roles = built.agent.document.agents.values().map(|agent| &agent.model);
    let mut first = None;
    for candidate in roles.flat_map(|role| &role.candidates) {
        match fault(candidate, built, &report) {
            Some(fault) => first = first.or(Some(fault)),
            None => return Verdict::holds(SERVES),
        }
    }
    first.map_or_else(|| Verdict::holds(SERVES), |(reason, message)| Verdict::fails(reason, message))
}

/// Why a candidate cannot be called until somebody acts, if so.
fn fault(candidate: &CandidateDocument, built: &Built<'_>, report: &Report) -> Option<(Reason, String)> {
    let (key, model) = (provider_of(candidate)?, &candidate.model);
    let document = built.agent.document.providers.get(&candidate.provider)?;
    let words = |what: &str| format!("no model can be called: model `{}/{model}`: {what}", key.name);
    let secret = document.auth.as_ref().map(|auth| auth.secret.clone());
    if let Some(missing) = secret.as_ref().and_then(|secret| secret_fault(secret, report)).filter(|fault| !fault.former)
    {
        return Some((Reason::CredentialsMissing, words(&missing.words)));
    }
    match report.providers.get(&key)?.fault(model)? {
        Fault::Rejected => Some((Reason::CredentialsRejected, words(Fault::rejected(secret.is_some())))),
        Fault::Missing => Some((Reason::ModelNotFound, words(&Fault::Missing.words()))),
        Fault::Unreachable(_) | Fault::Open => None,
    }
}
