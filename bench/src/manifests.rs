//! The manifests of the measured pod: one agent for each script of the mock, and fillers up to fifty.

use std::net::SocketAddr;

/// The agents that are called: each calls the model of its name.
pub(crate) const CALLED: [&str; 5] = ["json", "tool", "gate", "stream-1", "stream-21"];

/// Agents of the pod, called and idle ones.
const AGENTS: usize = 50;

/// One file with everything.
pub(crate) fn manifests(llm: SocketAddr) -> String {
    let models = CALLED
        .map(|model| format!("{{name: {model}, price: {{inputPerMillion: \"0.15\", outputPerMillion: \"0.60\"}}}}"))
        .join(", ");
    let mut text = format!(
        "apiVersion: astromesh.io/v1alpha1\nkind: Provider\nmetadata: {{name: mock}}\n\
         spec: {{type: openai_compat, maxConcurrentRequests: 2000, endpoint: \"http://{llm}\", models: [{models}]}}\n"
    );
    let fillers = (CALLED.len()..AGENTS).map(|number| (format!("filler-{number}"), CALLED[0]));
    for (name, model) in CALLED.map(|model| (model.to_owned(), model)).into_iter().chain(fillers) {
        text.push_str(&format!(
            "---\napiVersion: astromesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: {name}}}\nspec:\n  \
             identity: {{displayName: Orders, description: Answers questions about orders}}\n  \
             model: {{candidates: [{{providerRef: {{name: mock}}, model: {model}, parameters: {{temperature: 0.2, maxTokens: 120}}}}]}}\n  \
             prompts: {{system: \"You are {{{{ identity.displayName }}}}, a friendly assistant. Today is {{{{ today }}}}.\"}}\n  \
             runtime: {{maxConcurrentRuns: 2000}}\n"
        ));
    }
    text
}
