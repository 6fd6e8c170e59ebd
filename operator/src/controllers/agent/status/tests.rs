use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::conditions::find;
use crate::controllers::agent::validate::validate;
use crate::testing::Says::{
    Loaded, LoadedWithOpenCircuit, LoadedWithoutSecret, LoadedWithoutServer, LoadedWithoutTool, Nothing, Old, Refused,
};
use crate::testing::{Says, agent, inputs, observation, provider, validated};

mod budget;
mod going_on;

const DONE: Rollout = Rollout {
    observed: true,
    replicas: 2,
    updated: 2,
    available: 2,
    deadline_exceeded: false,
    came_up: true,
    not_made: None,
};
/// Its template has not come up yet.
const FIRST: Rollout = Rollout { available: 0, came_up: false, ..DONE };

fn two() -> Value {
    json!({"runtime": {"replicas": 2}})
}

fn say(conditions: &[Condition], type_: &str) -> String {
    find(conditions, type_).map_or_else(|| "absent".into(), |found| format!("{}/{}", found.status, found.reason))
}

fn judge(spec: Value, rollout: Rollout, pods: &[(bool, Says)], failure: Option<Failure>) -> AgentStatus {
    let inputs = inputs(agent(spec.clone()), &[provider()]);
    let agent = validated(spec);
    let observation = observation(&agent.target(), pods);
    say_of(&inputs, &built(&agent, failure, Some(rollout), Some(&observation)))
}

fn built<'a>(
    agent: &'a Validated,
    failure: Option<Failure>,
    rollout: Option<Rollout>,
    observation: Option<&'a Observation>,
) -> Stage<'a> {
    Stage { refusal: None, built: Some(Built { agent, failure, rollout, observation, overdue: false }) }
}

fn refused(refusal: &Refusal) -> Stage<'_> {
    Stage { refusal: Some(refusal), built: None }
}

fn say_of(inputs: &Inputs, stage: &Stage<'_>) -> AgentStatus {
    status(inputs, stage, &verdicts(inputs, stage), Timestamp::UNIX_EPOCH)
}

/// What kstatus makes of it: a generation that is not observed, or work under way, is in progress.
fn kstatus(status: &AgentStatus) -> &'static str {
    let is_true = |type_| find(&status.conditions, type_).is_some_and(|condition| condition.status == "True");
    if status.observed_generation != Some(7) || is_true("Reconciling") {
        "InProgress"
    } else if is_true("Stalled") {
        "Failed"
    } else if is_true("Ready") {
        "Current"
    } else {
        "InProgress"
    }
}

#[rstest]
#[case::all_loaded(two(), DONE, &[(true, Loaded), (true, Loaded)], ["True/Succeeded", "True/Succeeded", "absent", "Current"])]
#[case::one_is_behind(two(), DONE, &[(true, Loaded), (true, Old)], ["False/Loading", "False/Loading", "True/NewGeneration", "InProgress"])]
#[case::one_says_nothing(two(), DONE, &[(true, Loaded), (true, Nothing)], ["False/Loading", "False/Loading", "absent", "InProgress"])]
#[case::one_behind_is_not_ready(two(), DONE, &[(true, Loaded), (false, Old)], ["True/Succeeded", "True/Succeeded", "absent", "Current"])]
#[case::one_refused(two(), DONE, &[(true, Loaded), (true, Refused)], ["False/LoadFailed", "False/LoadFailed", "absent", "Failed"])]
#[case::no_pod(two(), Rollout { available: 0, ..DONE }, &[(false, Nothing)], ["False/PodsUnavailable", "False/PodsUnavailable", "True/Rollout", "InProgress"])]
#[case::too_few(two(), Rollout { available: 1, ..DONE }, &[(true, Loaded)], ["True/Succeeded", "False/PodsUnavailable", "True/Rollout", "InProgress"])]
#[case::old_template(two(), Rollout { updated: 1, replicas: 3, ..DONE }, &[(true, Loaded), (true, Loaded)], ["True/Succeeded", "False/Rollout", "True/Rollout", "InProgress"])]
#[case::not_observed(two(), Rollout { observed: false, ..DONE }, &[(true, Loaded), (true, Loaded)], ["True/Succeeded", "False/Rollout", "True/Rollout", "InProgress"])]
#[case::last_old_pod_serves(two(), Rollout { replicas: 3, ..DONE }, &[(true, Loaded), (true, Loaded)], ["True/Succeeded", "False/Rollout", "True/Rollout", "InProgress"])]
#[case::suspended(json!({"suspend": true}), Rollout { observed: true, ..Rollout::default() }, &[], ["True/Succeeded", "True/Suspended", "absent", "Current"])]
#[case::zero(json!({"runtime": {"replicas": 0}}), Rollout { observed: true, ..Rollout::default() }, &[], ["True/Succeeded", "True/Succeeded", "absent", "Current"])]
fn ready_is_what_every_ready_pod_serves(
    #[case] spec: Value,
    #[case] rollout: Rollout,
    #[case] pods: &[(bool, Says)],
    #[case] expected: [&str; 4],
) {
    let [loaded, ready, reconciling, reading] = expected;
    let status = judge(spec, rollout, pods, None);
    assert_eq!(say(&status.conditions, "Loaded"), loaded);
    assert_eq!(say(&status.conditions, "Ready"), ready);
    assert_eq!(say(&status.conditions, "Reconciling"), reconciling);
    assert_eq!(kstatus(&status), reading);
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(7)));
    let revision = status.revision.unwrap();
    assert_eq!(revision.loaded.is_some(), loaded == "True/Succeeded", "loaded is absent while they differ");
}

