//! `compile` is pure, deterministic, and says what is wrong where.

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "helpers of tests")]

use std::collections::BTreeMap;

use agent_pod_config::{
    Compilation, ConfigMapTexts, ConfigMaps, Document, NamespaceLabels, ProblemKind, Resources, compile,
};
use astromesh_crds::v1alpha1::{Agent, Provider};
use proptest::prelude::*;
use proptest::sample::Index;
use rstest::rstest;
use serde_json::{Value, json};

fn agent_value() -> Value {
    json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "support", "namespace": "shop"},
        "spec": {
            "identity": {"displayName": "Support", "description": "Answers"},
            "model": {"strategy": "quality_first", "requires": ["tools", "json_schema"], "candidates": [
                {"providerRef": {"name": "openai"}, "model": "gpt-4o-mini",
                 "parameters": {"temperature": 0.2, "topP": 0.9, "maxTokens": 1024, "stop": ["END"], "seed": 7,
                                "extra": {"b": {"z": 1, "a": [true, null]}, "a": "x"}}},
                {"providerRef": {"name": "local"}, "model": "llama"},
            ]},
            "roles": {
                "planner": {"strategy": "round_robin", "requires": ["vision"],
                            "candidates": [{"providerRef": {"name": "local"}, "model": "thinker", "parameters": {"temperature": 0.5}}]},
                "stage:draft": {"candidates": [{"providerRef": {"name": "shared", "namespace": "models"}}]},
            },
            "expose": {"openai": false},
            "prompts": {"system": "You are {{ identity.displayName }}."},
            "orchestration": {"pattern": "react", "maxIterations": 7, "timeout": "90s"},
            "tools": [
                {"name": "get_order", "description": "Looks an order up.", "type": "webhook",
                 "webhook": {"url": "https://shop.example.com/orders", "method": "GET", "headers": {"X-Team": "shop"},
                             "auth": {"secretKeyRef": {"name": "shop", "key": "token"}, "header": "X-Key"}, "timeout": "10s"},
                 "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}},
                 "rateLimit": {"windowSeconds": 30, "maxCalls": 3}, "requireApproval": true},
                {"name": "http_request", "type": "internal", "internal": {"allow": ["*.example.com"]}},
                {"name": "show_chart", "type": "client"},
            ],
            "permissions": {"allow": ["get_*"], "deny": ["refund"]},
            "memory": {"conversational": {"backend": "postgres", "connection": {"secretKeyRef": {"name": "store", "key": "url"}},
                                          "strategy": "summary", "maxTurns": 12, "maxTokens": 3000, "ttl": "24h"},
                       "episodic": {"backend": "postgres", "connection": {"secretKeyRef": {"name": "events", "key": "dsn"}}, "maxEvents": 7},
                       "semantic": {"backend": "pgvector", "connection": {"secretKeyRef": {"name": "meanings", "key": "dsn"}},
                                    "embeddings": {"provider": "ollama", "model": "nomic", "endpoint": "http://ollama:11434", "dimension": 768, "batchSize": 8,
                                                   "auth": {"scheme": "header", "header": "api-key", "secretKeyRef": {"name": "nomic", "key": "token"}}},
                                    "topK": 3, "minScore": 0.5},
                       "persistence": {"size": "1Gi"}},
            "budget": {"window": "12h", "maxTokens": 1000, "maxCost": "5.00", "onExceeded": "downgrade"},
            "access": {"mode": "service_account", "allowed": [{"serviceAccount": "app", "namespace": "front"}, {"namespace": "ops"}]},
            "runtime": {"replicas": 2, "maxConcurrentRuns": 11, "maxQueuedRuns": 5, "queueTimeout": "7s", "maxBodyBytes": 2048, "drainTimeout": "10s", "endpointDelay": "3s",
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
            "headers": {"X-Team": "shop"},
            "tls": {"caSecretKeyRef": {"name": "authorities", "key": "ca.crt"}, "insecureSkipVerify": true},
            "models": [
                {"name": "first", "contextWindow": 128_000, "capabilities": ["vision", "tools"], "quality": 60,
                 "price": {"inputPerMillion": "0.150", "outputPerMillion": "0.60", "cachedInputPerMillion": "0.075"}},
                {"name": "second", "capabilities": []},
                {"name": "third"},
            ],
            "timeouts": {"connect": "1s", "firstToken": "2s", "stall": "3s", "total": "4s"},
            "circuitBreaker": {"failureThreshold": 5, "cooldown": "30s"},
            "retry": {"maxAttempts": 3, "budgetPercent": 10},
            "rateLimit": {"requestsPerMinute": 60, "tokensPerMinute": 90_000},
            "maxConcurrentRequests": 16,
            "allowedNamespaces": {"from": "Same"},
        },
    })
}

