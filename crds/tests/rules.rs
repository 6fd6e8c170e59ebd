//! Every rule with an object that passes and one that fails, and the words that a user reads.

use astromesh_crds::manifest::{Problem, check};
use rstest::rstest;
use serde_json::{Value, json};

fn provider() -> Value {
    json!({"apiVersion": "astromesh.io/v1alpha1", "kind": "Provider", "metadata": {"name": "openai"},
           "spec": {"type": "openai_compat", "endpoint": "https://api.openai.com/v1"}})
}

fn agent() -> Value {
    json!({"apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "support"},
           "spec": {"model": {"candidates": [{"providerRef": {"name": "openai"}}]}, "prompts": {"system": "Be kind."}}})
}

/// The object with the value at `pointer` set; objects on the way are made.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let mut place = &mut object;
    for part in pointer.split('/') {
        place = match part.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[part],
        };
    }
    *place = value;
    object
}

fn base(kind: &str) -> Value {
    if kind == "Agent" { agent() } else { provider() }
}

/// A semantic memory with these fields.
fn semantic(fields: Value) -> Value {
    let embeddings =
        json!({"provider": "openai_compat", "model": "e", "endpoint": "http://llama:8080", "dimension": 4});
    merged(json!({"backend": "embedded", "embeddings": embeddings}), fields)
}

/// The same with these fields of its embeddings.
fn embedding(fields: Value) -> Value {
    let mut semantic = semantic(json!({}));
    semantic["embeddings"] = merged(semantic["embeddings"].take(), fields);
    semantic
}

fn merged(mut object: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
    object
}

#[test]
fn the_smallest_objects_are_valid() {
    assert_eq!(check(&agent()), []);
    assert_eq!(check(&provider()), []);
}

#[rstest]
#[case("Provider", "metadata/name", json!("p".repeat(50)))]
#[case("Provider", "spec/endpoint", json!("http://10.0.0.1:8080"))]
#[case("Provider", "spec/endpoint", json!("http://localhost:11434"))]
#[case("Provider", "spec/auth", json!({"secretKeyRef": {"name": "s", "key": "k"}}))]
#[case("Provider", "spec/auth", json!({"scheme": "none"}))]
#[case("Provider", "spec/auth", json!({"scheme": "header", "header": "api-key", "secretKeyRef": {"name": "s", "key": "k"}}))]
#[case("Provider", "spec/timeouts", json!({"connect": "5s", "firstToken": "30s", "stall": "1m30s", "total": "10m"}))]
#[case("Provider", "spec/models", json!([{"name": "a"}, {"name": "b"}]))]
#[case("Agent", "spec/orchestration", json!({"pattern": "react", "maxIterations": 5, "timeout": "1h"}))]
#[case("Agent", "spec/runtime", json!({"nodeSelector": null, "tolerations": null, "replicas": null}))]
#[case("Agent", "spec/identity", Value::Null)]
#[case("Provider", "metadata/name", json!("v1.openai"))]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "in_memory", "strategy": "sliding_window", "maxTurns": 3, "ttl": "72h"}}))]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "in_memory", "strategy": "token_budget", "maxTokens": 500}}))]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "sqlite", "strategy": "summary"}, "persistence": {"size": "1Gi", "storageClassName": "fast"}}))]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "redis", "connection": {"secretKeyRef": {"name": "redis", "key": "url"}}}}))]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "postgres", "connection": {"secretKeyRef": {"name": "pg", "key": "url"}}}}))]
#[case("Agent", "spec/memory", json!({"episodic": {"backend": "sqlite", "maxEvents": 100}, "persistence": {"size": "1Gi"}}))]
#[case("Agent", "spec/memory", json!({"semantic": semantic(json!({"backend": "embedded", "minScore": 0, "topK": 100})), "persistence": {"size": "1Gi"}}))]
#[case("Agent", "spec/memory", json!({"semantic": semantic(json!({"backend": "pgvector", "connection": {"secretKeyRef": {"name": "pg", "key": "url"}}}))}))]
#[case("Agent", "spec", json!({"model": {"candidates": [{"providerRef": {"name": "a"}}]}, "prompts": {"system": "x"}, "memory": {"semantic": semantic(json!({}))}, "runtime": {"replicas": 1}}))]
#[case("Agent", "spec/memory", json!({"semantic": embedding(json!({"provider": "ollama", "auth": {"secretKeyRef": {"name": "s", "key": "k"}}, "batchSize": 256, "dimension": 16000}))}))]
#[case("Agent", "spec/memory", json!({"episodic": {"backend": "postgres", "connection": {"secretKeyRef": {"name": "pg", "key": "url"}}}}))]
#[case("Agent", "spec", json!({"model": {"candidates": [{"providerRef": {"name": "a"}}]}, "prompts": {"system": "x"}, "memory": {"episodic": {"backend": "sqlite"}}, "runtime": {"replicas": 1}}))]
#[case("Agent", "spec", json!({"model": {"candidates": [{"providerRef": {"name": "a"}}]}, "prompts": {"system": "x"}, "memory": {"conversational": {"backend": "sqlite"}}, "runtime": {"replicas": 1}}))]
#[case("Agent", "spec", json!({"model": {"candidates": [{"providerRef": {"name": "a"}}]}, "prompts": {"system": "x"}, "memory": {"conversational": {"backend": "in_memory"}}, "runtime": {"replicas": 3}}))]
#[case("Agent", "spec/access", json!({"mode": "none"}))]
#[case("Agent", "spec/access", json!({"allowed": [{"serviceAccount": "app", "namespace": "shop"}, {"namespace": "shop"}]}))]
#[case("Agent", "spec/runtime", json!({"replicas": 3, "resources": {"limits": {"memory": "1Gi"}}, "drainTimeout": "1m", "endpointDelay": "0s"}))]
#[case("Agent", "spec/model/candidates/0/parameters", json!({"temperature": 0.2, "topP": 1, "maxTokens": 10, "stop": ["x"], "seed": 1, "extra": {"top_k": 40, "any": {"thing": [1]}}}))]
#[case("Provider", "spec", json!({"type": "openai_compat"}))]
#[case("Provider", "spec", json!({"type": "ollama"}))]
#[case("Provider", "spec/headers", json!({"OpenAI-Organization": "org-1", "X-Authorization_2": "a"}))]
#[case("Provider", "spec/tls", json!({"caSecretKeyRef": {"name": "ca", "key": "ca.crt"}, "insecureSkipVerify": false}))]
#[case("Provider", "spec/models", json!([{"name": "a", "contextWindow": 128_000, "capabilities": ["tools", "vision", "json_schema"], "quality": 100,
    "price": {"inputPerMillion": "0.15", "outputPerMillion": "10", "cachedInputPerMillion": "0.075"}}, {"name": "b", "capabilities": [], "quality": 0}]))]
