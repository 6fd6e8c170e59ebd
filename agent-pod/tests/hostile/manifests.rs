//! Manifests of agents and providers.

/// A provider `p` at this URL whose model has a large window and can do all.
pub(crate) fn provider(url: &str) -> String {
    format!(
        "apiVersion: astromesh.io/v1alpha1\nkind: Provider\nmetadata: {{name: p}}\nspec:\n  type: openai_compat\n  endpoint: {url}\n  models: [{{name: m, contextWindow: 200000000, capabilities: [tools, vision, json_schema]}}]\n---\n"
    )
}

/// An agent of this name with the provider `p`, a prompt, and more of its `spec`, indented by two.
pub(crate) fn agent(name: &str, prompt: &str, more: &str) -> String {
    let prompt = serde_json::to_string(prompt).unwrap();
    format!(
        "apiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  model: {{candidates: [{{providerRef: {{name: p}}}}]}}\n  prompts: {{system: {prompt}}}\n{more}---\n"
    )
}

/// Provider `p`, and agent `a` with the polite prompt.
pub(crate) fn one_agent(url: &str, more: &str) -> String {
    provider(url) + &agent("a", "You are a.", more)
}

/// Tools that templates and models can reach.
pub(crate) const TOOLS: &str =
    "  tools:\n    - {name: json_transform, type: internal}\n    - {name: calculator, type: internal}\n";
/// A memory of conversations in the pod.
pub(crate) const MEMORY: &str = "  memory: {conversational: {backend: in_memory}}\n";
/// Rules that look for personal data on both sides.
pub(crate) const PII: &str = "  guardrails: {input: [{type: pii_detection}], output: [{type: pii_detection}]}\n";
