//! What each condition of a Provider says.

use astromesh_crds::v1alpha1::{Reason, condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Facts;
use crate::conditions::{Verdict, find};
use crate::probing::Finding;

const NOT_REPORTED: &str = "no pod of the agents that use it has reported yet";
const UNUSED: &str = "no agent uses it, so no pod has looked";

/// Judges by what is known, and by what was said before of the same generation.
pub(super) struct Judge<'a> {
    pub(super) facts: &'a Facts,
    pub(super) generation: Option<i64>,
    pub(super) previous: &'a [Condition],
}

impl Judge<'_> {
    /// Whether pods have the Secrets and the server takes the credential.
    pub(super) fn credentials(&self) -> Verdict {
        let secrets = &self.facts.secrets;
        let missing: Vec<_> = secrets
            .iter()
            .filter_map(|(key, said)| Some((key, said.as_ref().filter(|said| said.is_missing())?)))
            .map(|(key, said)| said.words(key))
            .collect();
        if !missing.is_empty() {
            return Verdict::fails(Reason::CredentialsMissing, missing.join("; "));
        }
        if self.facts.users == 0 {
            return if secrets.is_empty() {
                Verdict::holds("no credentials are needed")
            } else {
                Verdict::unknown(Reason::Unused, UNUSED)
            };
        }
        if self.facts.report.as_ref().is_some_and(|report| report.is_rejected()) {
            let message = if secrets.is_empty() {
                "the server asks for a credential, and spec.auth names none"
            } else {
                "the server refuses the credential"
            };
            return Verdict::fails(Reason::CredentialsRejected, message);
        }
        let heard = secrets.iter().all(|(_, said)| said.is_some());
        let refused_before = self.carried(condition::CREDENTIALS_RESOLVED).filter(|before| {
            // Who has not spoken of this generation yet cannot have made it good.
            self.facts.report.is_none() && before.reason == Reason::CredentialsRejected
        });
        match (heard, refused_before) {
            (true, Some(refused)) => refused,
            (true, None) if secrets.is_empty() => Verdict::holds("no credentials are needed"),
            (true, None) => Verdict::holds("the pods that use it have the credential"),
            (false, _) => self.carried_or_silent(condition::CREDENTIALS_RESOLVED),
        }
    }

    /// Whether the server answers.
    pub(super) fn endpoint(&self) -> Verdict {
        if self.facts.users == 0 {
            return self.unused_endpoint();
        }
        let report = self.facts.report.as_ref();
        match report.and_then(|report| report.reachable.map(|reachable| (reachable, report))) {
            Some((true, _)) => Verdict::holds("the server answers"),
            Some((false, report)) => Verdict::fails(
                Reason::EndpointUnreachable,
                format!("the server does not answer: {}", report.why_unreachable()),
            ),
            None => self.carried_or_silent(condition::ENDPOINT_REACHABLE),
        }
    }

    /// Without users, the operator itself has looked.
    fn unused_endpoint(&self) -> Verdict {
        match &self.facts.finding {
            _ if self.facts.problem.is_some() => Verdict::unknown(Reason::Invalid, "an invalid spec is not looked at"),
            Some(Finding::Answers) => Verdict::holds("the server answers the operator"),
            Some(Finding::Silent(why)) => {
                Verdict::fails(Reason::EndpointUnreachable, format!("the server does not answer the operator: {why}"))
            }
            None => self.carried(condition::ENDPOINT_REACHABLE).unwrap_or_else(|| {
                Verdict::unknown(Reason::Unused, "no agent uses it, and the operator has not looked yet")
            }),
        }
    }

    /// Whether the server offers what is asked of it.
    pub(super) fn models(&self) -> Verdict {
        if self.facts.users == 0 {
            return Verdict::unknown(Reason::Unused, UNUSED);
        }
        let Some(report) = &self.facts.report else { return self.carried_or_silent(condition::MODELS_AVAILABLE) };
        let lacking: Vec<_> =
            self.facts.wanted.iter().filter(|name| report.lacks(name)).map(|name| format!("`{name}`")).collect();
        if !lacking.is_empty() {
            let message = format!("the server does not offer {}", lacking.join(", "));
            return Verdict::fails(Reason::ModelNotFound, message);
        }
        if report.listed.is_some() {
            return Verdict::holds("the server offers every model that is asked of it");
        }
        match report.reachable {
            Some(true) => Verdict::unknown(Reason::NoModelList, "the server does not say which models it offers"),
            Some(false) => Verdict::unknown(Reason::EndpointUnreachable, "the server does not answer"),
            None => self.carried_or_silent(condition::MODELS_AVAILABLE),
        }
    }

    /// Whether no model is left alone.
    pub(super) fn circuits(&self) -> Verdict {
        if self.facts.users == 0 {
            return Verdict::unknown(Reason::Unused, UNUSED);
        }
        let Some(report) = &self.facts.report else { return self.carried_or_silent(condition::CIRCUIT_CLOSED) };
        let open: Vec<_> =
            report.models.iter().filter(|(_, model)| model.open).map(|(name, _)| format!("`{name}`")).collect();
        if open.is_empty() {
            Verdict::holds("no model is left alone")
        } else {
            let message = format!("{} failed too often and is left alone for a while", open.join(", "));
            Verdict::fails(Reason::CircuitOpen, message)
        }
    }

    /// A new leader has heard nothing yet; what was known of this generation holds until it has.
    fn carried_or_silent(&self, type_: &str) -> Verdict {
        self.carried(type_).unwrap_or_else(|| Verdict::unknown(Reason::PodsUnavailable, NOT_REPORTED))
    }

    fn carried(&self, type_: &str) -> Option<Verdict> {
        let before = find(self.previous, type_).filter(|before| before.observed_generation == self.generation)?;
        let reason = Reason::parse(&before.reason)?;
        match before.status.as_str() {
            "True" => Some(Verdict::holds(&before.message)),
            "False" => Some(Verdict::fails(reason, before.message.as_str())),
            _ => None,
        }
    }
}