#[case("Provider", "spec/circuitBreaker", json!({"failureThreshold": 1, "cooldown": "1s"}))]
#[case("Provider", "spec/retry", json!({"maxAttempts": 1, "budgetPercent": 0}))]
#[case("Provider", "spec/rateLimit", json!({"requestsPerMinute": 60}))]
#[case("Provider", "spec/rateLimit", json!({"tokensPerMinute": 90_000}))]
#[case("Provider", "spec/maxConcurrentRequests", json!(1))]
#[case("Provider", "spec/allowedNamespaces", json!({"from": "All"}))]
#[case("Provider", "spec/allowedNamespaces", json!({"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}}))]
#[case("Agent", "spec/model", json!({"strategy": "round_robin", "candidates": [{"providerRef": {"name": "a", "namespace": "models"}}], "requires": ["tools", "json_schema"]}))]
#[case("Agent", "spec/roles", json!({"planner": {"candidates": [{"providerRef": {"name": "a"}}]}, "stage:draft_1": {"candidates": [{"providerRef": {"name": "a"}}], "strategy": "quality_first"}}))]
#[case("Agent", "spec/expose", json!({"openai": false}))]
#[case("Agent", "spec/runtime", json!({"maxQueuedRuns": 0, "queueTimeout": "250ms"}))]
#[case("Agent", "spec/guardrails", json!({"input": [
    {"type": "pii_detection"}, {"type": "pii_detection", "action": "block", "entities": ["email", "iban"], "scope": ["message", "tool_results"]},
    {"type": "topic_filter", "action": "warn", "topics": ["politics", "圣诞"]}, {"type": "topic_filter", "topics": ["x y"], "message": "No."},
    {"type": "max_length"}, {"type": "max_length", "action": "block", "maxChars": 10}]}))]
#[case("Agent", "spec/guardrails", json!({"output": [
    {"type": "content_filter", "keywords": ["x"]}, {"type": "content_filter", "action": "warn", "patterns": ["a+"]},
    {"type": "cost_limit", "maxTokensPerTurn": 4000}, {"type": "cost_limit", "action": "block", "maxTokensPerTurn": 1}]}))]
#[case("Agent", "spec/prompts", json!({"system": "a", "context": "Today is {{ today }}", "templates": {"greeting": "Hello"}}))]
#[case("Agent", "spec/budget", json!({"maxTokens": 1}))]
#[case("Agent", "spec/budget", json!({"window": "744h", "maxCost": "999999.99", "onExceeded": "downgrade"}))]
#[case("Agent", "spec/budget", json!({"window": "1m", "maxTokens": 1_000_000_000_000_u64, "maxCost": "0.01", "onExceeded": "reject"}))]
#[case("Agent", "spec/prompts", json!({"systemFrom": {"configMapKeyRef": {"name": "prompts", "key": "system.md"}}}))]
#[case("Agent", "spec/orchestration", json!({"pattern": "pipeline", "stages": [{"name": "draft", "prompt": "Draft."}]}))]
#[case("Agent", "spec/orchestration", json!({"pattern": "pipeline"}))]
#[case("Agent", "spec/orchestration", json!({"pattern": "parallel_fan_out", "branches": [{"role": "worker"}], "merge": "vote"}))]
#[case("Agent", "spec/orchestration", json!({"pattern": "plan_and_execute", "maxSteps": 3}))]
#[case("Agent", "spec/outputSchema", json!({"type": "object", "properties": {"score": {"type": "integer"}}}))]
#[case("Agent", "spec/tools", json!([{"name": "get_order", "description": "Looks up.", "type": "webhook", "webhook": {"url": "https://shop.example.com/o", "method": "GET", "headers": {"X-A": "b"},
    "auth": {"secretKeyRef": {"name": "s", "key": "k"}, "header": "X-Key"}, "timeout": "10s"}, "parameters": {"type": "object"}, "rateLimit": {"windowSeconds": 60, "maxCalls": 10},
    "timeout": "30s", "requireApproval": true, "approvalTimeout": "5m"}, {"name": "show_chart", "type": "client"}, {"name": "calculator", "type": "internal"}]))]