#[test]
fn a_refused_document_says_why() {
    let status = judge(two(), DONE, &[(true, Loaded), (true, Refused)], None);
    let loaded = find(&status.conditions, "Loaded").unwrap();
    assert!(
        loaded.message.starts_with("agents.support.prompts.system: the template is broken in line 1"),
        "{loaded:?}"
    );
    assert_eq!(say(&status.conditions, "Stalled"), "True/LoadFailed");
}

#[rstest]
#[case::alone(two(), "False/CredentialsMissing")]
#[case::beside_one_that_can(json!({"runtime": {"replicas": 2}, "model": {"candidates": [
    {"providerRef": {"name": "openai"}}, {"providerRef": {"name": "local"}}]}}), "True/Succeeded")]
fn a_missing_key_takes_readiness_when_no_other_model_can_answer(#[case] spec: Value, #[case] ready: &str) {
    let mut local = provider();
    local.metadata.name = Some("local".into());
    local.spec.auth = None;
    let inputs = inputs(agent(spec), &[provider(), local]);
    let agent = validate(&inputs, "image").unwrap();
    let observation = observation(&agent.target(), &[(true, Loaded), (true, LoadedWithoutSecret)]);
    let status = say_of(&inputs, &built(&agent, None, Some(DONE), Some(&observation)));
    assert_eq!(say(&status.conditions, "Ready"), ready);
    assert_eq!(say(&status.conditions, "Degraded"), "True/CredentialsMissing");
    assert_eq!(status.summary.unwrap().status, "Degraded");
    let degraded = find(&status.conditions, "Degraded").unwrap();
    assert_eq!(degraded.message, KEYLESS);
}

#[rstest]
#[case::key_refused(Some("unauthorized"), "False/CredentialsRejected")]
#[case::no_such_model(Some("not_found"), "False/ModelNotFound")]
#[case::away(Some("unavailable"), "True/Succeeded")]
#[case::well(None, "True/Succeeded")]
fn an_agent_whose_only_model_needs_somebody_to_act_is_not_ready(#[case] error: Option<&str>, #[case] ready: &str) {
    let inputs = inputs(agent(two()), &[provider()]);
    let agent = validated(two());
    let mut observation = observation(&agent.target(), &[(true, Loaded), (true, Loaded)]);
    let model = agent_pod_config::ProviderState {
        name: "openai".into(),
        namespace: "shop".into(),
        model: "gpt-4o-mini".into(),
        circuit: "closed".into(),
        last_error: error.map(str::to_owned),
        ..agent_pod_config::ProviderState::default()
    };
    std::sync::Arc::make_mut(observation.pods[0].state.as_mut().unwrap()).providers = vec![model.clone()];
    let status = say_of(&inputs, &built(&agent, None, Some(DONE), Some(&observation)));
    assert_eq!(say(&status.conditions, "Ready"), ready);
    assert_eq!(say(&status.conditions, "Stalled"), "absent", "it may heal without an edit of the agent");
    let served = agent_pod_config::ProviderState { last_error: None, latency_ms: Some(200), ..model };
    std::sync::Arc::make_mut(observation.pods[1].state.as_mut().unwrap()).providers = vec![served];
    let status = say_of(&inputs, &built(&agent, None, Some(DONE), Some(&observation)));
    assert_eq!(say(&status.conditions, "Ready"), "True/Succeeded", "the other pod has been served");
}

