use agent_pod_config::SecretPresence;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::conditions::find;
use crate::reports::ModelReport;

fn provider() -> Provider {
    serde_json::from_value(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider",
        "metadata": {"name": "openai", "namespace": "shop", "generation": 3},
        "spec": {"type": "openai_compat", "endpoint": "https://api.example.com"},
    }))
    .unwrap()
}

fn say(conditions: &[Condition], type_: &str) -> String {
    find(conditions, type_).map_or_else(|| "absent".into(), |found| format!("{}/{}", found.status, found.reason))
}

fn judged(facts: &Facts) -> ProviderStatus {
    status(&provider(), &ProviderStatus::default(), facts, Timestamp::UNIX_EPOCH)
}

fn secret(presence: Option<SecretPresence>) -> Vec<(SecretKey, Option<SecretReport>)> {
    let said = presence.map(|presence| SecretReport { presence, problem: None, former: false, refused: false });
    vec![(SecretKey { name: "openai".into(), key: "api-key".into() }, said)]
}

/// What pods say of a server that answers and offers `m`.
fn report() -> ProviderReport {
    ProviderReport {
        generation: Some(3),
        reachable: Some(true),
        listed: Some(["m".to_owned()].into()),
        ..ProviderReport::default()
    }
}

fn used(report: ProviderReport) -> Facts {
    Facts { users: 1, report: Some(report), wanted: ["m".to_owned()].into(), ..Facts::default() }
}

#[rstest]
#[case::no_credentials(Vec::new(), 0, "True/Succeeded", "True/Succeeded")]
#[case::unused(secret(None), 0, "Unknown/Unused", "True/Succeeded")]
#[case::not_reported_yet(secret(None), 1, "Unknown/PodsUnavailable", "True/Succeeded")]
#[case::present(secret(Some(SecretPresence::Present)), 1, "True/Succeeded", "True/Succeeded")]
#[case::missing(secret(Some(SecretPresence::Missing)), 1, "False/CredentialsMissing", "False/CredentialsMissing")]
fn credentials_are_what_pods_report(
    #[case] secrets: Vec<(SecretKey, Option<SecretReport>)>,
    #[case] users: usize,
    #[case] credentials: &str,
    #[case] ready: &str,
) {
    let status = judged(&Facts { secrets, users, ..Facts::default() });
    assert_eq!(say(&status.conditions, "CredentialsResolved"), credentials);
    assert_eq!(say(&status.conditions, "Ready"), ready);
    assert_eq!(say(&status.conditions, "Stalled"), "absent");
    assert_eq!((status.observed_generation, status.agents as usize), (Some(3), users));
}

#[test]
fn an_invalid_provider_stalls() {
    let status = judged(&Facts { problem: Some("spec.auth is wrong".into()), users: 2, ..Facts::default() });
    for type_ in ["Accepted", "Ready"] {
        assert_eq!(say(&status.conditions, type_), "False/Invalid");
    }
    assert_eq!(say(&status.conditions, "Stalled"), "True/Invalid");
}

const GOOD: &str = "True/Succeeded";

#[rstest]
#[case::all_is_well(report(), [GOOD, GOOD, GOOD, GOOD, GOOD])]
#[case::down(
    ProviderReport { reachable: Some(false), failures: ["connection refused".to_owned()].into(), listed: None, ..report() },
    [GOOD, "False/EndpointUnreachable", "Unknown/EndpointUnreachable", GOOD, "False/EndpointUnreachable"]
)]
#[case::no_list(ProviderReport { listed: None, ..report() }, [GOOD, GOOD, "Unknown/NoModelList", GOOD, GOOD])]
#[case::not_listed(ProviderReport { listed: Some(["x".to_owned()].into()), ..report() }, [GOOD, GOOD, "False/ModelNotFound", GOOD, GOOD])]
#[case::refused_list(ProviderReport { rejected: true, listed: None, ..report() }, ["False/CredentialsRejected", GOOD, "Unknown/NoModelList", GOOD, "False/CredentialsRejected"])]
#[case::refused_call(called(|model| model.rejected = true), ["False/CredentialsRejected", GOOD, GOOD, GOOD, "False/CredentialsRejected"])]
#[case::no_such_model(called(|model| model.missing = true), [GOOD, GOOD, "False/ModelNotFound", GOOD, GOOD])]
#[case::open(called(|model| model.open = true), [GOOD, GOOD, GOOD, "False/CircuitOpen", GOOD])]
#[case::not_asked_yet(
    ProviderReport { reachable: None, listed: None, ..report() },
    [GOOD, "Unknown/PodsUnavailable", "Unknown/PodsUnavailable", GOOD, GOOD]
)]
fn conditions_are_what_pods_report(#[case] report: ProviderReport, #[case] expected: [&str; 5]) {
    let status = judged(&used(report));
    let types = ["CredentialsResolved", "EndpointReachable", "ModelsAvailable", "CircuitClosed", "Ready"];
    assert_eq!(types.map(|type_| say(&status.conditions, type_)), expected);
}