/// One without credentials that lets the namespaces of a team in.
fn shared_value() -> Value {
    json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider", "metadata": {"name": "shared", "namespace": "models"},
        "spec": {
            "type": "ollama", "models": [{"name": "small"}],
            "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}},
        },
    })
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn compiled(agents: &[Value], providers: &[Value]) -> Compilation {
    let agents: Vec<Agent> = agents.iter().cloned().map(parse).collect();
    let providers: Vec<Provider> = providers.iter().cloned().chain([shared_value()]).map(parse).collect();
    compile_with(&agents, &providers, &labels())
}

fn labels() -> NamespaceLabels {
    let labels = BTreeMap::from([("team".to_owned(), "shop".to_owned())]);
    ["shop", "zoo"].map(|namespace| (namespace.to_owned(), labels.clone())).into()
}

fn config_maps() -> ConfigMaps {
    let texts = |text: &str| BTreeMap::from([("system.md".to_owned(), text.to_owned())]);
    let empty = ConfigMapTexts { data: texts(""), binary: ["icon".to_owned()].into() };
    let held = |text: &str| ConfigMapTexts { data: texts(text), ..ConfigMapTexts::default() };
    let named = [
        ("prompts", held("You are {{ identity.displayName }}.")),
        ("long", held(&"ä".repeat(262_145))),
        ("odd", empty),
    ];
    let longest = ("longest", held(&"ä".repeat(262_144)));
    named.into_iter().chain([longest]).map(|(name, texts)| (("shop".to_owned(), name.to_owned()), texts)).collect()
}

