//! What is told while pods do not come, do not load, or go on with what was before.

use super::*;

#[rstest]
#[case::starting(FIRST, None, ["False/PodsUnavailable", "absent", "InProgress", "Rollout"])]
#[case::gave_up(Rollout { deadline_exceeded: true, ..FIRST }, Some("ImagePullBackOff"), ["False/PodsUnavailable", "True/ProgressDeadlineExceeded", "Failed", "Stalled"])]
#[case::never(FIRST, Some("InvalidImageName"), ["False/PodsUnavailable", "True/PodsUnavailable", "Failed", "Stalled"])]
#[case::pulling(FIRST, Some("ImagePullBackOff"), ["False/PodsUnavailable", "absent", "InProgress", "Rollout"])]
#[case::quota(Rollout { not_made: Some(crate::pods::not_made("x is forbidden: exceeded quota")), ..FIRST }, None, ["False/PodsUnavailable", "absent", "InProgress", "Rollout"])]
#[case::more_are_asked_for(Rollout { replicas: 1, updated: 1, available: 0, ..DONE }, None, ["False/PodsUnavailable", "absent", "InProgress", "Rollout"])]
#[case::without_room(Rollout { available: 0, ..DONE }, Some("Unschedulable"), ["False/PodsUnavailable", "absent", "InProgress", "Degraded"])]
#[case::crashing_later(Rollout { available: 0, ..DONE }, Some("CrashLoopBackOff"), ["False/PodsUnavailable", "absent", "InProgress", "Degraded"])]
#[case::quota_lowered(Rollout { replicas: 0, updated: 0, available: 0, not_made: Some(crate::pods::not_made("x is forbidden: exceeded quota")), ..DONE }, None, ["False/PodsUnavailable", "absent", "InProgress", "Degraded"])]
#[case::never_again(Rollout { available: 0, ..DONE }, Some("ErrImageNeverPull"), ["False/PodsUnavailable", "True/PodsUnavailable", "Failed", "Stalled"])]
fn why_pods_do_not_come_is_told(#[case] rollout: Rollout, #[case] reason: Option<&str>, #[case] expected: [&str; 4]) {
    let [ready, stalled, reading, word] = expected;
    let mut inputs = inputs(agent(two()), &[provider()]);
    let agent = validated(two());
    let mut observation = observation(&agent.target(), &[(false, Nothing)]);
    observation.pods[0].pod.trouble = reason.map(|reason| crate::pods::Trouble::new(reason, "why"));
    inputs.pods = observation.pods.clone();
    let told = reason.map(|reason| format!("{reason}: why"));
    let quota = rollout.not_made.as_ref().map(ToString::to_string);
    let status = say_of(&inputs, &built(&agent, None, Some(rollout), Some(&observation)));
    assert_eq!(say(&status.conditions, "Ready"), ready);
    assert_eq!(say(&status.conditions, "Stalled"), stalled);
    assert_eq!(kstatus(&status), reading);
    let message = &find(&status.conditions, "Ready").unwrap().message;
    assert!(message.contains(told.or(quota).as_deref().unwrap_or("no pod is ready")), "{message}");
    let summary = status.summary.unwrap();
    assert_eq!((summary.status.as_str(), summary.replicas.as_str()), (word, "0/2"));
}

#[test]
fn a_credential_that_is_refused_just_now_takes_nothing_for_a_moment() {
    let mut inputs = inputs(agent(two()), &[provider()]);
    let agent = validated(two());
    let well = observation(&agent.target(), &[(true, Loaded), (true, Loaded)]);
    let mut refused = well.clone();
    let model = agent_pod_config::ProviderState {
        name: "openai".into(),
        namespace: "shop".into(),
        model: "gpt-4o-mini".into(),
        circuit: "closed".into(),
        last_error: Some("unauthorized".into()),
        ..agent_pod_config::ProviderState::default()
    };
    std::sync::Arc::make_mut(refused.pods[0].state.as_mut().unwrap()).providers = vec![model];
    let judge = |inputs: &Inputs| say_of(inputs, &built(&agent, None, Some(DONE), Some(&refused)));
    inputs.refused_just_now = true;
    assert_eq!(say(&judge(&inputs).conditions, "Ready"), "False/CredentialsRejected", "it never was ready");
    inputs.previous = say_of(&inputs, &built(&agent, None, Some(DONE), Some(&well)));
    assert_eq!(judge(&inputs), inputs.previous, "the new value is on its way");
    inputs.refused_just_now = false;
    assert_eq!(say(&judge(&inputs).conditions, "Ready"), "False/CredentialsRejected");
    assert_eq!(say(&judge(&inputs).conditions, "Degraded"), "True/ProviderUnavailable");
}

