//! Agents that name agents as tools: what the document says of them, and what is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use agent_pod_config::{Compilation, ConfigMaps, ProblemKind, Resources, ToolByDocument, compile};
use astromesh_crds::v1alpha1::{Agent, Provider};
use rstest::rstest;
use serde_json::{Value, json};

/// An agent that calls these, each as `name` or `namespace/name`.
fn agent(name: &str, pattern: &str, called: &[&str]) -> Agent {
    agent_in("shop", name, pattern, called)
}

fn agent_in(namespace: &str, name: &str, pattern: &str, called: &[&str]) -> Agent {
    let tools: Vec<Value> = called
        .iter()
        .map(|called| {
            let reference = match called.split_once('/') {
                Some((namespace, name)) => json!({"name": name, "namespace": namespace}),
                None => json!({"name": called}),
            };
            json!({"name": called.replace('/', "_"), "type": "agent", "agent": {"agentRef": reference}})
        })
        .collect();
    serde_json::from_value(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": name, "namespace": namespace},
        "spec": {"identity": {"description": format!("Knows {name}.")},
                 "model": {"candidates": [{"providerRef": {"name": "openai", "namespace": "models"}}]},
                 "prompts": {"system": "x"}, "orchestration": {"pattern": pattern}, "tools": tools},
    }))
    .unwrap()
}

fn with_access(mut agent: Agent, access: Value) -> Agent {
    agent.spec.access = Some(serde_json::from_value(access).unwrap());
    agent
}

fn compiled(agents: &[Agent], peers: &[Agent]) -> Compilation {
    let provider: Provider = serde_json::from_value(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider", "metadata": {"name": "openai", "namespace": "models"},
        "spec": {"type": "ollama", "allowedNamespaces": {"from": "All"}, "models": [{"name": "m"}]},
    }))
    .unwrap();
    let (agents, peers): (Vec<_>, Vec<_>) = (agents.iter().collect(), peers.iter().collect());
    let (namespaces, config_maps) = (BTreeMap::new(), ConfigMaps::new());
    let (agents, providers) = (&agents, &[&provider]);
    compile(Resources { agents, providers, peers: &peers, namespaces: &namespaces, config_maps: &config_maps })
}

/// Kind, object, path and message of every problem.
fn problems(compilation: &Compilation) -> Vec<(ProblemKind, &str, &str, &str)> {
    let told = compilation.problems.iter();
    told.map(|problem| (problem.kind, problem.object.name.as_str(), problem.path.as_str(), problem.message.as_str()))
        .collect()
}

#[test]
fn an_agent_of_another_pod_has_an_address_and_one_of_this_pod_has_none() {
    let lead = || agent("lead", "supervisor", &["billing"]);
    let apart = compiled(&[lead()], &[agent("billing", "react", &[])]);
    assert_eq!(apart.problems, []);
    let tool = &apart.document.agents["lead"].tools[0];
    assert_eq!(tool.description.as_deref(), Some("Knows billing."));
    let by = |url: Option<&str>| ToolByDocument::Agent {
        namespace: "shop".into(),
        name: "billing".into(),
        url: url.map(ToOwned::to_owned),
        handoff: false,
    };
    assert_eq!(tool.by, by(Some("http://billing-agent.shop.svc")));

    let together = compiled(&[lead(), agent("billing", "react", &[])], &[]);
    assert_eq!(together.document.agents["lead"].tools[0].by, by(None));
}

#[test]
fn the_manifests_own_description_wins() {
    let mut lead = agent("lead", "supervisor", &["billing"]);
    lead.spec.tools[0].description = Some("Ask about bills.".into());
    let document = compiled(&[lead], &[agent("billing", "react", &[])]).document;
    assert_eq!(document.agents["lead"].tools[0].description.as_deref(), Some("Ask about bills."));
}

#[test]
fn an_agent_that_does_not_exist_is_a_problem() {
    let compilation = compiled(&[agent("lead", "supervisor", &["billing", "far/away"])], &[]);
    assert_eq!(
        problems(&compilation),
        [
            (
                ProblemKind::AgentNotFound,
                "lead",
                "spec.tools[0].agent.agentRef.name",
                "there is no Agent `billing` in namespace `shop`"
            ),
            (
                ProblemKind::AgentNotFound,
                "lead",
                "spec.tools[1].agent.agentRef.name",
                "there is no Agent `away` in namespace `far`, or that namespace is not watched from here"
            ),
        ]
    );
    assert!(compilation.document.agents.is_empty());
}

#[rstest]
#[case::nothing_said_of_the_same_namespace("shop", Value::Null, true)]
#[case::nothing_said_of_another_namespace("zoo", Value::Null, false)]
#[case::everybody("zoo", json!({"mode": "none"}), true)]
#[case::the_namespace("zoo", json!({"allowed": [{"namespace": "shop"}]}), true)]
#[case::the_service_account("zoo", json!({"allowed": [{"namespace": "shop", "serviceAccount": "lead-agent"}]}), true)]
#[case::another_service_account("shop", json!({"allowed": [{"serviceAccount": "app"}]}), false)]
#[case::another_namespace("shop", json!({"allowed": [{"namespace": "front"}]}), false)]
fn an_agent_is_called_only_if_it_lets_its_caller_in(
    #[case] namespace: &str,
    #[case] access: Value,
    #[case] permitted: bool,
) {
    let target = agent_in(namespace, "billing", "react", &[]);
    let target = if access.is_null() { target } else { with_access(target, access) };
    let compilation = compiled(&[agent("lead", "supervisor", &[&format!("{namespace}/billing")])], &[target]);
    if permitted {
        assert_eq!(compilation.problems, []);
        return;
    }
    let [(kind, _, path, message)] = problems(&compilation)[..] else { panic!("{:?}", compilation.problems) };
    assert_eq!((kind, path), (ProblemKind::RefNotPermitted, "spec.tools[0].agent.agentRef.name"));
    assert!(message.contains("does not let the service account `lead-agent` of namespace `shop` in"), "{message}");
}