fn compile_with(agents: &[Agent], providers: &[Provider], namespaces: &NamespaceLabels) -> Compilation {
    let (agents, providers): (Vec<_>, Vec<_>) = (agents.iter().collect(), providers.iter().collect());
    let config_maps = &config_maps();
    compile(Resources { agents: &agents, providers: &providers, peers: &[], namespaces, config_maps })
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

fn with_prompt_of(name: &str, key: &str) -> Compilation {
    let (mut agent, providers) = full();
    agent["spec"]["prompts"] = json!({"systemFrom": {"configMapKeyRef": {"name": name, "key": key}}});
    compiled(&[agent], &providers)
}

#[test]
fn a_prompt_of_a_config_map_is_as_if_it_stood_in_the_agent() {
    let (agent, providers) = full();
    let written = compiled(&[agent], &providers).document;
    assert_eq!(with_prompt_of("prompts", "system.md").document.to_bytes(), written.to_bytes());
    assert_eq!(with_prompt_of("longest", "system.md").problems, []);
}

#[rstest]
#[case("none", "system.md", "there is no ConfigMap `none` in namespace `shop`; apply it, with key `system.md`")]
#[case("prompts", "other.md", "ConfigMap `prompts` has no key `other.md` in its data")]
#[case("odd", "icon", "key `icon` of ConfigMap `odd` is binary; put it into data, as text")]
#[case("odd", "system.md", "key `system.md` of ConfigMap `odd` is empty")]
#[case("long", "system.md", "key `system.md` of ConfigMap `long` has more than 262144 characters")]
fn a_prompt_that_is_not_there_is_named(#[case] name: &str, #[case] key: &str, #[case] message: &str) {
    let compilation = with_prompt_of(name, key);
    assert!(compilation.document.agents.is_empty());
    let [problem] = compilation.problems.try_into().unwrap();
    assert_eq!(problem.path, "spec.prompts.systemFrom.configMapKeyRef");
    assert_eq!(problem.kind, ProblemKind::ConfigMapNotFound);
    assert!(problem.message.starts_with(message), "{problem}");
}

#[rstest]
#[case(json!({}))]
#[case(json!({"system": "a", "systemFrom": {"configMapKeyRef": {"name": "prompts", "key": "system.md"}}}))]
fn a_prompt_stands_in_one_place(#[case] prompts: Value) {
    let (mut agent, providers) = full();
    agent["spec"]["prompts"] = prompts;
    let problem = &compiled(&[agent], &providers).problems[0];
    assert_eq!((problem.path.as_str(), problem.kind), ("spec.prompts", ProblemKind::Invalid));
}

#[rstest]
#[case("X Y", "must have a name of")]
#[case("", "must have a name of")]
#[case("Authorization", "cannot be set")]
#[case("content-LENGTH", "cannot be set")]
fn headers_of_a_webhook_are_its_own(#[case] name: &str, #[case] message: &str) {
    let (mut agent, providers) = full();
    agent["spec"]["tools"][0]["webhook"]["headers"] = json!({name: "x"});
    let problem = &compiled(&[agent], &providers).problems[0];
    assert_eq!(problem.path, format!("spec.tools[0].webhook.headers.{name}"));
    assert!(problem.message.starts_with(message), "{problem}");
}

#[test]
fn the_secrets_of_tools_and_memory_are_the_documents() {
    let (agent, providers) = full();
    let document = compiled(&[agent], &providers).document;
    let agent = document.agents.values().next().unwrap();
    let named: Vec<_> = agent.secrets().map(|(field, key)| (field, key.name.as_str(), key.key.as_str())).collect();
    let field = |field: &str, name, key| (field.to_owned(), name, key);
    assert_eq!(
        named,
        [
            field("memory.conversational.connection", "store", "url"),
            field("memory.episodic.connection", "events", "dsn"),
            field("memory.semantic.connection", "meanings", "dsn"),
            field("memory.semantic.embeddings.auth.secret", "nomic", "token"),
            field("tools[0].webhook.auth", "shop", "token"),
        ]
    );
    let all = document.secrets();
    let of_providers = document.providers.values().flat_map(|provider| provider.secrets().map(|(_, key)| key));
    assert!(of_providers.chain(agent.secrets().map(|(_, key)| key)).all(|key| all.contains(key)), "{all:?}");
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
    assert_eq!(
        compilation.document.providers.keys().collect::<Vec<_>>(),
        ["models/shared", "shop/local", "shop/openai"]
    );
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

fn sharing(allowed: Value, auth: Value) -> Provider {
    let mut provider = shared_value();
    provider["spec"]["allowedNamespaces"] = allowed;
    provider["spec"]["auth"] = auth;
    parse(provider)
}

fn borrower() -> Agent {
    parse(json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "support", "namespace": "shop"},
        "spec": {"model": {"candidates": [{"providerRef": {"name": "shared", "namespace": "models"}}]}, "prompts": {"system": "x"}},
    }))
}