#[test]
fn a_pod_that_has_come_up_is_not_judged_before_it_has_been_asked() {
    let mut inputs = inputs(agent(two()), &[provider()]);
    let agent = validated(two());
    let mut seen = observation(&agent.target(), &[(true, Loaded), (true, Loaded)]);
    inputs.previous = say_of(&inputs, &built(&agent, None, Some(DONE), Some(&seen)));
    for report in &mut seen.pods {
        (report.state, report.asked) = (None, false);
    }
    assert_eq!(say_of(&inputs, &built(&agent, None, Some(DONE), Some(&seen))), inputs.previous);
}

#[test]
fn the_columns_are_short() {
    let status = judge(two(), DONE, &[(true, Loaded), (true, Loaded)], None);
    let summary = status.summary.unwrap();
    assert_eq!((summary.status.as_str(), summary.revision.unwrap().len()), ("Ready", 12));
    let suspended = Rollout { observed: true, ..Rollout::default() };
    let status = judge(json!({"suspend": true}), suspended, &[], None);
    let summary = status.summary.unwrap();
    assert_eq!((summary.status.as_str(), summary.replicas.as_str()), ("Suspended", "0/0"));
}

const SILENT: &str = "model `openai/gpt-4o-mini`: its server does not answer (connection refused)";
const OPEN: &str = "model `openai/gpt-4o-mini`: it failed too often and is left alone for a while";
const KEYLESS: &str = "Secret `openai` is missing or has no key `api-key`";

#[rstest]
#[case::no_server(LoadedWithoutServer, LoadedWithoutServer, "ProviderUnavailable", SILENT.to_owned())]
#[case::one_leaves_it_alone(Loaded, LoadedWithOpenCircuit, "ProviderUnavailable", OPEN.to_owned())]
#[case::a_key_and_a_server(LoadedWithoutSecret, LoadedWithoutServer, "CredentialsMissing", format!("{KEYLESS}; {SILENT}"))]
fn a_candidate_that_is_down_degrades_and_does_not_take_readiness(
    #[case] first: Says,
    #[case] second: Says,
    #[case] reason: &str,
    #[case] message: String,
) {
    let status = judge(two(), DONE, &[(true, first), (true, second)], None);
    let keyless = reason == "CredentialsMissing";
    assert_eq!(kstatus(&status), if keyless { "InProgress" } else { "Current" });
    assert_eq!(say(&status.conditions, "Degraded"), format!("True/{reason}"));
    assert_eq!(find(&status.conditions, "Degraded").unwrap().message, message);
}

#[test]
fn a_tool_that_is_left_alone_degrades_and_is_told() {
    let spec = json!({"tools": [{"name": "chart", "type": "client"}], "runtime": {"replicas": 2}});
    let status = judge(spec, DONE, &[(true, Loaded), (true, LoadedWithoutTool)], None);
    assert_eq!(say(&status.conditions, "Ready"), "True/Succeeded");
    assert_eq!(say(&status.conditions, "Degraded"), "True/ToolUnavailable");
    assert!(find(&status.conditions, "Degraded").unwrap().message.contains("tool `chart`"));
    let tools: Vec<_> = status.tools.iter().map(|tool| (&*tool.name, &*tool.tool_type, &*tool.state)).collect();
    assert_eq!(tools, [("chart", "client", "unavailable")]);
}

#[test]
fn a_candidate_of_a_role_degrades_too_and_is_named_once() {
    let candidates = json!([{"providerRef": {"name": "openai"}}, {"providerRef": {"name": "openai"}, "model": "o"}]);
    let spec = json!({"roles": {"planner": {"candidates": candidates}}, "runtime": {"replicas": 2}});
    let status = judge(spec, DONE, &[(true, LoadedWithoutServer), (true, LoadedWithoutServer)], None);
    let message = &find(&status.conditions, "Degraded").unwrap().message;
    assert_eq!(*message, format!("{SILENT}; {}", SILENT.replace("gpt-4o-mini", "o")));
    assert_eq!(status.models, ["openai/gpt-4o-mini", "openai/o"]);
}

#[test]
fn the_door_for_openai_clients_is_told_when_it_is_open() {
    let endpoint = |spec: Value| judge(spec, DONE, &[(true, Loaded), (true, Loaded)], None).endpoints.unwrap().openai;
    assert_eq!(endpoint(two()).as_deref(), Some("http://support-agent.shop.svc/v1"));
    assert_eq!(endpoint(json!({"runtime": {"replicas": 2}, "expose": {"openai": false}})), None);
}