#[case("Agent", "spec/tools", json!([{"name": "http_request", "type": "internal", "internal": {"allow": ["*.example.com", "billing.shop.svc:8080"]}}]))]
#[case("Agent", "spec/permissions", json!({"allow": ["get_*", "kb"], "deny": ["?et_secret"]}))]
#[case("Agent", "spec/orchestration", json!({"parallelToolCalls": false, "maxToolResultTokens": 500}))]
#[case("Agent", "spec/tools", json!([{"name": "billing", "type": "agent", "agent": {"agentRef": {"name": "billing"}}}, {"name": "far", "type": "agent", "agent": {"agentRef": {"name": "support", "namespace": "zoo"}}}]))]
#[case("Agent", "spec", json!({"model": {"candidates": [{"providerRef": {"name": "a"}}]}, "prompts": {"system": "x"}, "orchestration": {"pattern": "supervisor"},
    "tools": [{"name": "calculator", "type": "internal"}, {"name": "billing", "type": "agent", "agent": {"agentRef": {"name": "billing"}}}]}))]
#[case("Agent", "spec", json!({"model": {"candidates": [{"providerRef": {"name": "a"}}]}, "prompts": {"system": "x"}, "orchestration": {"pattern": "swarm", "maxHandoffs": 32},
    "tools": [{"name": "billing", "type": "agent", "agent": {"agentRef": {"name": "billing"}}}]}))]
fn good_values_pass(#[case] kind: &str, #[case] pointer: &str, #[case] value: Value) {
    assert_eq!(check(&with(base(kind), pointer, value)), []);
}

