//! What is known → the status of a Provider. Pure.

use agent_pod_config::{SecretKey, SecretPresence};
use astromesh_crds::v1alpha1::{Provider, ProviderStatus, Reason, condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use crate::conditions::{Conditions, Status, Verdict, find};

/// What is known of a provider.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Why it is not valid by itself, if so.
    pub problem: Option<String>,
    /// The Secret key that it needs, and what pods say of it; absent without credentials.
    pub presence: Option<(Option<SecretPresence>, SecretKey)>,
    /// How many agents name it.
    pub users: usize,
}

/// The whole status.
#[must_use]
pub fn status(provider: &Provider, previous: &ProviderStatus, facts: &Facts, now: Timestamp) -> ProviderStatus {
    let generation = provider.metadata.generation;
    let accepted = match &facts.problem {
        Some(problem) => Verdict::fails(Reason::Invalid, problem.as_str()),
        None => Verdict::holds("the spec is valid"),
    };
    let credentials = credentials(facts, generation, &previous.conditions);
    let ready = [&accepted, &credentials]
        .into_iter()
        .find(|verdict| verdict.status == Status::False)
        .map_or_else(|| Verdict::holds("agents can use it"), |failed| failed.clone());
    let stalled = facts.problem.as_ref().map(|problem| Verdict::present(Reason::Invalid, problem.as_str()));
    ProviderStatus {
        observed_generation: generation,
        conditions: Conditions::new(&previous.conditions, generation, now)
            .with(condition::ACCEPTED, &accepted)
            .with(condition::CREDENTIALS_RESOLVED, &credentials)
            .with(condition::READY, &ready)
            .with_some(condition::STALLED, stalled.as_ref())
            .finish(),
        agents: u32::try_from(facts.users).unwrap_or(u32::MAX),
        models: Vec::new(),
        latency_milliseconds: None,
    }
}

fn credentials(facts: &Facts, generation: Option<i64>, previous: &[Condition]) -> Verdict {
    match &facts.presence {
        None => Verdict::holds("no credentials are needed"),
        Some((Some(SecretPresence::Present), _)) => Verdict::holds("the pods that use it have the credential"),
        Some((Some(SecretPresence::Missing), secret)) => Verdict::fails(
            Reason::CredentialsMissing,
            format!(
                "Secret `{}` has no key `{}`; a value that was there before goes on being used",
                secret.name, secret.key
            ),
        ),
        Some((None, _)) if facts.users == 0 => {
            Verdict::unknown(Reason::Unused, "no agent uses it, so no pod has looked")
        }
        // A new leader has heard nothing yet; what was known of this generation holds until it has.
        Some((None, _)) => known(generation, previous).unwrap_or_else(|| {
            Verdict::unknown(Reason::PodsUnavailable, "no pod of the agents that use it has reported yet")
        }),
    }
}

fn known(generation: Option<i64>, previous: &[Condition]) -> Option<Verdict> {
    let before = find(previous, condition::CREDENTIALS_RESOLVED).filter(|c| c.observed_generation == generation)?;
    match before.status.as_str() {
        "True" => Some(Verdict::holds(&before.message)),
        "False" => Some(Verdict::fails(Reason::CredentialsMissing, before.message.as_str())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn provider() -> Provider {
        serde_json::from_value(json!({
            "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider",
            "metadata": {"name": "openai", "namespace": "shop", "generation": 3},
            "spec": {"type": "openai_compat", "endpoint": "https://api.example.com"},
        }))
        .unwrap()
    }

    fn presence(presence: Option<SecretPresence>) -> Option<(Option<SecretPresence>, SecretKey)> {
        Some((presence, SecretKey { name: "openai".into(), key: "api-key".into() }))
    }

    fn say(conditions: &[Condition], type_: &str) -> String {
        find(conditions, type_).map_or_else(|| "absent".into(), |found| format!("{}/{}", found.status, found.reason))
    }

    #[rstest]
    #[case::no_credentials(None, 0, "True/Succeeded", "True/Succeeded")]
    #[case::unused(presence(None), 0, "Unknown/Unused", "True/Succeeded")]
    #[case::not_reported_yet(presence(None), 1, "Unknown/PodsUnavailable", "True/Succeeded")]
    #[case::present(presence(Some(SecretPresence::Present)), 1, "True/Succeeded", "True/Succeeded")]
    #[case::missing(presence(Some(SecretPresence::Missing)), 1, "False/CredentialsMissing", "False/CredentialsMissing")]
    fn credentials_are_what_pods_report(
        #[case] presence: Option<(Option<SecretPresence>, SecretKey)>,
        #[case] users: usize,
        #[case] credentials: &str,
        #[case] ready: &str,
    ) {
        let facts = Facts { problem: None, presence, users };
        let status = status(&provider(), &ProviderStatus::default(), &facts, Timestamp::UNIX_EPOCH);
        assert_eq!(say(&status.conditions, "CredentialsResolved"), credentials);
        assert_eq!(say(&status.conditions, "Ready"), ready);
        assert_eq!(say(&status.conditions, "Stalled"), "absent");
        assert_eq!((status.observed_generation, status.agents as usize), (Some(3), users));
    }

    #[test]
    fn an_invalid_provider_stalls() {
        let facts = Facts { problem: Some("spec.auth is wrong".into()), presence: None, users: 2 };
        let status = status(&provider(), &ProviderStatus::default(), &facts, Timestamp::UNIX_EPOCH);
        for type_ in ["Accepted", "Ready"] {
            assert_eq!(say(&status.conditions, type_), "False/Invalid");
        }
        assert_eq!(say(&status.conditions, "Stalled"), "True/Invalid");
    }
}