#[rstest]
#[case::nobody(json!({"from": "Same"}), "False/RefNotPermitted")]
#[case::by_an_unknown_label(json!({"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}), "False/RefNotPermitted")]
#[case::with_a_secret(json!({"from": "All"}), "False/RefNotPermitted")]
fn a_provider_of_another_namespace_needs_its_consent(#[case] allowed: Value, #[case] resolved: &str) {
    let mut shared = provider();
    shared.metadata.namespace = Some("models".into());
    shared.spec.allowed_namespaces = serde_json::from_value(allowed).unwrap();
    let spec = json!({"model": {"candidates": [{"providerRef": {"name": "openai", "namespace": "models"}}]}});
    let inputs = inputs(agent(spec), &[shared]);
    let refusal = validate(&inputs, "image").unwrap_err();
    let status = say_of(&inputs, &refused(&refusal));
    assert_eq!(say(&status.conditions, "ResolvedRefs"), resolved);
    assert_eq!(say(&status.conditions, "Ready"), resolved);
    assert_eq!(say(&status.conditions, "Stalled"), "absent", "it heals without an edit of the agent");
}

#[rstest]
#[case(Reason::Denied, Remedy::Others, "absent", "InProgress", None)]
#[case(Reason::Conflict, Remedy::Others, "absent", "InProgress", None)]
#[case(Reason::ApplyFailed, Remedy::Retry, "True/NewGeneration", "InProgress", None)]
#[case(Reason::ApplyFailed, Remedy::Edit, "absent", "Failed", Some(7))]
fn a_child_that_is_not_applied_holds_the_generation_back(
    #[case] reason: Reason,
    #[case] remedy: Remedy,
    #[case] reconciling: &str,
    #[case] reading: &str,
    #[case] observed: Option<i64>,
) {
    let failure = Failure { reason, message: "why".into(), remedy };
    let status = judge(two(), DONE, &[(true, Loaded), (true, Loaded)], Some(failure));
    assert_eq!(say(&status.conditions, "Programmed"), format!("False/{}", reason.as_str()));
    assert_eq!(say(&status.conditions, "Ready"), format!("False/{}", reason.as_str()));
    assert_eq!(say(&status.conditions, "Reconciling"), reconciling);
    assert_eq!((status.observed_generation, kstatus(&status)), (observed, reading), "unless an edit alone helps");
}

#[rstest]
#[case::no_provider(json!({}), false, "True/Succeeded", "False/ProviderNotFound", "absent")]
#[case::no_prompt(json!({"prompts": {"systemFrom": {"configMapKeyRef": {"name": "prompts", "key": "system.md"}}}}), true, "True/Succeeded", "False/ConfigMapNotFound", "absent")]
#[case::bad_duration(json!({"orchestration": {"timeout": "soon"}}), true, "False/Invalid", "True/Succeeded", "True/Invalid")]
fn what_stands_in_the_way_is_named_and_nothing_new_is_served(
    #[case] spec: Value,
    #[case] with_provider: bool,
    #[case] accepted: &str,
    #[case] resolved: &str,
    #[case] stalled: &str,
) {
    let providers = if with_provider { vec![provider()] } else { Vec::new() };
    let mut inputs = inputs(agent(spec), &providers);
    let revision = RevisionStatus { desired: Some("last".into()), loaded: Some("last".into()) };
    inputs.previous.revision = Some(revision.clone());
    let refusal = validate(&inputs, "image").unwrap_err();
    let status = say_of(&inputs, &refused(&refusal));
    assert_eq!(say(&status.conditions, "Accepted"), accepted);
    assert_eq!(say(&status.conditions, "ResolvedRefs"), resolved);
    assert_eq!(say(&status.conditions, "Stalled"), stalled);
    let first = if accepted.starts_with("False") { accepted } else { resolved };
    assert_eq!(say(&status.conditions, "Ready"), first);
    assert_eq!(status.revision, Some(revision), "the last good document is still what pods shall serve");
    assert_eq!(status.observed_generation, Some(7));
}

#[test]
fn the_same_facts_give_the_same_status_at_any_time() {
    let spec = two();
    let mut inputs = inputs(agent(spec.clone()), &[provider()]);
    let agent = validated(spec);
    let observation = observation(&agent.target(), &[(true, Loaded), (true, Loaded)]);
    let stage = built(&agent, None, Some(DONE), Some(&observation));
    let verdicts = verdicts(&inputs, &stage);
    let first = status(&inputs, &stage, &verdicts, Timestamp::UNIX_EPOCH);
    inputs.previous = first.clone();
    assert_eq!(status(&inputs, &stage, &verdicts, Timestamp::from_second(1_000).unwrap()), first);
    assert_eq!(first.models, ["openai/gpt-4o-mini"]);
    assert_eq!(first.endpoints.unwrap().web_socket, "ws://support-agent.shop.svc/v1/ws/agent/support");
}