#[rstest]
#[case("Agent", "spec/budget", json!({}), "budget needs maxTokens, maxCost, or both")]
#[case("Agent", "spec/budget", json!({"window": "59s", "maxTokens": 1}), "budget.window \"")]
#[case("Agent", "spec/budget", json!({"window": "745h", "maxTokens": 1}), "budget.window \"")]
#[case("Agent", "spec/budget", json!({"maxCost": "0.00"}), "budget.maxCost \"0.00\" must be more than 0")]
#[case("Agent", "spec/budget", json!({"maxCost": "1000000"}), "budget.maxCost \"1000000\" must be more than 0 and less than")]
#[case("Agent", "spec/prompts", json!({"context": "x"}), "prompts needs exactly one of system and systemFrom")]
#[case("Agent", "spec/prompts/systemFrom", json!({"configMapKeyRef": {"name": "a", "key": "b"}}), "prompts needs exactly one of system and systemFrom")]
#[case("Agent", "spec/prompts/templates", json!({"system": "x"}), "prompts.templates: names begin with a letter")]
#[case("Agent", "spec/prompts/templates", json!({"Greeting": "x"}), "prompts.templates: names begin with a letter")]
#[case("Agent", "spec/orchestration", json!({"stages": [{"name": "draft", "prompt": "Draft."}]}), "orchestration.stages belongs to the pattern pipeline")]
#[case("Agent", "spec/orchestration", json!({"branches": [{"role": "worker"}]}), "orchestration.branches and merge belong to the pattern parallel_fan_out")]
#[case("Agent", "spec/orchestration", json!({"merge": "vote"}), "orchestration.branches and merge belong to the pattern parallel_fan_out")]
#[case("Agent", "spec/tools", json!([{"name": "billing", "type": "agent"}]), "tools: `agent` is required with type agent")]
#[case("Agent", "spec/tools", json!([{"name": "billing", "type": "client", "agent": {"agentRef": {"name": "billing"}}}]), "tools: `agent` is required with type agent")]
#[case("Agent", "spec/tools", json!([{"name": "billing", "type": "agent", "agent": {"agentRef": {"name": "billing"}}, "parameters": {"type": "object"}}]), "tools: an agent takes `query`")]
#[case("Agent", "spec/tools", json!([{"name": "me", "type": "agent", "agent": {"agentRef": {"name": "support"}}}]), "tools: an agent is not its own tool")]
#[case("Agent", "spec/orchestration", json!({"pattern": "swarm"}), "orchestration.pattern supervisor and swarm need at least one tool of type agent")]
#[case("Agent", "spec/orchestration", json!({"maxHandoffs": 3}), "orchestration.maxHandoffs belongs to the pattern swarm")]
#[case("Agent", "spec/orchestration", json!({"pattern": "supervisor"}), "orchestration.pattern supervisor and swarm need at least one tool of type agent")]
#[case("Agent", "spec/orchestration", json!({"maxSteps": 3}), "orchestration.maxSteps belongs to the pattern plan_and_execute")]
#[case("Provider", "metadata/name", json!("p".repeat(51)), "metadata.name must have at most 50 characters")]
#[case("Agent", "metadata/name", json!("a".repeat(51)), "metadata.name must have at most 50 characters")]
#[case("Agent", "metadata/name", json!("7up"), "metadata.name must begin with a letter")]
#[case("Agent", "metadata/name", json!("n.5"), "metadata.name must begin with a letter")]
#[case("Provider", "spec/endpoint", json!("api.openai.com"), "endpoint \"api.openai.com\" must be an absolute http or https URL")]
#[case("Provider", "spec/endpoint", json!("ftp://api.openai.com"), "endpoint \"ftp://api.openai.com\" must be an absolute http or https URL")]
#[case("Provider", "spec/endpoint", json!("https://me:secret@api.openai.com"), "endpoint must not hold credentials")]
#[case("Provider", "spec/auth", json!({"scheme": "bearer"}), "auth.secretKeyRef is required")]
#[case("Provider", "spec/auth", json!({"scheme": "header", "secretKeyRef": {"name": "s", "key": "k"}}), "auth.header is required")]
#[case("Provider", "spec/auth", json!({"header": "X", "secretKeyRef": {"name": "s", "key": "k"}}), "auth.header is required")]
#[case("Provider", "spec/timeouts", json!({"connect": "1ms"}), "timeouts.connect \"")]
#[case("Provider", "spec/timeouts", json!({"firstToken": "2h"}), "timeouts.firstToken \"")]
#[case("Provider", "spec/timeouts", json!({"stall": "2h"}), "timeouts.stall \"")]
#[case("Provider", "spec/timeouts", json!({"total": "0s"}), "timeouts.total \"")]
#[case("Agent", "spec/orchestration", json!({"timeout": "2h"}), "orchestration.timeout \"")]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "in_memory", "ttl": "0s"}}), "memory.conversational.ttl \"")]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "redis"}}), "memory.conversational.connection is required for redis and postgres")]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "postgres"}}), "memory.conversational.connection is required for redis and postgres")]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "sqlite", "connection": {"secretKeyRef": {"name": "s", "key": "k"}}}}), "memory.conversational.connection is required for redis and postgres")]
#[case("Agent", "spec/memory", json!({}), "memory needs at least one of conversational, episodic and semantic")]
#[case("Agent", "spec/memory", json!({"semantic": semantic(json!({"backend": "pgvector"}))}), "memory.semantic.connection is required for pgvector")]
#[case("Agent", "spec/memory", json!({"semantic": semantic(json!({"connection": {"secretKeyRef": {"name": "s", "key": "k"}}}))}), "memory.semantic.connection is required for pgvector")]
#[case("Agent", "spec/memory", json!({"semantic": embedding(json!({"endpoint": "llama:8080"}))}), "embeddings.endpoint \"llama:8080\" must be an absolute http or https URL")]
#[case("Agent", "spec/memory", json!({"semantic": embedding(json!({"endpoint": "http://me:secret@llama:8080"}))}), "embeddings.endpoint must not hold credentials")]
#[case("Agent", "spec/memory", json!({"semantic": embedding(json!({"auth": {"scheme": "bearer"}}))}), "auth.secretKeyRef is required unless")]
#[case("Agent", "spec", json!({"model": {"candidates": [{"providerRef": {"name": "a"}}]}, "prompts": {"system": "x"}, "memory": {"semantic": semantic(json!({}))}, "runtime": {"replicas": 2}}), "memory.semantic.backend embedded keeps a file of one pod")]
#[case("Agent", "spec/memory", json!({"episodic": {"backend": "postgres"}}), "memory.episodic.connection is required for postgres")]
#[case("Agent", "spec/memory", json!({"episodic": {"backend": "sqlite", "connection": {"secretKeyRef": {"name": "s", "key": "k"}}}}), "memory.episodic.connection is required for postgres")]
#[case("Agent", "spec/memory", json!({"episodic": {"backend": "postgres", "connection": {"secretKeyRef": {"name": "s", "key": "k"}}}, "persistence": {"size": "1Gi"}}), "memory.persistence is for backends that keep a file")]
#[case("Agent", "spec", json!({"model": {"candidates": [{"providerRef": {"name": "a"}}]}, "prompts": {"system": "x"}, "memory": {"episodic": {"backend": "sqlite"}}, "runtime": {"replicas": 2}}), "memory.episodic.backend sqlite keeps a file of one pod")]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "in_memory"}, "persistence": {"size": "1Gi"}}), "memory.persistence is for backends that keep a file")]
#[case("Agent", "spec", json!({"model": {"candidates": [{"providerRef": {"name": "a"}}]}, "prompts": {"system": "x"}, "memory": {"conversational": {"backend": "sqlite"}}, "runtime": {"replicas": 2}}), "memory.conversational.backend sqlite keeps a file of one pod")]
#[case("Agent", "spec/access", json!({"mode": "none", "allowed": [{"namespace": "x"}]}), "access.allowed has no meaning")]
#[case("Agent", "spec/access", json!({"allowed": [{}]}), "access.allowed needs serviceAccount, namespace, or both")]
#[case("Agent", "spec/runtime", json!({"drainTimeout": "2h"}), "runtime.drainTimeout \"")]
#[case("Agent", "spec/runtime", json!({"endpointDelay": "6m"}), "runtime.endpointDelay \"")]
#[case("Agent", "spec/runtime", json!({"queueTimeout": "11m"}), "runtime.queueTimeout \"")]
#[case("Agent", "spec/roles", json!({"poet": {"candidates": [{"providerRef": {"name": "a"}}]}}), "roles must be planner, worker")]
#[case("Agent", "spec/roles", json!({"stage:": {"candidates": [{"providerRef": {"name": "a"}}]}}), "roles must be planner, worker")]
#[case("Provider", "spec", json!({"type": "vllm"}), "endpoint is required for this type")]
#[case("Provider", "spec", json!({"type": "llamacpp"}), "endpoint is required for this type")]
#[case("Provider", "spec", json!({"type": "hf_tgi"}), "endpoint is required for this type")]
#[case("Provider", "spec/headers", json!({"AUTHORIZATION": "Bearer x"}), "headers must not hold Authorization")]
#[case("Provider", "spec/headers", json!({"Proxy-Authorization": "Basic x"}), "headers must not hold Authorization")]
#[case("Provider", "spec/headers", json!({"host": "x"}), "headers must not hold Host")]
#[case("Provider", "spec/headers", json!({"Content-Type": "x"}), "headers must not hold Host")]
#[case("Provider", "spec/headers", json!({"content-length": "1"}), "headers must not hold Host")]
#[case("Provider", "spec/headers", json!({"X Y": "1"}), "headers: \"X Y\" is not a header")]
#[case("Provider", "spec/circuitBreaker", json!({"cooldown": "10ms"}), "circuitBreaker.cooldown \"")]
#[case("Provider", "spec/rateLimit", json!({}), "rateLimit needs requestsPerMinute")]
#[case("Provider", "spec/allowedNamespaces", json!({"from": "Selector"}), "allowedNamespaces.selector is required")]
#[case("Provider", "spec/allowedNamespaces", json!({"selector": {"matchLabels": {"a": "b"}}}), "allowedNamespaces.selector is required")]
#[case("Agent", "spec/guardrails", json!({"output": [{"type": "pii_detection", "scope": ["message"]}]}), "guardrails.output rules have no scope")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "pii_detection", "action": "truncate"}]}), "guardrail action does not fit its type")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "topic_filter", "action": "redact", "topics": ["a"]}]}), "guardrail action does not fit its type")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "max_length", "action": "warn"}]}), "guardrail action does not fit its type")]
#[case("Agent", "spec/guardrails", json!({"output": [{"type": "cost_limit", "action": "warn", "maxTokensPerTurn": 1}]}), "guardrail action does not fit its type")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "max_length", "entities": ["email"]}]}), "guardrail entities belong to pii_detection")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "pii_detection", "topics": ["a"]}]}), "guardrail topics belong to topic_filter")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "topic_filter"}]}), "guardrail topics belong to topic_filter, which needs at least one")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "pii_detection", "maxChars": 5}]}), "guardrail maxChars belongs to max_length")]
#[case("Agent", "spec/guardrails", json!({"output": [{"type": "content_filter"}]}), "guardrail keywords and patterns belong to content_filter")]
#[case("Agent", "spec/guardrails", json!({"output": [{"type": "max_length", "patterns": ["a"]}]}), "guardrail keywords and patterns belong to content_filter")]
#[case("Agent", "spec/guardrails", json!({"output": [{"type": "cost_limit"}]}), "guardrail maxTokensPerTurn belongs to cost_limit")]
#[case("Agent", "spec/guardrails", json!({"output": [{"type": "max_length", "maxTokensPerTurn": 5}]}), "guardrail maxTokensPerTurn belongs to cost_limit")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "cost_limit", "maxTokensPerTurn": 5, "scope": ["message"]}]}), "guardrail scope has no meaning with cost_limit")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "webhook"}]), "tools: `webhook` is required with type webhook")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "client", "webhook": {"url": "https://a.example.com"}}]), "tools: `webhook` is required with type webhook")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "client", "internal": {}}]), "tools: `internal` belongs to the type internal")]
#[case("Agent", "spec/tools", json!([{"name": "read_file", "type": "internal"}]), "tools: the internal tools are datetime_now")]
#[case("Agent", "spec/tools", json!([{"name": "cache", "type": "internal", "internal": {"allow": ["a"]}}]), "tools: `internal.allow` has a meaning for http_request only")]
#[case("Agent", "spec/tools", json!([{"name": "cache", "type": "internal", "parameters": {}}]), "tools: an internal tool has parameters of its own")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "client", "timeout": "2h"}]), "tools: timeout \"")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "client", "approvalTimeout": "0s"}]), "tools: approvalTimeout \"")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "webhook", "webhook": {"url": "ftp://a.example.com"}}]), "tools: webhook.url \"ftp://a.example.com\" must be an absolute")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "webhook", "webhook": {"url": "https://me:secret@a.example.com"}}]), "tools: webhook.url must not hold credentials")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "webhook", "webhook": {"url": "https://a.example.com", "timeout": "2h"}}]), "tools: webhook.timeout \"")]
#[case("Agent", "spec/runtime", json!({"imagePullSecrets": [{"name": "No_Way"}]}), "name \"No_Way\" is not a name")]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "sqlite"}, "persistence": {"size": "much"}}), "memory.persistence.size \"much\" is not a size")]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "sqlite"}, "persistence": {"size": "1Gi", "storageClassName": "A"}}), "memory.persistence.storageClassName \"A\" is not a name")]
#[case("Agent", "spec/prompts", json!({"systemFrom": {"configMapKeyRef": {"name": "a", "key": "b c"}}}), "configMapKeyRef.key \"b c\" is not a key")]
#[case("Agent", "spec/prompts", json!({"systemFrom": {"configMapKeyRef": {"name": "A", "key": "b"}}}), "configMapKeyRef.name \"A\" is not a name")]
#[case("Agent", "spec/model/candidates/0/providerRef/namespace", json!("No Such"), "providerRef.namespace \"No Such\" is not a namespace")]
#[case("Agent", "spec/model/candidates/0/providerRef/name", json!("No Such"), "providerRef.name \"No Such\" is not a name")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "agent", "agent": {"agentRef": {"name": "A", "namespace": "x"}}}]), "agentRef.name \"A\" is not a name")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "agent", "agent": {"agentRef": {"name": "a", "namespace": "x.y"}}}]), "agentRef.namespace \"x.y\" is not a namespace")]
#[case("Agent", "spec/access", json!({"allowed": [{"serviceAccount": "A"}]}), "access.allowed: serviceAccount \"A\" is not a name")]
#[case("Agent", "spec/access", json!({"allowed": [{"namespace": "A"}]}), "access.allowed: namespace \"A\" is not a namespace")]
#[case("Agent", "spec/tools", json!([{"name": "a b", "type": "client"}]), "tools: name \"a b\" is not a name")]
#[case("Agent", "spec/tools", json!([{"name": "http_request", "type": "internal", "internal": {"allow": ["ok.com", "http://a"]}}]), "tools: internal.allow: \"http://a\" is not a host")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "webhook", "webhook": {"url": "https://a.b", "headers": {"X": "a\nb"}}}]), "tools: webhook.headers: the value of \"X\" holds characters")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "webhook", "webhook": {"url": "https://a.b", "auth": {"secretKeyRef": {"name": "s", "key": "k"}, "header": "X Y"}}}]), "tools: webhook.auth.header \"X Y\" is not a header")]
#[case("Agent", "spec/permissions", json!({"allow": ["a b"]}), "permissions.allow: \"a b\" is not a name of tools")]
#[case("Agent", "spec/permissions", json!({"deny": ["a b"]}), "permissions.deny: \"a b\" is not a name of tools")]
#[case("Agent", "spec/orchestration", json!({"pattern": "pipeline", "stages": [{"name": "Draft", "prompt": "x"}]}), "orchestration.stages: name \"Draft\" is not a name")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "topic_filter", "topics": [" "]}]}), "guardrails: topics: \" \" is blank")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "content_filter", "keywords": [" "]}]}), "guardrails: keywords: \" \" is blank")]
#[case("Agent", "spec/budget", json!({"maxCost": "-1"}), "budget.maxCost \"-1\" must be more than 0")]
#[case("Agent", "spec/orchestration", json!({"timeout": "soon"}), "orchestration.timeout \"soon\" is not a duration between 100ms and 1h: use a number with ms, s, m or h, such as 30s or 1h30m")]
#[case("Provider", "spec/timeouts", json!({"connect": "soon"}), "timeouts.connect \"soon\" is not a duration between 10ms and 10m")]
#[case("Provider", "spec/models", json!([{"name": "a", "price": {"inputPerMillion": "-1", "outputPerMillion": "1"}}]), "price.inputPerMillion \"-1\" is not an amount")]
#[case("Provider", "spec/models", json!([{"name": "a", "price": {"inputPerMillion": "1", "outputPerMillion": "x"}}]), "price.outputPerMillion \"x\" is not an amount")]
#[case("Provider", "spec/models", json!([{"name": "a", "price": {"inputPerMillion": "1", "outputPerMillion": "1", "cachedInputPerMillion": ""}}]), "price.cachedInputPerMillion \"\" is not an amount")]
#[case("Provider", "spec/headers", json!({"X-A": "two\nlines"}), "headers: the value of \"X-A\" holds characters")]
#[case("Provider", "spec/auth", json!({"scheme": "header", "header": "X Y", "secretKeyRef": {"name": "s", "key": "k"}}), "auth.header \"X Y\" is not a header")]
#[case("Provider", "spec/auth", json!({"secretKeyRef": {"name": "S", "key": "k"}}), "secretKeyRef.name \"S\" is not a name")]
#[case("Provider", "spec/auth", json!({"secretKeyRef": {"name": "s", "key": "a b"}}), "secretKeyRef.key \"a b\" is not a key")]
#[case("Provider", "spec/allowedNamespaces", json!({"from": "Selector", "selector": {"matchLabels": {"a b": "c"}}}), "allowedNamespaces.selector.matchLabels: \"a b\" is not a key")]
#[case("Provider", "spec/allowedNamespaces", json!({"from": "Selector", "selector": {"matchLabels": {"team": "c d"}}}), "allowedNamespaces.selector.matchLabels: \"team\" is \"c d\"")]
fn broken_rules_say_what_would_be_right(
    #[case] kind: &str,
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] message: &str,
) {
    let problems = check(&with(base(kind), pointer, value));
    assert!(problems.iter().any(|p| p.message.starts_with(message)), "{problems:?}");
}

