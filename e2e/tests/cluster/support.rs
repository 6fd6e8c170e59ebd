//! What many tests begin with.

use std::time::Duration;

use astromesh_e2e::manifests::{agent, provider};
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{Caller, ScriptedLlm, TempNs};
use serde_json::Value;

/// The bound of the issue for drift.
pub(crate) const RESTORED_WITHIN: Duration = Duration::from_secs(10);

/// The provider `scripted` of a server with this script.
pub(crate) async fn scripted(ns: &TempNs, script: Script) -> anyhow::Result<ScriptedLlm> {
    let llm = ScriptedLlm::start(script).await?;
    ns.apply(provider("scripted", &llm.endpoint())).await?;
    Ok(llm)
}

/// The agent `support` with its system prompt, which is what it answers with.
pub(crate) fn support(system_prompt: &str) -> Value {
    agent("support", "scripted", system_prompt)
}

/// `agent` is applied, ready, and answers with its system prompt.
pub(crate) async fn echoing(ns: &TempNs, agent: Value) -> anyhow::Result<(ScriptedLlm, Caller)> {
    let name = agent["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let llm = scripted(ns, Script::EchoSystem).await?;
    ns.apply(agent).await?;
    ns.agent_ready(&name).await?;
    Ok((llm, ns.caller(&name).await?))
}

/// The joined contents of the tokens among `events`.
pub(crate) fn joined_tokens(events: &[Value]) -> String {
    events.iter().filter(|event| event["type"] == "token").filter_map(|event| event["content"].as_str()).collect()
}

/// Times in milliseconds: the middle, the ninth of ten, and the longest.
pub(crate) fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| {
        times.get((times.len() * part / 100).min(times.len().saturating_sub(1))).map_or(0, Duration::as_millis)
    };
    format!("p50 {} ms, p90 {} ms, max {} ms, of {}", at(50), at(90), at(100), times.len())
}