#[test]
fn a_degraded_agent_stays_so_while_nothing_is_known() {
    let missing = Verdict::present(Reason::CredentialsMissing, "Secret `openai` has no key `api-key`");
    let previous = Conditions::new(&[], Some(6), Timestamp::UNIX_EPOCH).with("Degraded", &missing).finish();
    let refusal = Refusal { invalid: Some("x".into()), ..Refusal::default() };
    let mut inputs = inputs(agent(two()), &[provider()]);
    inputs.previous.conditions = previous;
    assert_eq!(verdicts(&inputs, &refused(&refusal)).degraded, Some(missing.clone()));
    let agent = validated(two());
    let nobody = observation(&agent.target(), &[(false, Nothing)]);
    assert_eq!(verdicts(&inputs, &built(&agent, None, Some(DONE), Some(&nobody))).degraded, Some(missing));
}

fn peer(name: &str, spec: Value) -> std::sync::Arc<astromesh_crds::v1alpha1::Agent> {
    let mut peer = agent(spec);
    peer.metadata.name = Some(name.into());
    peer.into()
}

fn calling(name: &str) -> Value {
    json!({"tools": [{"name": name, "type": "agent", "agent": {"agentRef": {"name": name}}}]})
}

#[rstest]
#[case::there(Some(json!({})), "True/Succeeded")]
#[case::missing(None, "False/AgentNotFound")]
#[case::closed(Some(json!({"access": {"allowed": [{"serviceAccount": "app"}]}})), "False/RefNotPermitted")]
#[case::in_a_circle(Some(calling("support")), "False/ReferenceCycle")]
fn an_agent_that_is_named_as_a_tool_is_there_and_lets_its_caller_in(
    #[case] billing: Option<Value>,
    #[case] resolved: &str,
) {
    let mut inputs = inputs(agent(calling("billing")), &[provider()]);
    inputs.peers = billing.into_iter().map(|spec| peer("billing", spec)).collect();
    let validated = validate(&inputs, "image");
    let stage = match &validated {
        Ok(agent) => built(agent, None, None, None),
        Err(refusal) => refused(refusal),
    };
    let status = say_of(&inputs, &stage);
    assert_eq!(say(&status.conditions, "ResolvedRefs"), resolved);
    assert_eq!(say(&status.conditions, "Stalled"), "absent", "it heals without an edit of the agent");
}

#[rstest]
#[case::others_wait(1_000, true, DONE, (Loaded, Old), true)]
#[case::nobody_waits(400, false, DONE, (Loaded, Old), false)]
#[case::loaded(400, true, DONE, (Loaded, Loaded), false)]
#[case::refused(400, true, DONE, (Loaded, Refused), false)]
#[case::too_long(15_000, true, DONE, (Loaded, Old), false)]
#[case::new_pods(400, true, Rollout { updated: 1, replicas: 3, ..DONE }, (Loaded, Old), false)]
fn that_pods_load_is_not_said_while_others_wait_for_their_documents(
    #[case] waited: u64,
    #[case] busy: bool,
    #[case] rollout: Rollout,
    #[case] (one, other): (Says, Says),
    #[case] expected: bool,
) {
    let mut inputs = inputs(agent(two()), &[provider()]);
    let agent = validated(two());
    let former = observation(&agent.target(), &[(true, Loaded), (true, Loaded)]);
    inputs.previous = say_of(&inputs, &built(&agent, None, Some(DONE), Some(&former)));
    inputs.previous.revision.as_mut().unwrap().desired = Some("former".into());
    let now = observation(&agent.target(), &[(true, one), (true, other)]);
    let waits = |inputs: &Inputs, failure| {
        let stage = built(&agent, failure, Some(rollout.clone()), Some(&now));
        may_wait(inputs, stage.built.as_ref().unwrap(), Duration::from_millis(waited), busy)
    };
    assert_eq!(waits(&inputs, None), expected);
    let failed = Failure { reason: Reason::ApplyFailed, message: "x".into(), remedy: Remedy::Retry };
    assert!(!waits(&inputs, Some(failed)), "a failure is told at once");
    inputs.previous.revision.as_mut().unwrap().desired = Some(agent.target().revision);
    assert!(!waits(&inputs, None), "what has been said goes on being said");
    inputs.previous = AgentStatus::default();
    assert!(!waits(&inputs, None), "a new agent says what it does");
}
