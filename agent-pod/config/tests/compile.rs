//! `compile` is pure, deterministic, and says what is wrong where.

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "helpers of tests")]

use agent_pod_config::{Compilation, Document, ProblemKind, Resources, compile};
use astromesh_crds::v1alpha1::{Agent, Provider};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

fn agent_value() -> Value {
    json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "support", "namespace": "shop"},
        "spec": {
            "identity": {"displayName": "Support", "description": "Answers"},
            "model": {"candidates": [
                {"providerRef": {"name": "openai"}, "model": "gpt-4o-mini",
                 "parameters": {"temperature": 0.2, "topP": 0.9, "maxTokens": 1024, "stop": ["END"], "seed": 7,
                                "extra": {"b": {"z": 1, "a": [true, null]}, "a": "x"}}},
                {"providerRef": {"name": "local"}, "model": "llama"},
            ]},
            "prompts": {"system": "You are {{ identity.displayName }}."},
            "orchestration": {"pattern": "react", "maxIterations": 7, "timeout": "90s"},
            "memory": {"conversational": {"backend": "in_memory", "strategy": "sliding_window", "maxTurns": 12, "ttl": "24h"}},
            "access": {"mode": "service_account", "allowed": [{"serviceAccount": "app", "namespace": "front"}, {"namespace": "ops"}]},
            "runtime": {"replicas": 2, "maxConcurrentRuns": 11, "maxBodyBytes": 2048, "drainTimeout": "10s", "endpointDelay": "3s",
                        "image": "example.com/agent-pod:1", "nodeSelector": {"disk": "ssd"}, "podLabels": {"team": "a"}},
        },
    })
}

fn provider_value(name: &str) -> Value {
    json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "type": "openai_compat", "endpoint": format!("https://{name}.example.com/v1"),
            "auth": {"scheme": "header", "header": "api-key", "secretKeyRef": {"name": name, "key": "key"}},
            "models": [{"name": "first"}, {"name": "second"}],
            "timeouts": {"connect": "1s", "firstToken": "2s", "stall": "3s", "total": "4s"},
        },
    })
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn compiled(agents: &[Value], providers: &[Value]) -> Compilation {
    let agents: Vec<Agent> = agents.iter().cloned().map(parse).collect();
    let providers: Vec<Provider> = providers.iter().cloned().map(parse).collect();
    compile(Resources { agents: &agents.iter().collect::<Vec<_>>(), providers: &providers.iter().collect::<Vec<_>>() })
}

fn full() -> (Value, [Value; 2]) {
    (agent_value(), [provider_value("openai"), provider_value("local")])
}

#[test]
fn the_full_document_is_as_agreed() {
    let (agent, providers) = full();
    let compilation = compiled(&[agent], &providers);
    assert_eq!(compilation.problems, []);
    insta::assert_snapshot!(String::from_utf8(compilation.document.to_bytes()).unwrap());
}

#[test]
fn a_document_reads_back_as_it_was_written() {
    let (agent, providers) = full();
    let document = compiled(&[agent], &providers).document;
    assert_eq!(Document::from_bytes(&document.to_bytes()).unwrap(), document);
}

#[test]
fn unknown_keys_and_other_versions_are_refused() {
    let (agent, providers) = full();
    let document = compiled(&[agent], &providers).document;
    let mut value: Value = serde_json::from_slice(&document.to_bytes()).unwrap();
    value["agents"]["support"]["prompts"]["sytem"] = json!("typo");
    assert!(Document::from_bytes(value.to_string().as_bytes()).unwrap_err().contains("unknown field `sytem`"));
    let mut value: Value = serde_json::from_slice(&document.to_bytes()).unwrap();
    value["version"] = json!(2);
    assert!(Document::from_bytes(value.to_string().as_bytes()).unwrap_err().contains("version 2"));
}

#[test]
fn a_candidate_without_a_model_takes_the_providers_first() {
    let (mut agent, providers) = full();
    agent["spec"]["model"]["candidates"][0].as_object_mut().unwrap().remove("model");
    let compilation = compiled(&[agent], &providers);
    assert_eq!(compilation.document.agents["support"].model.candidates[0].model, "first");
}