fn called(change: fn(&mut ModelReport)) -> ProviderReport {
    let mut report = report();
    change(report.models.entry("m".into()).or_default());
    report
}

#[test]
fn messages_name_models_and_causes() {
    let down = ProviderReport {
        reachable: Some(false),
        failures: ["connection refused".to_owned(), "timeout".to_owned()].into(),
        ..report()
    };
    let message = |status: &ProviderStatus, type_| find(&status.conditions, type_).unwrap().message.clone();
    let status = judged(&used(down));
    assert_eq!(message(&status, "EndpointReachable"), "the server does not answer: connection refused, timeout");
    let mut facts = used(report());
    facts.wanted.extend(["b".to_owned(), "a".to_owned()]);
    assert_eq!(message(&judged(&facts), "ModelsAvailable"), "the server does not offer `a`, `b`");
    let status = judged(&used(called(|model| model.open = true)));
    assert_eq!(message(&status, "CircuitClosed"), "`m` failed too often and is left alone for a while");
}

#[rstest]
#[case::not_looked_yet(None, "Unknown/Unused", GOOD)]
#[case::answers(Some(Finding::Answers), GOOD, GOOD)]
#[case::silent(Some(Finding::Silent("connection refused".into())), "False/EndpointUnreachable", "False/EndpointUnreachable")]
fn a_provider_that_nobody_uses_is_looked_at_by_the_operator(
    #[case] finding: Option<Finding>,
    #[case] endpoint: &str,
    #[case] ready: &str,
) {
    let status = judged(&Facts { secrets: secret(None), finding, ..Facts::default() });
    assert_eq!(say(&status.conditions, "EndpointReachable"), endpoint);
    assert_eq!(say(&status.conditions, "Ready"), ready);
    for type_ in ["CredentialsResolved", "ModelsAvailable", "CircuitClosed"] {
        assert_eq!(say(&status.conditions, type_), "Unknown/Unused");
    }
}

#[test]
fn what_was_known_of_a_generation_holds_until_pods_speak() {
    let down = ProviderReport { reachable: Some(false), ..called(|model| model.open = true) };
    let before = judged(&used(ProviderReport { rejected: true, listed: Some(["x".to_owned()].into()), ..down }));
    let silent = Facts { users: 1, ..Facts::default() };
    let after = status(&provider(), &before, &silent, Timestamp::UNIX_EPOCH);
    assert_eq!(after.conditions, before.conditions);
    assert_eq!(after.models, ["x"]);
    let mut edited = provider();
    edited.metadata.generation = Some(4);
    let after = status(&edited, &before, &silent, Timestamp::UNIX_EPOCH);
    for type_ in ["EndpointReachable", "ModelsAvailable", "CircuitClosed"] {
        assert_eq!(say(&after.conditions, type_), "Unknown/PodsUnavailable");
    }
}

#[rstest]
#[case::first(None, &[234], Some(200))]
#[case::near(Some(200), &[290], Some(200))]
#[case::nearer(Some(200), &[140], Some(200))]
#[case::slower(Some(200), &[310], Some(300))]
#[case::faster(Some(200), &[130], Some(100))]
#[case::averaged(None, &[100, 300], Some(200))]
#[case::unmeasured(Some(200), &[], None)]
fn latency_is_written_when_it_has_changed_by_half(
    #[case] before: Option<u64>,
    #[case] measured: &[u64],
    #[case] expected: Option<u64>,
) {
    let mut said = report();
    said.models.entry("m".into()).or_default().latencies = measured.to_vec();
    let previous = ProviderStatus { latency_milliseconds: before, ..ProviderStatus::default() };
    let status = status(&provider(), &previous, &used(said), Timestamp::UNIX_EPOCH);
    assert_eq!(status.latency_milliseconds, expected);
}

#[test]
fn a_long_list_is_cut() {
    let listed = (0..300).map(|index| format!("model-{index:03}")).collect();
    let status = judged(&used(ProviderReport { listed: Some(listed), ..report() }));
    assert_eq!((status.models.len(), status.models[255].as_str()), (256, "model-255"));
}
