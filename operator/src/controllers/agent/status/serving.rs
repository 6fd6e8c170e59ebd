//! Whether a model can answer: an agent whose every candidate needs somebody to act serves nobody.

use agent_pod_config::CandidateDocument;
use astromesh_crds::v1alpha1::{Reason, condition};

use super::degraded::{provider_of, secret_fault};
use super::{Built, carried};
use crate::conditions::{Verdict, find};
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
    match unserved(built, &report) {
        Some((Reason::CredentialsRejected, _)) if refusal_may_pass(inputs) => Verdict::holds(SERVES),
        Some((reason, message)) => Verdict::fails(reason, message),
        None => Verdict::holds(SERVES),
    }
}

/// Whether a credential that was taken has been refused just now: the Secret may have a new value, which is on its way to the pods.
pub(super) fn refusal_may_pass(inputs: &Inputs) -> bool {
    let was_ready = find(&inputs.previous.conditions, condition::READY).is_some_and(|ready| ready.status == "True");
    was_ready && inputs.refused_just_now
}

/// Why no candidate of the default role can be called until somebody acts, if so.
fn unserved(built: &Built<'_>, report: &Report) -> Option<(Reason, String)> {
    let roles = built.agent.document.agents.values().map(|agent| &agent.model);
    let mut first = None;
    for candidate in roles.flat_map(|role| &role.candidates) {
        first = first.or(Some(fault(candidate, built, report)?));
    }
    first
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
    let said = report.providers.get(&key)?;
    // Another pod has been served since: it has the newer value, or a replica of the server the model.
    if said.models.get(model).is_some_and(|model| model.served) {
        return None;
    }
    match said.fault(model)? {
        Fault::Rejected => Some((Reason::CredentialsRejected, words(Fault::rejected(secret.is_some())))),
        Fault::Missing => Some((Reason::ModelNotFound, words(&Fault::Missing.words()))),
        Fault::Unreachable(_) | Fault::Open => None,
    }
}