#[test]
fn providers_that_nobody_uses_are_left_out() {
    let (agent, [openai, local]) = full();
    let compilation = compiled(&[agent], &[openai, local, provider_value("unused")]);
    assert_eq!(compilation.document.providers.keys().collect::<Vec<_>>(), ["shop/local", "shop/openai"]);
}

#[test]
fn a_missing_provider_is_named_with_the_path_of_its_reference() {
    let (agent, [openai, _]) = full();
    let compilation = compiled(&[agent], &[openai]);
    let problem = &compilation.problems[0];
    assert_eq!(problem.kind, ProblemKind::ProviderNotFound);
    assert_eq!(
        problem.to_string(),
        "spec.model.candidates[1].providerRef.name: there is no Provider `local` in namespace `shop`"
    );
    assert!(compilation.document.agents.is_empty() && compilation.document.providers.is_empty());
}

#[test]
fn a_provider_of_another_namespace_is_not_found() {
    let (agent, [mut openai, local]) = full();
    openai["metadata"]["namespace"] = json!("other");
    assert_eq!(compiled(&[agent], &[openai, local]).problems[0].kind, ProblemKind::ProviderNotFound);
}

#[test]
fn a_provider_without_models_needs_one_in_the_agent() {
    let (mut agent, [mut openai, local]) = full();
    openai["spec"].as_object_mut().unwrap().remove("models");
    agent["spec"]["model"]["candidates"][0].as_object_mut().unwrap().remove("model");
    let compilation = compiled(&[agent], &[openai, local]);
    assert_eq!(compilation.problems[0].path, "spec.model.candidates[0].model");
    assert_eq!(compilation.problems[0].kind, ProblemKind::Invalid);
}

#[test]
fn one_bad_agent_does_not_take_the_others_down() {
    let (agent, providers) = full();
    let mut bad = agent_value();
    bad["metadata"]["name"] = json!("bad");
    bad["spec"]["model"]["candidates"][0]["providerRef"]["name"] = json!("nowhere");
    let compilation = compiled(&[bad, agent], &providers);
    assert_eq!(compilation.document.agents.keys().collect::<Vec<_>>(), ["support"]);
    assert_eq!(compilation.problems.len(), 1);
}

#[test]
fn two_agents_of_one_name_are_a_problem_that_names_the_other_namespace() {
    let (agent, providers) = full();
    let mut twin = agent_value();
    twin["metadata"]["namespace"] = json!("zoo");
    twin["spec"]["model"]["candidates"] = json!([{"providerRef": {"name": "openai"}}]);
    let mut zoo_provider = provider_value("openai");
    zoo_provider["metadata"]["namespace"] = json!("zoo");
    let [openai, local] = providers;
    let compilation = compiled(&[twin, agent], &[openai, local, zoo_provider]);
    assert_eq!(compilation.problems[0].path, "metadata.name");
    assert!(compilation.problems[0].message.contains("`shop`"), "{:?}", compilation.problems);
}

/// Fields that shape the pods and not what they serve; everything else must change the revision.
const TEMPLATE_ONLY: [&str; 4] =
    ["/spec/runtime/replicas", "/spec/runtime/image", "/spec/runtime/nodeSelector", "/spec/runtime/podLabels"];

/// Fields that have one value only.
const FIXED: [&str; 4] = [
    "/spec/orchestration/pattern",
    "/spec/memory/conversational/backend",
    "/spec/memory/conversational/strategy",
    "/spec/access/mode",
];

fn leaves(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| leaves(&format!("{path}/{key}"), value, found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, value)| leaves(&format!("{path}/{i}"), value, found))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push(path.to_owned()),
    }
}