#[rstest]
#[case::everybody(json!({"from": "All"}), Value::Null, "")]
#[case::by_label(json!({"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}}), Value::Null, "")]
#[case::no_credential_sent(json!({"from": "All"}), json!({"scheme": "none", "secretKeyRef": {"name": "s", "key": "k"}}), "")]
#[case::nobody(json!({"from": "Same"}), Value::Null, "serves its own namespace only")]
#[case::one_label_of_two(json!({"from": "Selector", "selector": {"matchLabels": {"team": "shop", "tier": "gold"}}}), Value::Null, "and `shop` has not those of its spec.allowedNamespaces")]
#[case::another_value(json!({"from": "Selector", "selector": {"matchLabels": {"team": "zoo"}}}), Value::Null, "and `shop` has not those of its spec.allowedNamespaces")]
#[case::a_secret(json!({"from": "All"}), json!({"secretKeyRef": {"name": "s", "key": "k"}}), "has a Secret (`s`), which pods of another namespace cannot mount")]
fn another_namespaces_provider_needs_its_consent(#[case] allowed: Value, #[case] auth: Value, #[case] refusal: &str) {
    let compilation = compile_with(&[borrower()], &[sharing(allowed, auth)], &labels());
    if refusal.is_empty() {
        assert_eq!(compilation.problems, []);
        assert_eq!(compilation.document.agents["support"].model.candidates[0].provider, "models/shared");
        return;
    }
    let problem = &compilation.problems[0];
    assert_eq!(problem.kind, ProblemKind::RefNotPermitted);
    assert_eq!(problem.path, "spec.model.candidates[0].providerRef.namespace");
    assert!(problem.message.starts_with("Provider `shared` of namespace `models` "), "{problem}");
    assert!(problem.message.contains(refusal), "{problem}");
    assert!(compilation.document.agents.is_empty());
}

#[test]
fn labels_that_are_not_known_let_nobody_in() {
    let compilation = compile_with(&[borrower()], &[parse(shared_value())], &NamespaceLabels::new());
    let problem = &compilation.problems[0];
    assert_eq!(problem.kind, ProblemKind::RefNotPermitted);
    assert!(problem.message.contains("those of `shop` are not known here"), "{problem}");
}

#[test]
fn a_reference_to_its_own_namespace_asks_nobody() {
    let mut agent = borrower();
    agent.metadata.namespace = Some("models".into());
    let provider = sharing(json!({"from": "Same"}), json!({"secretKeyRef": {"name": "s", "key": "k"}}));
    assert_eq!(compile_with(&[agent], &[provider], &NamespaceLabels::new()).problems, []);
}

#[test]
fn problems_of_a_role_have_its_path() {
    let (mut agent, providers) = full();
    agent["spec"]["roles"]["planner"]["candidates"][0]["providerRef"]["name"] = json!("nowhere");
    agent["spec"]["roles"]["stage:draft"]["candidates"][0]["parameters"] = json!({"extra": {"response_format": {}}});
    let compilation = compiled(&[agent], &providers);
    let paths: Vec<_> = compilation.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "spec.roles.planner.candidates[0].providerRef.name",
            "spec.roles.stage:draft.candidates[0].parameters.extra.response_format"
        ]
    );
}

#[rstest]
fn what_every_request_says_itself_is_not_the_vendors(
    #[values("model", "messages", "stream", "stream_options", "tools", "tool_choice", "response_format")] key: &str,
) {
    let (mut agent, providers) = full();
    agent["spec"]["model"]["candidates"][0]["parameters"]["extra"] = json!({key: 1});
    let compilation = compiled(&[agent], &providers);
    assert_eq!(compilation.problems[0].path, format!("spec.model.candidates[0].parameters.extra.{key}"));
}

#[rstest]
#[case("openai_compat", Ok("https://api.openai.com/v1"))]
#[case("ollama", Ok("http://localhost:11434"))]
#[case("vllm", Err("spec.endpoint is missing"))]
#[case("llamacpp", Err("spec.endpoint is missing"))]
#[case("hf_tgi", Err("spec.endpoint is missing"))]
fn vendors_have_an_endpoint_of_their_own(#[case] provider_type: &str, #[case] expected: Result<&str, &str>) {
    let (agent, [mut openai, local]) = full();
    openai["spec"].as_object_mut().unwrap().remove("endpoint");
    openai["spec"]["type"] = json!(provider_type);
    let compilation = compiled(&[agent], &[openai, local]);
    match expected {
        Ok(endpoint) => assert_eq!(compilation.document.providers["shop/openai"].endpoint, endpoint),
        Err(message) => {
            assert_eq!(compilation.problems[0].kind, ProblemKind::ProviderInvalid);
            assert!(compilation.problems[0].message.contains(message), "{:?}", compilation.problems);
        }
    }
}