#[test]
fn agents_that_call_each_other_in_a_circle_are_refused_and_the_others_load() {
    let team = [
        agent("a", "supervisor", &["b"]),
        agent("b", "react", &["c"]),
        agent("c", "react", &["a", "helper"]),
        agent("helper", "react", &[]),
        agent("outside", "react", &["a"]),
    ];
    let compilation = compiled(&team, &[]);
    let circles: Vec<_> =
        problems(&compilation).iter().map(|(kind, name, path, message)| (*kind, *name, *path, *message)).collect();
    let said = |circle: &str| {
        format!("agents call each other in a circle ({circle}); remove one of the calls, or make each of them a swarm")
    };
    let (a, b, c) = (said("a → b → c → a"), said("b → c → a → b"), said("c → a → b → c"));
    let path = "spec.tools[0].agent.agentRef.name";
    assert_eq!(
        circles,
        [
            (ProblemKind::ReferenceCycle, "a", path, a.as_str()),
            (ProblemKind::ReferenceCycle, "b", path, b.as_str()),
            (ProblemKind::ReferenceCycle, "c", path, c.as_str()),
        ]
    );
    assert_eq!(compilation.document.agents.keys().collect::<Vec<_>>(), ["helper", "outside"]);
}

#[test]
fn a_circle_of_swarms_is_one_and_not_with_anything_else_on_it() {
    let mut triage = agent("triage", "swarm", &["billing", "sales", "helper"]);
    triage.spec.orchestration.max_handoffs = Some(5);
    let others = [
        agent("billing", "swarm", &["triage"]),
        agent("sales", "swarm", &["far/expert", "shy"]),
        agent("helper", "react", &["tool-of-helper"]),
        agent("tool-of-helper", "react", &[]),
        with_access(agent_in("far", "expert", "react", &[]), json!({"mode": "none"})),
        with_access(agent("shy", "react", &[]), json!({"allowed": [{"serviceAccount": "sales-agent"}]})),
    ];
    let compilation = compiled(&[triage.clone()], &others);
    assert_eq!(compilation.problems, []);
    let document = &compilation.document.agents["triage"];
    let handoffs = document.orchestration.handoffs.as_ref().unwrap();
    let ways: Vec<_> = handoffs.peers.iter().map(|(key, peer)| (key.as_str(), peer.url.as_deref())).collect();
    assert_eq!(
        (handoffs.max, ways),
        (
            5,
            vec![
                ("far/expert", Some("http://expert-agent.far.svc")),
                ("shop/billing", Some("http://billing-agent.shop.svc")),
                ("shop/helper", Some("http://helper-agent.shop.svc")),
                ("shop/sales", Some("http://sales-agent.shop.svc")),
            ]
        ),
        "not itself, not what only a helper asks, and not who does not let it in"
    );
    assert!(document.tools.iter().all(|tool| matches!(tool.by, ToolByDocument::Agent { handoff: true, .. })));

    let mixed = [agent("billing", "react", &["triage"])];
    let compilation = compiled(&[agent("triage", "swarm", &["billing"])], &mixed);
    assert_eq!(compilation.problems[0].kind, ProblemKind::ReferenceCycle);
}

#[test]
fn a_circle_over_agents_of_other_pods_is_found_too() {
    let others = [agent("b", "react", &["c"]), agent("c", "react", &["a"])];
    let compilation = compiled(&[agent("a", "supervisor", &["b"])], &others);
    assert_eq!(compilation.problems[0].kind, ProblemKind::ReferenceCycle);
}

#[test]
fn an_agent_that_names_itself_with_its_namespace_is_a_circle() {
    let compilation = compiled(&[agent("a", "supervisor", &["shop/a"])], &[]);
    assert_eq!(compilation.problems[0].kind, ProblemKind::ReferenceCycle);
    assert!(compilation.problems[0].message.contains("(a → a)"), "{}", compilation.problems[0].message);
}

#[test]
fn a_long_chain_of_calls_is_looked_through_once() {
    let start = std::time::Instant::now();
    let name = |index: usize| format!("a{index}");
    let calls = |index: usize| agent(&name(index), "react", &[&name(index + 1)]);
    let chain: Vec<Agent> = (0..3_000).map(calls).chain([agent(&name(3_000), "react", &[])]).collect();
    assert_eq!(compiled(&chain, &[]).document.agents.len(), 3_001);
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_long_circle_is_shown_in_part() {
    let calls = |index: usize| agent(&format!("a{index}"), "react", &[&format!("a{}", (index + 1) % 3_000)]);
    let circle: Vec<Agent> = (0..3_000).map(calls).collect();
    let compilation = compiled(&circle, &[]);
    assert_eq!((compilation.problems.len(), compilation.more), (1_000, 2_000));
    assert!(compilation.document.agents.is_empty());
    assert!(compilation.problems[0].message.contains("circle (a0 → a1 → … → a0)"), "{}", compilation.problems[0]);
}

#[test]
fn a_swarm_gets_to_a_bounded_number_of_agents() {
    let swarm = |length: usize| -> Vec<Agent> {
        let calls = |index: usize| agent(&format!("a{index}"), "swarm", &[&format!("a{}", (index + 1) % length)]);
        (0..length).map(calls).collect()
    };
    assert_eq!(compiled(&swarm(101), &[]).problems, []);
    let compilation = compiled(&swarm(102), &[]);
    assert_eq!(compilation.problems.len(), 102);
    assert!(compilation.problems[0].message.starts_with("a swarm gets to at most 100 agents"));
}
