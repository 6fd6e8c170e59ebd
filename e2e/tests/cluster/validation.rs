//! Bad manifests are refused by the API server, with words that say what would be right.

use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::command::kubectl_with;
use astromesh_e2e::manifests::{agent, provider, to_yaml, with};
use astromesh_e2e::{TempNs, objects, with_temp_ns};
use serde_json::{Value, json};

fn base(kind: &str) -> Value {
    if kind == "Agent" {
        agent("support", "openai", "Be kind.")
    } else {
        provider("openai", "https://api.openai.com/v1")
    }
}

fn everything_of_a_provider() -> Value {
    let price = json!({"inputPerMillion": "0.15", "outputPerMillion": "0.60", "cachedInputPerMillion": "0.075"});
    let capabilities = json!(["tools", "vision", "json_schema"]);
    let known =
        json!({"name": "m", "contextWindow": 128_000, "capabilities": capabilities, "quality": 60, "price": price});
    let spec = json!({
        "type": "openai_compat",
        "headers": {"OpenAI-Organization": "org-1"},
        "tls": {"caSecretKeyRef": {"name": "ca", "key": "ca.crt"}, "insecureSkipVerify": false},
        "models": [known, {"name": "plain", "capabilities": []}],
        "circuitBreaker": {"failureThreshold": 3, "cooldown": "60s"},
        "retry": {"maxAttempts": 2, "budgetPercent": 20},
        "rateLimit": {"requestsPerMinute": 60, "tokensPerMinute": 90_000},
        "maxConcurrentRequests": 256,
        "allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}},
    });
    with(base("Provider"), "/spec", spec)
}

fn every_role_of_an_agent() -> Value {
    let model = json!({"candidates": [{"providerRef": {"name": "openai", "namespace": "models"}}],
                       "strategy": "quality_first", "requires": ["tools"]});
    let names = ["planner", "worker", "synthesizer", "summarizer", "reasoner", "supervisor", "stage:draft"];
    let roles: serde_json::Map<String, Value> =
        names.map(|name| (name.to_owned(), model.clone())).into_iter().collect();
    with(base("Agent"), "/spec/roles", Value::Object(roles))
}