#[test]
fn equal_numbers_and_sets_give_equal_bytes() {
    let (agent, [openai, local]) = full();
    let before = compiled(std::slice::from_ref(&agent), &[openai.clone(), local.clone()]).document.to_bytes();
    let mut same = openai;
    same["spec"]["models"][0]["price"] =
        json!({"inputPerMillion": "00.15", "outputPerMillion": "0.6", "cachedInputPerMillion": "0.07500"});
    same["spec"]["models"][0]["capabilities"] = json!(["tools", "vision"]);
    let mut agent = agent;
    agent["spec"]["model"]["requires"] = json!(["json_schema", "tools"]);
    assert_eq!(before, compiled(&[agent], &[same, local]).document.to_bytes());
}

#[test]
fn a_list_without_capabilities_is_not_an_absent_one() {
    let (agent, providers) = full();
    let document = compiled(&[agent], &providers).document;
    let models = &document.providers["shop/openai"].models;
    assert_eq!(models["second"].capabilities, Some(Vec::new()));
    assert_eq!(models["third"].capabilities, None);
}

#[rstest]
#[case(json!({}), 512)]
#[case(json!({"maxConcurrentRuns": 10}), 20)]
#[case(json!({"maxConcurrentRuns": 10, "maxQueuedRuns": 0}), 0)]
fn twice_as_many_runs_wait_as_proceed(#[case] runtime: Value, #[case] queued: u32) {
    let (mut agent, providers) = full();
    agent["spec"]["runtime"] = runtime;
    let limits = compiled(&[agent], &providers).document.agents["support"].limits.clone();
    assert_eq!((limits.max_queued_runs, limits.queue_timeout_ms), (queued, 5_000));
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
    twin["spec"]["roles"] = json!({});
    let mut zoo_provider = provider_value("openai");
    zoo_provider["metadata"]["namespace"] = json!("zoo");
    let [openai, local] = providers;
    let compilation = compiled(&[twin, agent], &[openai, local, zoo_provider]);
    assert_eq!(compilation.problems[0].path, "metadata.name");
    assert!(compilation.problems[0].message.contains("`shop`"), "{:?}", compilation.problems);
}

/// Fields that shape the pods and not what they serve; everything else must change the revision.
const TEMPLATE_ONLY: [&str; 5] = [
    "/spec/runtime/replicas",
    "/spec/runtime/image",
    "/spec/runtime/nodeSelector",
    "/spec/runtime/podLabels",
    "/spec/memory/persistence",
];

