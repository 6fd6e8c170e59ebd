//! What consent no longer covers is taken out of a document, and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use agent_pod_config::{Compilation, ConfigMaps, Document, NamespaceLabels, Resources, compile, withdraw};
use astromesh_crds::v1alpha1::{Agent, Provider};
use rstest::rstest;
use serde_json::{Value, json};

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A document of one agent `support` in `shop`, as it was compiled before something was taken back.
fn consented(agent: &Value, providers: &[Provider], peers: &[&Agent]) -> Document {
    let agent: Agent = parse(agent.clone());
    let providers: Vec<_> = providers.iter().collect();
    let (namespaces, config_maps) = (NamespaceLabels::new(), ConfigMaps::new());
    let resources = Resources {
        agents: &[&agent],
        providers: &providers,
        peers,
        namespaces: &namespaces,
        config_maps: &config_maps,
    };
    let Compilation { document, problems, .. } = compile(resources);
    assert_eq!(problems, []);
    document
}

fn withdrawn(document: &Document, agent: &Value, providers: &[Provider], peers: &[&Agent]) -> Document {
    let (agent, mut document): (Agent, _) = (parse(agent.clone()), document.clone());
    let providers: Vec<_> = providers.iter().collect();
    let (namespaces, config_maps) = (NamespaceLabels::new(), ConfigMaps::new());
    let resources = Resources {
        agents: &[&agent],
        providers: &providers,
        peers,
        namespaces: &namespaces,
        config_maps: &config_maps,
    };
    withdraw(&mut document, resources);
    document
}

fn plain_agent(name: &str, namespace: &str, spec: &Value) -> Value {
    let mut whole = json!({
        "model": {"candidates": [{"providerRef": {"name": "own"}}]},
        "prompts": {"system": "You help."},
    });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": name, "namespace": namespace}, "spec": whole})
}

fn plain_provider(name: &str, namespace: &str, from: &str) -> Provider {
    parse(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider", "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "openai_compat", "endpoint": "https://api.example.com/v1", "models": [{"name": "m"}],
            "allowedNamespaces": {"from": from}},
    }))
}

#[test]
fn a_provider_whose_consent_has_ended_goes_with_its_candidates() {
    let both = json!({"model": {"candidates": [
        {"providerRef": {"name": "shared", "namespace": "models"}}, {"providerRef": {"name": "own"}}]},
        "roles": {"planner": {"candidates": [{"providerRef": {"name": "shared", "namespace": "models"}}]}}});
    let agent = plain_agent("support", "shop", &both);
    let (own, shared) = (plain_provider("own", "shop", "Same"), plain_provider("shared", "models", "All"));
    let before = consented(&agent, &[own.clone(), shared.clone()], &[]);
    assert_eq!(withdrawn(&before, &agent, &[own.clone(), shared], &[]), before, "as long as it lets in, nothing goes");
    assert_eq!(withdrawn(&before, &agent, &[], &[]), before, "that a provider is not found is no word of its owner");
    let after = withdrawn(&before, &agent, &[own, plain_provider("shared", "models", "Same")], &[]);
    let left = &after.agents["support"];
    assert_eq!(left.model.candidates.iter().map(|left| left.provider.as_str()).collect::<Vec<_>>(), ["shop/own"]);
    assert!(left.roles["planner"].candidates.is_empty());
    assert_eq!(after.providers.keys().collect::<Vec<_>>(), ["shop/own"]);
}

#[test]
fn an_agent_that_lets_its_caller_in_no_longer_goes() {
    let calling = json!({"tools": [{"name": "billing", "type": "agent", "agent": {"agentRef": {"name": "billing"}}}]});
    let (agent, own) = (plain_agent("support", "shop", &calling), plain_provider("own", "shop", "Same"));
    let billing = |access: Value| -> Agent { parse(plain_agent("billing", "shop", &json!({"access": access}))) };
    let open = billing(json!({"allowed": [{"namespace": "shop"}]}));
    let before = consented(&agent, std::slice::from_ref(&own), &[&open]);
    assert_eq!(withdrawn(&before, &agent, std::slice::from_ref(&own), &[&open]), before);
    let closed = billing(json!({"allowed": [{"serviceAccount": "app"}]}));
    assert!(withdrawn(&before, &agent, std::slice::from_ref(&own), &[&closed]).agents["support"].tools.is_empty());
}

#[rstest]
#[case::as_before(json!({"allowed": [{"serviceAccount": "a"}]}), json!({"allowed": [{"serviceAccount": "a"}]}), json!({"mode": "service_account", "allowed": [{"namespace": "shop", "serviceAccount": "a"}]}))]
#[case::one_less(json!({"allowed": [{"serviceAccount": "a"}, {"serviceAccount": "b"}]}), json!({"allowed": [{"serviceAccount": "b"}]}), json!({"mode": "service_account", "allowed": [{"namespace": "shop", "serviceAccount": "b"}]}))]
#[case::one_more(json!({"allowed": [{"serviceAccount": "a"}]}), json!({"allowed": [{"namespace": "shop"}]}), json!({"mode": "service_account", "allowed": [{"namespace": "shop", "serviceAccount": "a"}]}))]
#[case::one_of_all(json!({"allowed": [{"namespace": "shop"}]}), json!({"allowed": [{"serviceAccount": "a"}]}), json!({"mode": "service_account", "allowed": [{"namespace": "shop", "serviceAccount": "a"}]}))]
#[case::others(json!({"allowed": [{"serviceAccount": "a"}]}), json!({"allowed": [{"serviceAccount": "b"}]}), json!({"mode": "service_account", "allowed": []}))]
#[case::closed(json!({"mode": "none"}), json!({"allowed": [{"serviceAccount": "b"}]}), json!({"mode": "service_account", "allowed": [{"namespace": "shop", "serviceAccount": "b"}]}))]
#[case::opened(json!({"allowed": [{"serviceAccount": "a"}]}), json!({"mode": "none"}), json!({"mode": "service_account", "allowed": [{"namespace": "shop", "serviceAccount": "a"}]}))]
fn callers_of_a_refused_spec_are_those_whom_both_let_in(
    #[case] before: Value,
    #[case] now: Value,
    #[case] expected: Value,
) {
    let own = plain_provider("own", "shop", "Same");
    let agent = |access: Value| plain_agent("support", "shop", &json!({"access": access}));
    let document = consented(&agent(before), std::slice::from_ref(&own), &[]);
    let after = withdrawn(&document, &agent(now), &[own], &[]);
    assert_eq!(serde_json::to_value(&after.agents["support"].access).unwrap(), expected);
}