#[rstest]
#[case("Agent", "spec/prompts/sytem", json!("typo"), "spec.prompts.sytem", "unknown field")]
#[case("Agent", "spec/budget", json!({"maxTokens": 0}), "spec.budget.maxTokens", "")]
#[case("Agent", "spec/budget", json!({"maxCost": 5}), "spec.budget.maxCost", "")]
#[case("Agent", "spec/budget", json!({"maxCost": "-1"}), "spec.budget.maxCost", "")]
#[case("Agent", "spec/budget", json!({"maxTokens": 1, "onExceeded": "ignore"}), "spec.budget.onExceeded", "")]
#[case("Agent", "spec/prompts", json!({"systemFrom": {}}), "spec.prompts.systemFrom.configMapKeyRef", "required, but missing")]
#[case("Agent", "spec/prompts", json!({"systemFrom": {"configMapKeyRef": {"name": "a", "key": "b c"}}}), "spec.prompts.systemFrom.configMapKeyRef.key", "")]
#[case("Agent", "sepc", json!({}), "sepc", "unknown field")]
#[case("Agent", "spec/model/candidates/0/modell", json!("x"), "spec.model.candidates[0].modell", "unknown field")]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "chroma"}}), "spec.memory.conversational.backend", "")]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "in_memory", "maxTokens": 0}}), "spec.memory.conversational.maxTokens", "")]
#[case("Agent", "spec/memory", json!({"episodic": {"backend": "redis"}}), "spec.memory.episodic.backend", "")]
#[case("Agent", "spec/memory", json!({"semantic": semantic(json!({"backend": "chroma"}))}), "spec.memory.semantic.backend", "")]
#[case("Agent", "spec/memory", json!({"semantic": semantic(json!({"minScore": 1.1}))}), "spec.memory.semantic.minScore", "")]
#[case("Agent", "spec/memory", json!({"semantic": semantic(json!({"topK": 0}))}), "spec.memory.semantic.topK", "")]
#[case("Agent", "spec/memory", json!({"semantic": embedding(json!({"dimension": 0}))}), "spec.memory.semantic.embeddings.dimension", "")]
#[case("Agent", "spec/memory", json!({"semantic": embedding(json!({"batchSize": 257}))}), "spec.memory.semantic.embeddings.batchSize", "")]
#[case("Agent", "spec/memory", json!({"episodic": {"backend": "sqlite", "maxEvents": 101}}), "spec.memory.episodic.maxEvents", "")]
#[case("Agent", "spec/memory", json!({"conversational": {"backend": "sqlite"}, "persistence": {"size": "much"}}), "spec.memory.persistence.size", "")]
#[case("Agent", "spec/orchestration/pattern", json!("swarm2"), "spec.orchestration.pattern", "")]
#[case("Agent", "spec/runtime/replicas", json!("three"), "spec.runtime.replicas", "")]
#[case("Agent", "spec/model/candidates", json!([]), "spec.model.candidates", "")]
#[case("Provider", "spec/type", json!("openai"), "spec.type", "")]
#[case("Provider", "spec/timeouts", json!({"connect": "soon"}), "spec.timeouts.connect", "")]
#[case("Provider", "spec/auth", json!({"secretKeyRef": {"name": "s"}}), "spec.auth.secretKeyRef.key", "required, but missing")]
#[case("Provider", "spec/models", json!([{"name": "a"}, {"name": "b"}, {"name": "a"}]), "spec.models[2]", "a second entry of the same name")]
#[case("Agent", "metadata/lables", json!({}), "metadata.lables", "unknown field")]
#[case("Agent", "metadata/name", json!("Not A Name"), "metadata.name", "`Not A Name` is not a valid name")]
#[case("Provider", "spec/models", json!([{"name": "a", "quality": 101}]), "spec.models[0].quality", "")]
#[case("Provider", "spec/models", json!([{"name": "a", "capabilities": ["tools", "tools"]}]), "spec.models[0].capabilities[1]", "is in the list twice")]
#[case("Provider", "spec/models", json!([{"name": "a", "capabilities": ["audio"]}]), "spec.models[0].capabilities[0]", "")]
#[case("Provider", "spec/models", json!([{"name": "a", "price": {"inputPerMillion": "1"}}]), "spec.models[0].price.outputPerMillion", "required, but missing")]
#[case("Provider", "spec/models", json!([{"name": "a", "price": {"inputPerMillion": "-1", "outputPerMillion": "1"}}]), "spec.models[0].price.inputPerMillion", "")]
#[case("Provider", "spec/models", json!([{"name": "a", "price": {"inputPerMillion": 0.15, "outputPerMillion": "1"}}]), "spec.models[0].price.inputPerMillion", "")]
#[case("Provider", "spec/headers", json!({"X-A": "two\nlines"}), "spec.headers", "")]
#[case("Provider", "spec/circuitBreaker", json!({"failureThreshold": 0}), "spec.circuitBreaker.failureThreshold", "")]
#[case("Provider", "spec/retry", json!({"maxAttempts": 11}), "spec.retry.maxAttempts", "")]
#[case("Provider", "spec/retry", json!({"budgetPercent": 101}), "spec.retry.budgetPercent", "")]
#[case("Provider", "spec/allowedNamespaces", json!({"from": "Some"}), "spec.allowedNamespaces.from", "")]
#[case("Provider", "spec/type", json!("onnx"), "spec.type", "\"onnx\" is not one of \"openai_compat\", \"vllm\", \"llamacpp\", \"hf_tgi\" or \"ollama\"")]
#[case("Agent", "spec/orchestration", json!({"pattern": "zigzag"}), "spec.orchestration.pattern", "\"zigzag\" is not one of \"react\", \"plan_and_execute\", \"parallel_fan_out\", \"pipeline\", \"supervisor\" or \"swarm\"")]
#[case("Agent", "spec/orchestration", json!({"timeout": "soon"}), "spec.orchestration.timeout", "orchestration.timeout \"soon\" is not a duration between 100ms and 1h: use a number with ms, s, m or h, such as 30s or 1h30m")]
#[case("Agent", "spec/model/requires", json!(["vision", "vision"]), "spec.model.requires[1]", "is in the list twice")]
#[case("Agent", "spec/model/strategy", json!("cheapest"), "spec.model.strategy", "")]
#[case("Agent", "spec/roles", json!({"planner": {"candidates": []}}), "spec.roles.planner.candidates", "")]
#[case("Agent", "spec/roles", json!({"planner": {"candidates": [{"providerRef": {"name": "a"}}], "requires": ["tools", "tools"]}}), "spec.roles.planner.requires[1]", "is in the list twice")]
#[case("Agent", "spec/model/candidates/0/providerRef/namespace", json!("No Such"), "spec.model.candidates[0].providerRef.namespace", "")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "toxicity"}]}), "spec.guardrails.input[0].type", "")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "pii_detection", "action": "ignore"}]}), "spec.guardrails.input[0].action", "")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "pii_detection", "entities": ["name"]}]}), "spec.guardrails.input[0].entities[0]", "")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "pii_detection", "entities": ["email", "email"]}]}), "spec.guardrails.input[0].entities[1]", "is in the list twice")]
#[case("Agent", "spec/guardrails", json!({"output": [{"type": "max_length", "maxChars": 0}]}), "spec.guardrails.output[0].maxChars", "")]
#[case("Agent", "spec/guardrails", json!({"output": [{"type": "max_length", "max_chars": 1}]}), "spec.guardrails.output[0].max_chars", "unknown field")]
#[case("Agent", "spec/guardrails", json!({"input": [{"type": "topic_filter", "topics": [" "]}]}), "spec.guardrails.input[0].topics", "")]
#[case("Agent", "spec/guardrails", json!({"outputs": []}), "spec.guardrails.outputs", "unknown field")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "client"}, {"name": "a", "type": "client"}]), "spec.tools[1]", "a second entry of the same name")]
#[case("Agent", "spec/tools", json!([{"name": "a b", "type": "client"}]), "spec.tools[0].name", "")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "mcp"}]), "spec.tools[0].type", "")]
#[case("Agent", "spec/tools", json!([{"name": "a", "type": "client", "rateLimit": {"maxCalls": 0}}]), "spec.tools[0].rateLimit.maxCalls", "")]
#[case("Agent", "spec/permissions", json!({"allow": ["a b"]}), "spec.permissions.allow", "")]
fn problems_of_shape_name_the_field(
    #[case] kind: &str,
    #[case] pointer: &str,
    #[case] value: Value,
    #[case] path: &str,
    #[case] message: &str,
) {
    let problems = check(&with(base(kind), pointer, value));
    assert!(problems.iter().any(|p| p.path == path && p.message.starts_with(message)), "{problems:?}");
}

