//! How an agent's budget is told.

use super::*;

fn with_budget(replicas: i32, memory: Value) -> Value {
    json!({"budget": {"window": "24h", "maxTokens": 1000, "maxCost": "5.00"}, "memory": memory, "runtime": {"replicas": replicas}})
}

#[rstest]
#[case::fine(&[("2026-01-02T00:00:00Z", "ok")], "True/WithinBudget")]
#[case::near(&[("2026-01-02T00:00:00Z", "ok"), ("2026-01-02T00:00:00Z", "near")], "True/NearLimit")]
#[case::exceeded(&[("2026-01-02T00:00:00Z", "exceeded"), ("2026-01-02T00:00:00Z", "ok")], "False/BudgetExceeded")]
#[case::over(&[("2026-01-02T00:00:00Z", "exceeded"), ("2026-01-03T00:00:00Z", "ok")], "True/WithinBudget")]
#[case::unheard(&[], "Unknown/PodsUnavailable")]
fn a_budget_stands_as_the_pod_says_that_knows_most(#[case] said: &[(&str, &str)], #[case] expected: &str) {
    let spec = with_budget(2, json!({"conversational": {"backend": "in_memory"}}));
    let mut inputs = inputs(agent(spec.clone()), &[provider()]);
    let agent = validated(spec);
    let mut observation = observation(&agent.target(), &[(true, Loaded), (true, Loaded)]);
    for (pod, (window_end, state)) in observation.pods.iter_mut().zip(said) {
        let budget = agent_pod_config::BudgetState {
            window_end: (*window_end).to_owned(),
            state: (*state).to_owned(),
            ..agent_pod_config::BudgetState::default()
        };
        let agent = agent_pod_config::AgentState { budget: Some(budget), ..agent_pod_config::AgentState::default() };
        std::sync::Arc::make_mut(pod.state.as_mut().unwrap()).agents = vec![agent];
    }
    let judged = say_of(&inputs, &built(&agent, None, Some(DONE), Some(&observation)));
    assert_eq!(say(&judged.conditions, "BudgetAvailable"), expected);
    assert_eq!(say(&judged.conditions, "Ready"), "True/Succeeded");
    if !said.is_empty() {
        let message = &find(&judged.conditions, "BudgetAvailable").unwrap().message;
        assert!(
            message.starts_with("at most 1000 tokens and 5.00 USD in 24h; each pod counts for itself"),
            "{message}"
        );
    }
    // While pods say nothing it stays as it was.
    inputs.previous = judged;
    let refusal = Refusal { invalid: Some("x".into()), ..Refusal::default() };
    let kept = say_of(&inputs, &refused(&refusal));
    assert_eq!(say(&kept.conditions, "BudgetAvailable"), expected);
}

#[rstest]
#[case::one_pod(1, json!({"conversational": {"backend": "in_memory"}}), false)]
#[case::several(2, json!({"conversational": {"backend": "in_memory"}}), true)]
#[case::without_memory(2, json!({}), true)]
#[case::redis(2, json!({"conversational": {"backend": "redis", "connection": {"secretKeyRef": {"name": "s", "key": "url"}}}}), false)]
#[case::postgres(2, json!({"conversational": {"backend": "postgres", "connection": {"secretKeyRef": {"name": "s", "key": "url"}}}}), false)]
fn pods_that_count_for_themselves_are_warned_of(#[case] replicas: i32, #[case] memory: Value, #[case] warned: bool) {
    let spec = with_budget(replicas, memory);
    let inputs = inputs(agent(spec), &[provider()]);
    let agent = validated(with_budget(replicas, json!({"conversational": {"backend": "in_memory"}})));
    let mut observation = observation(&agent.target(), &[(true, Loaded)]);
    let budget = agent_pod_config::BudgetState { state: "ok".into(), ..agent_pod_config::BudgetState::default() };
    let state = agent_pod_config::AgentState { budget: Some(budget), ..agent_pod_config::AgentState::default() };
    std::sync::Arc::make_mut(observation.pods[0].state.as_mut().unwrap()).agents = vec![state];
    let judged = say_of(&inputs, &built(&agent, None, Some(DONE), Some(&observation)));
    let message = &find(&judged.conditions, "BudgetAvailable").unwrap().message;
    let warning = if warned { "; each pod counts for itself" } else { "" };
    assert_eq!(message, &format!("at most 1000 tokens and 5.00 USD in 24h{warning}"));
}

#[test]
fn an_agent_without_a_budget_has_no_condition_of_it() {
    let status = judge(two(), DONE, &[(true, Loaded), (true, Loaded)], None);
    assert_eq!(say(&status.conditions, "BudgetAvailable"), "absent");
}
