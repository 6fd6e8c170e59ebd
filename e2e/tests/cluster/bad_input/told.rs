//! What the API server takes, and a condition tells.

use serde_json::{Value, json};

/// A value at a pointer of the Agent, what its status says, and words of the condition's message.
pub(crate) type Told = (&'static str, Value, &'static str, &'static str);

pub(crate) fn agents(elsewhere: &str) -> Vec<Told> {
    let provider = |reference: Value| json!([{"providerRef": reference}]);
    let agent = |name: &str| json!([{"name": "ask", "type": "agent", "agent": {"agentRef": {"name": name}}}]);
    let from = |name: &str, key: &str| json!({"systemFrom": {"configMapKeyRef": {"name": name, "key": key}}});
    let tool = |schema: Value| json!([{"name": "order", "type": "client", "parameters": schema}]);
    let filter = |pattern: &str| json!({"output": [{"type": "content_filter", "patterns": [pattern]}]});
    let failed = "Loaded=False/LoadFailed";
    let invalid = "Accepted=False/Invalid";
    vec![
        // References that lead nowhere, or are not let in.
        (
            "/spec/model/candidates",
            provider(json!({"name": "nobody"})),
            "ResolvedRefs=False/ProviderNotFound",
            "there is no Provider `nobody`",
        ),
        (
            "/spec/model/candidates",
            provider(json!({"name": "scripted", "namespace": "nowhere"})),
            "ResolvedRefs=False/ProviderNotFound",
            "in namespace `nowhere`",
        ),
        (
            "/spec/model/candidates",
            provider(json!({"name": "scripted", "namespace": elsewhere})),
            "ResolvedRefs=False/RefNotPermitted",
            "allowedNamespaces",
        ),
        (
            "/spec/roles",
            json!({"planner": {"candidates": [{"providerRef": {"name": "nobody"}}]}}),
            "ResolvedRefs=False/ProviderNotFound",
            "spec.roles.planner.candidates[0]",
        ),
        ("/spec/prompts", from("nothing", "system.md"), "ResolvedRefs=False/ConfigMapNotFound", "`nothing`"),
        ("/spec/prompts", from("prompts", "other.md"), "ResolvedRefs=False/ConfigMapNotFound", "`other.md`"),
        ("/spec/tools", agent("nobody"), "ResolvedRefs=False/AgentNotFound", "there is no Agent `nobody`"),
        ("/spec/tools", agent("closed"), "ResolvedRefs=False/RefNotPermitted", "support-agent"),
        ("/spec/tools", agent("asks-back"), "ResolvedRefs=False/ReferenceCycle", "asks-back"),
        // Schemas and patterns.
        ("/spec/outputSchema", json!({"type": "objekt"}), invalid, "spec.outputSchema"),
        ("/spec/outputSchema", json!({"$ref": "#/$defs/nothing"}), invalid, "spec.outputSchema"),
        ("/spec/outputSchema", json!({"minimum": "one"}), invalid, "spec.outputSchema"),
        ("/spec/tools", tool(json!({"properties": 1})), invalid, "spec.tools[0].parameters"),
        ("/spec/tools", tool(json!({"pattern": "("})), invalid, "spec.tools[0].parameters"),
        ("/spec/model/candidates/0/parameters", json!({"extra": {"messages": []}}), invalid, "extra.messages"),
        ("/spec/guardrails", filter("("), invalid, "spec.guardrails.output[0].patterns[0]"),
        ("/spec/guardrails", filter("(?=a)b"), invalid, "spec.guardrails.output[0].patterns[0]"),
        ("/spec/guardrails", filter("((a{100}){100}){100}"), invalid, "spec.guardrails.output[0]"),
        // Prompts.
        ("/spec/prompts/system", json!("Be {{ kind"), failed, "prompts.system: line 1"),
        ("/spec/prompts/system", json!("{% if kind %}Be kind."), failed, "prompts.system: line 1"),
        ("/spec/prompts/system", json!("Be {{ identity.displayName | shout }}."), failed, "shout"),
        ("/spec/prompts/system", json!("{% include 'nothing' %}"), failed, "nothing"),
        ("/spec/prompts/system", json!("{{ ".repeat(500)), failed, "prompts.system: line 1"),
        ("/spec/prompts/context", json!("{% endif %}"), failed, "prompts.context: line 1"),
        ("/spec/prompts/templates", json!({"greeting": "{% for %}"}), failed, "greeting"),
        (
            "/spec/orchestration",
            json!({"pattern": "pipeline", "stages": [{"name": "draft", "prompt": "{{ input"}]}),
            failed,
            "orchestration.stages[0].prompt: line 1",
        ),
        // Too large for a ConfigMap.
        ("/spec/prompts/system", json!("🙂".repeat(262_144)), "Programmed=False/DocumentTooLarge", ""),
    ]
}

/// What looks odd, and is none the worse for it.
pub(crate) fn odd() -> Vec<(&'static str, Value)> {
    vec![
        ("/spec/identity", json!({"displayName": "\u{202e}troppus\u{202c} 🙂", "description": "नमस्ते"})),
        ("/spec/prompts/system", json!("Tab\t, quote \", back\\slash, and \u{feff}a mark. {{ nothing.is.here }}")),
        ("/spec/runtime/podLabels", json!({"team": "", "app.kubernetes.io/part-of": "shop"})),
    ]
}