/// Fields that have one value only.
const FIXED: [&str; 11] = [
    "/spec/tools/0/type",
    "/spec/tools/1",
    "/spec/tools/2",
    "/spec/orchestration/pattern",
    "/spec/memory/conversational/backend",
    "/spec/memory/conversational/strategy",
    "/spec/memory/episodic/backend",
    "/spec/memory/semantic/backend",
    "/spec/memory/semantic/embeddings/provider",
    "/spec/memory/semantic/embeddings/auth/scheme",
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
        // Of a JSON Schema.
        Value::String(text) if path.ends_with("/type") && ["object", "string", "integer"].contains(&text.as_str()) => {
            json!(if text == "string" { "integer" } else { "string" })
        }
        Value::String(text) if path.ends_with("/type") => {
            json!(if text == "llamacpp" { "openai_compat" } else { "llamacpp" })
        }
        Value::String(text) if path.ends_with("/strategy") => {
            json!(if text == "round_robin" { "capability_match" } else { "round_robin" })
        }
        // Not the other member of the set.
        Value::String(text) if path.contains("/requires/") || path.contains("/capabilities/") => {
            json!(if path.contains("/requires/") && text != "vision" { "vision" } else { "json_schema" })
        }
        Value::String(_) if path.ends_with("/onExceeded") => json!("reject"),
        Value::String(_) if path.ends_with("/webhook/method") => json!("PUT"),
        // The shorter one of it and the tool's own holds.
        Value::String(_) if path.ends_with("/webhook/timeout") => json!("9s"),
        Value::String(text) if path.contains("/price/") || path.ends_with("/maxCost") => json!(format!("{text}1")),
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
        let mut elsewhere = [shared_value(), shared_value()];
        elsewhere[0]["metadata"]["name"] = json!("sharedx");
        elsewhere[1]["metadata"]["namespace"] = json!("modelsx");
        let [named, spaced] = elsewhere;
        let other = [openai.clone(), local.clone(), provider_value("openaix"), provider_value("localx"), named, spaced];
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
        // Who may use it is for the operator to judge.
        found.retain(|path| !path.starts_with("/spec/allowedNamespaces"));
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

fn guarded(guardrails: Value) -> Value {
    let mut agent = agent_value();
    agent["spec"]["guardrails"] = guardrails;
    agent
}

#[test]
fn guardrails_are_compiled_with_their_defaults() {
    let agent = guarded(json!({
        "input": [{"type": "pii_detection", "scope": ["tool_results"]}, {"type": "topic_filter", "topics": ["a"]}, {"type": "max_length"}],
        "output": [{"type": "content_filter", "patterns": ["a+"], "message": "No."}, {"type": "cost_limit", "maxTokensPerTurn": 5}],
    }));
    let compilation = compiled(&[agent], &[provider_value("openai"), provider_value("local")]);
    assert_eq!(compilation.problems, []);
    let document = serde_json::to_value(&compilation.document.agents["support"].guardrails).unwrap();
    let entities = ["email", "phone", "ssn", "credit_card", "iban", "ip_address"];
    assert_eq!(
        document,
        json!({
            "input": [
                {"check": {"type": "pii_detection", "entities": entities}, "action": "redact", "scope": ["tool_results"]},
                {"check": {"type": "topic_filter", "topics": ["a"]}, "action": "block", "scope": ["message"]},
                {"check": {"type": "max_length", "maxChars": 10_000}, "action": "truncate", "scope": ["message"]},
            ],
            "output": [
                {"check": {"type": "content_filter", "patterns": ["a+"]}, "action": "redact", "message": "No.", "scope": ["message"]},
                {"check": {"type": "cost_limit", "maxTokensPerTurn": 5}, "action": "block", "scope": ["message"]},
            ],
        })
    );
    let bytes = compilation.document.to_bytes();
    assert_eq!(Document::from_bytes(&bytes).unwrap(), compilation.document);
}

#[rstest]
#[case("(", "not a regular expression")]
#[case("x*", "the regular expression matches the empty text")]
#[case(r"\w{900}{900}", "the regular expression takes too much memory")]
fn a_regular_expression_that_cannot_be_used_is_named_with_its_path(#[case] pattern: &str, #[case] message: &str) {
    let agent =
        guarded(json!({"output": [{"type": "content_filter", "keywords": ["a"], "patterns": ["fine", pattern]}]}));
    let compilation = compiled(&[agent], &[provider_value("openai"), provider_value("local")]);
    let [problem] = compilation.problems.as_slice() else { panic!("{:?}", compilation.problems) };
    assert_eq!((problem.path.as_str(), problem.kind), ("spec.guardrails.output[0].patterns[1]", ProblemKind::Invalid));
    assert!(problem.message.starts_with(message), "{}", problem.message);
}

#[test]
fn regular_expressions_of_one_agent_have_one_budget() {
    let rules: Vec<_> = (0..16)
        .map(|rule| {
            let patterns: Vec<_> = (0..64).map(|index| format!(r"\w{{1,256}}{rule}x{index}")).collect();
            json!({"type": "content_filter", "patterns": patterns})
        })
        .collect();
    let agent = guarded(json!({"input": rules.clone(), "output": rules}));
    let compilation = compiled(&[agent], &[provider_value("openai"), provider_value("local")]);
    let [problem] = compilation.problems.as_slice() else { panic!("{:?}", compilation.problems) };
    assert_eq!((problem.path.as_str(), problem.kind), ("spec.guardrails.input[0].patterns[1]", ProblemKind::Invalid));
    assert!(problem.message.contains("those of one agent may take 8 MiB together; use smaller counts"), "{problem}");
}
