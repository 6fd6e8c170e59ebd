use agent_pod_config::{EndpointState, ProviderState, SecretState};
use rstest::rstest;

use super::*;

fn key(name: &str) -> ObjectKey {
    ObjectKey { namespace: "shop".into(), name: name.into() }
}

fn endpoint(reachable: Option<bool>, message: &str, models: Option<&[&str]>) -> EndpointState {
    EndpointState {
        name: "openai".into(),
        namespace: "shop".into(),
        reachable,
        message: (!message.is_empty()).then(|| message.into()),
        models: models.map(|models| models.iter().map(|model| (*model).to_owned()).collect()),
        ..EndpointState::default()
    }
}

fn model(name: &str, circuit: &str, error: Option<&str>, latency: Option<u64>) -> ProviderState {
    ProviderState {
        name: "openai".into(),
        namespace: "shop".into(),
        model: name.into(),
        circuit: circuit.into(),
        last_error: error.map(str::to_owned),
        latency_ms: latency,
        ..ProviderState::default()
    }
}

fn pod(endpoint: EndpointState, models: &[ProviderState]) -> PodState {
    PodState { endpoints: vec![endpoint], providers: models.to_vec(), ..PodState::default() }
}

fn merged(pods: &[PodState]) -> ProviderReport {
    Report::of(pods).providers.remove(&key("openai")).unwrap()
}

#[rstest]
#[case::nobody_asked(&[None, None], None)]
#[case::one_reaches_it(&[Some(false), Some(true), None], Some(true))]
#[case::nobody_reaches_it(&[Some(false), None, Some(false)], Some(false))]
fn one_pod_that_reaches_the_server_suffices(#[case] pods: &[Option<bool>], #[case] expected: Option<bool>) {
    let pods: Vec<_> = pods.iter().map(|reachable| pod(endpoint(*reachable, "", None), &[])).collect();
    assert_eq!(merged(&pods).reachable, expected);
}

#[rstest]
#[case::fine(endpoint(Some(true), "", Some(&["m"])), model("m", "closed", None, Some(10)), None)]
#[case::never_called(endpoint(Some(true), "", Some(&["m"])), model("m", "closed", None, None), None)]
#[case::trying_again(endpoint(Some(true), "", None), model("m", "half_open", Some("unavailable"), None), None)]
#[case::down(endpoint(Some(false), "connection refused", None), model("m", "open", Some("unavailable"), None), Some(Fault::Unreachable("connection refused".into())))]
#[case::refused(endpoint(Some(true), "", Some(&["m"])), model("m", "closed", Some("unauthorized"), None), Some(Fault::Rejected))]
#[case::gone(endpoint(Some(true), "", None), model("m", "closed", Some("not_found"), Some(10)), Some(Fault::Missing))]
#[case::not_listed(endpoint(Some(true), "", Some(&["other"])), model("m", "closed", None, None), Some(Fault::Missing))]
#[case::served_under_another_name(endpoint(Some(true), "", Some(&["other"])), model("m", "closed", None, Some(10)), None)]
#[case::the_latest_tag(endpoint(Some(true), "", Some(&["m:latest"])), model("m", "closed", None, None), None)]
#[case::open(endpoint(Some(true), "", Some(&["m"])), model("m", "open", Some("unavailable"), None), Some(Fault::Open))]
fn a_fault_is_what_is_nearest_to_the_cause(
    #[case] endpoint: EndpointState,
    #[case] model: ProviderState,
    #[case] expected: Option<Fault>,
) {
    assert_eq!(merged(&[pod(endpoint, &[model])]).fault("m"), expected);
}

#[test]
fn a_listing_that_is_refused_tells_of_the_credential() {
    let refused = EndpointState { error: Some("unauthorized".into()), ..endpoint(Some(true), "401", None) };
    let report = merged(&[pod(refused, &[])]);
    assert!(report.is_rejected());
    assert_eq!(report.fault("any"), Some(Fault::Rejected));
}

#[test]
fn a_missing_key_in_one_pod_is_missing() {
    let secret = |state| PodState {
        secrets: vec![SecretState { secret: "s".into(), key: "k".into(), state, problem: None, refused: false }],
        ..PodState::default()
    };
    let report = Report::of(&[secret(SecretPresence::Missing), secret(SecretPresence::Present)]);
    assert_eq!(report.secrets.values().collect::<Vec<_>>(), [&SecretPresence::Missing]);
}

#[test]
fn a_report_differs_by_more_than_a_little_latency() {
    let reports = Reports::default();
    let report =
        |circuit, latency| Report::of(&[pod(endpoint(Some(true), "", None), &[model("m", circuit, None, latency)])]);
    assert!(reports.keep(&key("support"), report("closed", Some(210))));
    assert!(!reports.keep(&key("support"), report("closed", Some(230))));
    assert!(reports.keep(&key("support"), report("closed", Some(900))));
    assert!(reports.keep(&key("support"), report("open", Some(900))));
    reports.forget(&key("support"));
    assert!(reports.keep(&key("support"), report("open", Some(900))));
}

#[test]
fn a_report_of_another_generation_says_nothing_of_this_one() {
    let reports = Reports::default();
    let mut report = Report::of(&[pod(endpoint(Some(true), "", None), &[])]);
    report.providers.get_mut(&key("openai")).unwrap().generation = Some(1);
    assert!(reports.keep(&key("support"), report));
    let agents = [key("support"), key("silent")];
    assert_eq!(reports.provider(&agents, &key("openai"), Some(2)), None);
    assert_eq!(reports.provider(&agents, &key("openai"), Some(1)).unwrap().reachable, Some(true));
    assert_eq!(reports.provider(&[], &key("openai"), Some(1)), None);
}

#[rstest]
#[case(0, 0)]
#[case(4, 4)]
#[case(234, 200)]
#[case(250, 300)]
#[case(96, 100)]
#[case(1_499, 1_000)]
fn latencies_have_one_digit_that_counts(#[case] exact: u64, #[case] expected: u64) {
    assert_eq!(coarse(exact), expected);
}