#[test]
fn nulls_are_absent_fields_but_in_free_form_objects() {
    let object = with(agent(), "spec/identity", Value::Null);
    let object = with(object, "spec/outputSchema", json!({"const": null}));
    let object = with(object, "spec/model/candidates/0/parameters", json!({"seed": null, "extra": {"top_k": null}}));
    let read = astromesh_crds::manifest::without_nulls(&object);
    assert!(read["spec"].get("identity").is_none());
    assert_eq!(read["spec"]["outputSchema"], json!({"const": null}));
    assert_eq!(read["spec"]["model"]["candidates"][0]["parameters"], json!({"extra": {"top_k": null}}));
}

#[test]
fn every_problem_is_reported_at_once() {
    let object = with(with(agent(), "spec/prompts/sytem", json!("x")), "spec/runtime/replicas", json!("x"));
    let paths: Vec<String> = check(&object).into_iter().map(|p| p.path).collect();
    assert_eq!(paths, ["spec.prompts.sytem", "spec.runtime.replicas"]);
}

#[test]
fn an_unknown_kind_is_refused_by_name() {
    let problems = check(&json!({"apiVersion": "astromesh.io/v1alpha1", "kind": "Agnet", "metadata": {"name": "x"}}));
    assert_eq!(
        problems,
        [Problem {
            path: "kind".into(),
            message: "`Agnet` is not a kind of astromesh.io/v1alpha1; known are Agent and Provider".into()
        }]
    );
}