#[rstest]
#[case::slow(Old, false, "pods are loading the desired revision", "True/NewGeneration")]
#[case::too_slow(
    Old,
    true,
    "a ready pod has not loaded the desired revision within 3 minutes; `kubectl rollout restart deployment/support-agent` replaces it",
    "absent"
)]
#[case::silent(Nothing, false, "a ready pod does not say which revision it serves: the pod did not answer", "absent")]
fn loading_has_an_end_and_a_cause(
    #[case] says: Says,
    #[case] overdue: bool,
    #[case] message: &str,
    #[case] reconciling: &str,
) {
    let inputs = inputs(agent(two()), &[provider()]);
    let agent = validated(two());
    let seen = observation(&agent.target(), &[(true, Loaded), (true, says)]);
    let mut stage = built(&agent, None, Some(DONE), Some(&seen));
    stage.built.as_mut().unwrap().overdue = overdue;
    let status = say_of(&inputs, &stage);
    assert_eq!(say(&status.conditions, "Ready"), "False/Loading");
    assert_eq!(find(&status.conditions, "Loaded").unwrap().message, message);
    assert_eq!(say(&status.conditions, "Reconciling"), reconciling);
}

#[rstest]
#[case::served(json!({}), &[(true, Loaded)], "what served before goes on serving")]
#[case::crashing(json!({}), &[(false, Nothing)], "no pod is ready: CrashLoopBackOff: why")]
#[case::suspended(json!({"suspend": true}), &[], "it is suspended")]
#[case::none(json!({"runtime": {"replicas": 0}}), &[], "no pod is asked for")]
fn what_goes_on_while_a_spec_is_refused_is_looked_at(
    #[case] spec: Value,
    #[case] pods: &[(bool, Says)],
    #[case] words: &str,
) {
    let mut inputs = inputs(agent(spec.clone()), &[provider()]);
    let agent = validated(spec);
    let mut seen = observation(&agent.target(), pods);
    for report in seen.pods.iter_mut().filter(|report| !report.pod.ready) {
        report.pod.trouble = Some(crate::pods::Trouble::new("CrashLoopBackOff", "why"));
    }
    inputs.pods = seen.pods.clone();
    let refusal = Refusal { invalid: Some("spec.x is wrong".into()), ..Refusal::default() };
    let mut stage = built(&agent, None, Some(DONE), Some(&seen));
    stage.refusal = Some(&refusal);
    let status = say_of(&inputs, &stage);
    let programmed = find(&status.conditions, "Programmed").unwrap();
    assert_eq!(programmed.message, format!("nothing new is applied; {words}"));
}

#[test]
fn of_an_agent_that_never_served_nothing_goes_on() {
    let mut inputs = inputs(agent(two()), &[provider()]);
    let refusal = Refusal { invalid: Some("spec.x is wrong".into()), ..Refusal::default() };
    let words = |inputs: &Inputs| {
        let status = say_of(inputs, &refused(&refusal));
        find(&status.conditions, "Programmed").unwrap().message.clone()
    };
    assert_eq!(words(&inputs), "nothing new is applied; nothing has been applied of it before");
    inputs.previous.revision = Some(RevisionStatus { desired: Some("a".into()), loaded: None });
    let lost = "nothing new is applied; no pod is ready, and what was applied of it last cannot be read";
    assert_eq!(words(&inputs), lost);
    let agent = validated(two());
    let mut first = observation(&agent.target(), &[(false, Refused)]);
    std::sync::Arc::make_mut(first.pods[0].state.as_mut().unwrap()).revision = None;
    inputs.pods = first.pods.clone();
    let status = say_of(&inputs, &built(&agent, None, Some(FIRST), Some(&first)));
    let loaded = find(&status.conditions, "Loaded").unwrap();
    assert!(loaded.message.ends_with("line 1; no pod is ready"), "{loaded:?}");
}