/// Another valid value for the leaf.
fn changed(path: &str, value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => json!(number.as_f64().unwrap() / 2.0),
        Value::Number(number) => json!(number.as_i64().unwrap() + 1),
        Value::Bool(flag) => json!(!flag),
        Value::Null => json!("something"),
        Value::String(text) if path.ends_with("/type") => {
            json!(if text == "llamacpp" { "openai_compat" } else { "llamacpp" })
        }
        Value::String(text) if path.ends_with("/scheme") => json!(if text == "bearer" { "header" } else { "bearer" }),
        Value::String(text) if text.ends_with('s') || text.ends_with('h') => {
            match text[..text.len() - 1].parse::<u32>() {
                Ok(number) => json!(format!("{}{}", number + 1, &text[text.len() - 1..])),
                Err(_) => json!(format!("{text}x")),
            }
        }
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(_) | Value::Object(_) => unreachable!("a leaf"),
    }
}

proptest! {
    #[test]
    fn every_leaf_of_an_agent_changes_the_revision(index: Index) {
        let (agent, [openai, local]) = full();
        let mut found = Vec::new();
        leaves("/spec", &agent["spec"], &mut found);
        found.retain(|path| !TEMPLATE_ONLY.iter().chain(&FIXED).any(|fixed| path.starts_with(fixed)));
        let path = index.get(&found);
        let mut edited = agent.clone();
        let leaf = edited.pointer_mut(path).unwrap();
        *leaf = changed(path, leaf);
        // A reference that leads nowhere has no document at all; one to another provider has another document.
        let other = [openai.clone(), local.clone(), provider_value("openaix"), provider_value("localx")];
        let before = compiled(&[agent], &other).document.revision();
        let after = compiled(&[edited], &other);
        prop_assert_eq!(&after.problems, &[]);
        prop_assert_ne!(before, after.document.revision(), "{} does not change the revision", path);
    }

    #[test]
    fn every_leaf_of_a_provider_changes_the_revision(index: Index) {
        let (agent, [openai, local]) = full();
        let mut agent = agent;
        agent["spec"]["model"]["candidates"][0].as_object_mut().unwrap().remove("model");
        let mut found = Vec::new();
        leaves("/spec", &openai["spec"], &mut found);
        // Only the first model is a default; the others are there to be named.
        found.retain(|path| !path.starts_with("/spec/models/1"));
        let path = index.get(&found);
        let mut edited = openai.clone();
        let leaf = edited.pointer_mut(path).unwrap();
        *leaf = changed(path, leaf);
        let before = compiled(std::slice::from_ref(&agent), &[openai, local.clone()]).document.revision();
        let after = compiled(&[agent], &[edited, local]).document.revision();
        prop_assert_ne!(before, after, "{} does not change the revision", path);
    }

    #[test]
    fn the_order_of_resources_and_of_free_keys_changes_nothing(order in Just((0..4usize).collect::<Vec<_>>()).prop_shuffle(), flip: bool) {
        let mut second = agent_value();
        second["metadata"]["name"] = json!("second");
        if flip {
            second["spec"]["model"]["candidates"][0]["parameters"]["extra"] = json!({"a": "x", "b": {"a": [true, null], "z": 1}});
        }
        let agents = [agent_value(), second];
        let providers: Vec<Value> = ["openai", "local", "c", "d"].iter().map(|name| provider_value(name)).collect();
        let shuffled: Vec<Value> = order.iter().map(|i| providers[*i].clone()).collect();
        let reversed: Vec<Value> = agents.iter().rev().cloned().collect();
        let mut plain = agents.clone();
        plain[1]["spec"]["model"] = agents[0]["spec"]["model"].clone();
        let expected = compiled(&plain, &providers).document.to_bytes();
        prop_assert_eq!(expected, compiled(&reversed, &shuffled).document.to_bytes());
    }

    #[test]
    fn any_prompt_survives_the_document(prompt in "\\PC{0,200}") {
        let (mut agent, providers) = full();
        agent["spec"]["prompts"]["system"] = json!(prompt);
        let document = compiled(&[agent], &providers).document;
        let read = Document::from_bytes(&document.to_bytes()).unwrap();
        prop_assert_eq!(&read.agents["support"].prompts.system, &prompt);
    }
}
