use agent_pod_config::{EndpointState, ProviderState, SecretPresence, SecretState};
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
    *Report::of(pods).providers.remove(&key("openai")).unwrap()
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

fn said(state: SecretPresence, problem: Option<&str>, former: bool) -> PodState {
    let problem = problem.map(str::to_owned);
    let secret = SecretState { secret: "s".into(), key: "k".into(), state, problem, former, refused: false };
    PodState { secrets: vec![secret], ..PodState::default() }
}

#[rstest]
#[case::one_misses_it(&[said(SecretPresence::Missing, None, false), said(SecretPresence::Present, None, false)], "Secret `s` is missing or has no key `k`")]
#[case::empty(&[said(SecretPresence::Missing, Some("empty"), false)], "key `k` of Secret `s` is empty")]
#[case::binary(&[said(SecretPresence::Present, None, false), said(SecretPresence::Missing, Some("not_text"), false)], "key `k` of Secret `s` is no text in UTF-8")]
#[case::all_go_on(&[said(SecretPresence::Missing, None, true), said(SecretPresence::Missing, None, true)], "Secret `s` is missing or has no key `k`; the value that was there before goes on being used")]
#[case::one_goes_on(&[said(SecretPresence::Missing, None, true), said(SecretPresence::Missing, None, false)], "Secret `s` is missing or has no key `k`")]
fn a_missing_key_in_one_pod_is_missing(#[case] pods: &[PodState], #[case] words: &str) {
    for pods in [pods.to_vec(), pods.iter().rev().cloned().collect()] {
        let (key, report) = Report::of(&pods).secrets.pop_first().unwrap();
        assert!(report.is_missing());
        assert_eq!(report.words(&key), words);
    }
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