async fn is_refused(ns: &TempNs, kind: &str, (pointer, value): (&str, Value), message: &str) -> anyhow::Result<()> {
    let object = with(base(kind), pointer, value);
    let refusal = objects::refusal(&ns.cluster.client, &ns.name, &object).await?;
    assert!(refusal.contains(message), "{kind} {pointer}: expected `{message}` in `{refusal}`");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_rule_is_refused_with_its_message() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let key = json!({"name": "s", "key": "k"});
        let providers = [
            ("/metadata/name", json!("p".repeat(51)), "metadata.name must have at most 50 characters"),
            (
                "/spec/endpoint",
                json!("api.openai.com"),
                "endpoint \"api.openai.com\" must be an absolute http or https URL",
            ),
            ("/spec/endpoint", json!("https://me:secret@api.openai.com"), "endpoint must not hold credentials"),
            ("/spec/auth", json!({"scheme": "bearer"}), "auth.secretKeyRef is required"),
            ("/spec/auth", json!({"scheme": "header", "secretKeyRef": key}), "auth.header is required"),
            ("/spec/timeouts", json!({"connect": "1ms"}), "timeouts.connect \"1ms\" is not a duration between"),
            ("/spec/timeouts", json!({"firstToken": "2h"}), "timeouts.firstToken \"2h\" is not a duration between"),
            ("/spec/timeouts", json!({"stall": "2h"}), "timeouts.stall \"2h\" is not a duration between"),
            ("/spec/timeouts", json!({"total": "0s"}), "timeouts.total \"0s\" is not a duration between"),
            ("/spec", json!({"type": "vllm"}), "endpoint is required for this type"),
            ("/spec/headers", json!({"authorization": "Bearer x"}), "headers must not hold Authorization"),
            ("/spec/headers", json!({"Content-Length": "1"}), "headers must not hold Host"),
            ("/spec/headers", json!({"X Y": "1"}), "headers: \"X Y\" is not a header"),
            (
                "/spec/circuitBreaker",
                json!({"cooldown": "10ms"}),
                "circuitBreaker.cooldown \"10ms\" is not a duration between",
            ),
            ("/spec/rateLimit", json!({}), "rateLimit needs requestsPerMinute"),
            ("/spec/allowedNamespaces", json!({"from": "Selector"}), "allowedNamespaces.selector is required"),
        ];
        for (pointer, value, message) in providers {
            is_refused(ns, "Provider", (pointer, value), message).await?;
        }
        let poet = json!({"poet": {"candidates": [{"providerRef": {"name": "openai"}}]}});
        let memory = json!({"conversational": {"backend": "in_memory", "ttl": "0s"}});
        let agents = [
            ("/metadata/name", json!("a".repeat(51)), "metadata.name must have at most 50 characters"),
            ("/metadata/name", json!("2fast"), "metadata.name must begin with a letter"),
            ("/spec/orchestration", json!({"timeout": "2h"}), "orchestration.timeout \"2h\" is not a duration between"),
            ("/spec/memory", memory, "memory.conversational.ttl \"0s\" is not a duration"),
            ("/spec/access", json!({"mode": "none", "allowed": [{"namespace": "x"}]}), "access.allowed has no meaning"),
            ("/spec/access", json!({"allowed": [{}]}), "access.allowed needs serviceAccount, namespace, or both"),
            (
                "/spec/runtime",
                json!({"drainTimeout": "2h"}),
                "runtime.drainTimeout \"2h\" is not a duration between 0s and 1h",
            ),
            (
                "/spec/runtime",
                json!({"endpointDelay": "6m"}),
                "runtime.endpointDelay \"6m\" is not a duration between 0s and 5m",
            ),
            (
                "/spec/runtime",
                json!({"queueTimeout": "11m"}),
                "runtime.queueTimeout \"11m\" is not a duration between 0s and 10m",
            ),
            ("/spec/roles", poet, "roles must be planner, worker"),
        ];
        for (pointer, value, message) in agents {
            is_refused(ns, "Agent", (pointer, value), message).await?;
        }
        for kind in ["Agent", "Provider"] {
            objects::accepted(&ns.cluster.client, &ns.name, &base(kind)).await?;
        }
        objects::accepted(&ns.cluster.client, &ns.name, &everything_of_a_provider()).await?;
        objects::accepted(&ns.cluster.client, &ns.name, &every_role_of_an_agent()).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_wrong_shape_is_refused_by_its_field() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let agents = [
            ("/spec/orchestration/pattern", json!("swarm2"), "spec.orchestration.pattern"),
            ("/spec/runtime/replicas", json!("three"), "spec.runtime.replicas"),
            ("/spec/runtime/replicas", json!(-1), "spec.runtime.replicas"),
            ("/spec/model/candidates", json!([]), "spec.model.candidates"),
            ("/spec/prompts", json!({}), "prompts needs exactly one of system and systemFrom"),
            ("/spec/prompts/system", json!("x".repeat(262_145)), "spec.prompts.system: Too long"),
        ];
        for (pointer, value, message) in agents {
            is_refused(ns, "Agent", (pointer, value), message).await?;
        }
        let providers = [
            ("/spec/type", json!("openai"), "spec.type: Unsupported value"),
            ("/spec/models", json!([{"name": "m", "quality": 101}]), "spec.models[0].quality"),
            ("/spec/models", json!([{"name": "m", "capabilities": ["tools", "tools"]}]), "duplicate entries"),
            ("/spec/retry", json!({"maxAttempts": 11}), "spec.retry.maxAttempts"),
            ("/spec/timeouts", json!({"connect": "soon"}), "spec.timeouts.connect"),
            ("/spec/auth", json!({"secretKeyRef": {"name": "s"}}), "spec.auth.secretKeyRef.key: Required value"),
        ];
        for (pointer, value, message) in providers {
            is_refused(ns, "Provider", (pointer, value), message).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_refuses_a_field_that_does_not_exist() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let typo = to_yaml(&[with(base("Agent"), "/spec/prompts/sytem", json!("typo"))])?;
        for mode in ["--server-side=false", "--server-side=true"] {
            let args = ["--namespace", &ns.name, "apply", mode, "-f", "-"];
            let refusal = kubectl_with(&args, &typo).await?.refusal()?;
            assert!(refusal.contains("sytem"), "{mode}: {refusal}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn applying_the_same_twice_changes_nothing() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let manifests = to_yaml(&[base("Provider"), base("Agent")])?;
        let args = ["--namespace", &ns.name, "apply", "--server-side", "--field-manager=flux", "-f", "-"];
        kubectl_with(&args, &manifests).await?.text()?;
        ns.agent_ready("support").await?;
        kubectl_with(&args, &manifests).await?.text()?;
        let args = ["--namespace", &ns.name, "diff", "--server-side", "--field-manager=flux", "-f", "-"];
        kubectl_with(&args, &manifests).await?.text()?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_managers_own_a_tool_each_and_both_stay() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let tool = |name: &str, timeout: &str| {
            let tools = json!([{"name": name, "type": "client", "timeout": timeout}]);
            json!({"apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "support"}, "spec": {"tools": tools}})
        };
        ns.apply(base("Agent")).await?;
        let apply = async |manager: &str, object: Value| {
            let manager = format!("--field-manager={manager}");
            let args = ["--namespace", &ns.name, "apply", "--server-side", &manager, "-f", "-"];
            kubectl_with(&args, &to_yaml(&[object])?).await?.text()
        };
        apply("shop", tool("get_order", "1s")).await?;
        apply("bank", tool("get_balance", "2s")).await?;
        apply("shop", tool("get_order", "3s")).await?;
        let tools = |agent: &Agent| -> Vec<(String, String)> {
            agent.spec.tools.iter().map(|tool| (tool.name.clone(), tool.timeout.0.clone())).collect()
        };
        let pair = |name: &str, timeout: &str| (name.to_owned(), timeout.to_owned());
        let agent = ns.api::<Agent>().get("support").await?;
        assert_eq!(tools(&agent), [pair("get_order", "3s"), pair("get_balance", "2s")]);

        // One that has no tool any more takes away its own.
        let mut none = tool("get_order", "3s");
        none["spec"]["tools"] = json!([]);
        apply("shop", none).await?;
        assert_eq!(tools(&ns.api::<Agent>().get("support").await?), [pair("get_balance", "2s")]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_stays_in_its_class_and_does_not_shrink() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let volume = |persistence: Value| {
            let memory = json!({"conversational": {"backend": "sqlite"}, "persistence": persistence});
            with(with(base("Agent"), "/spec/memory", memory), "/spec/suspend", json!(true))
        };
        ns.apply(volume(json!({"size": "1Gi", "storageClassName": "fast"}))).await?;
        for (persistence, message) in [
            (
                json!({"size": "1Gi", "storageClassName": "slow"}),
                "storageClassName \"slow\" was \"fast\", and cannot change",
            ),
            (json!({"size": "1Gi"}), "storageClassName absent was \"fast\", and cannot change"),
            (json!({"size": "500Mi", "storageClassName": "fast"}), "size 500Mi was 1Gi, and a volume cannot shrink"),
        ] {
            let refusal = objects::refusal(&ns.cluster.client, &ns.name, &volume(persistence)).await?;
            assert!(refusal.contains(message), "{refusal}");
        }
        let grown = volume(json!({"size": "2Gi", "storageClassName": "fast"}));
        objects::accepted(&ns.cluster.client, &ns.name, &grown).await
    })
    .await
}
