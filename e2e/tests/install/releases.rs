//! The releases of the default installation.

use std::panic::{AssertUnwindSafe, resume_unwind};

use astromesh_e2e::command::Output;
use astromesh_e2e::manifests::{agent, provider};
use astromesh_e2e::operator::NAMESPACE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{Caller, ScriptedLlm, TempNs, helm, settings};
use futures::FutureExt as _;

pub(crate) const CRDS: &str = "astromesh-crds";
pub(crate) const OPERATOR: &str = "astromesh";

/// Runs `helm` in the namespace of the releases.
pub(crate) async fn helm_here(args: &[&str]) -> anyhow::Result<Output> {
    let mut all = args.to_vec();
    all.extend(["--namespace", NAMESPACE]);
    helm(&all).await
}

/// `helm install` or `helm upgrade` of the definitions.
pub(crate) async fn definitions(verb: &[&str]) -> anyhow::Result<()> {
    let chart = settings::chart(CRDS)?.display().to_string();
    let mut args = verb.to_vec();
    args.extend([CRDS, &chart, "--wait", "--timeout", "60s"]);
    helm_here(&args).await?.text()?;
    Ok(())
}

/// `helm install` or `helm upgrade` of the operator, with more values than those of the images.
pub(crate) async fn operator(verb: &[&str], more: &[&str]) -> anyhow::Result<()> {
    let (chart, values) = (settings::chart(OPERATOR)?.display().to_string(), settings::values()?);
    let mut args = verb.to_vec();
    args.extend([OPERATOR, &chart, "--values", &values, "--wait", "--timeout", "120s"]);
    args.extend(more);
    helm_here(&args).await?.text()?;
    Ok(())
}

pub(crate) async fn uninstall(release: &str) -> anyhow::Result<()> {
    helm_here(&["uninstall", release, "--wait", "--timeout", "60s"]).await?.text()?;
    Ok(())
}

/// Runs a test that changes the releases, and brings the default installation back afterwards, come what may.
pub(crate) async fn restoring(test: impl AsyncFnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let result = AssertUnwindSafe(test()).catch_unwind().await;
    definitions(&["upgrade", "--install"]).await?;
    operator(&["upgrade", "--install"], &[]).await?;
    match result {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}

/// The agent `support`, which answers with its system prompt, without waiting for it.
pub(crate) async fn apply_support(ns: &TempNs, system_prompt: &str) -> anyhow::Result<ScriptedLlm> {
    let llm = ScriptedLlm::start(Script::EchoSystem).await?;
    ns.apply(provider("scripted", &llm.endpoint())).await?;
    ns.apply(agent("support", "scripted", system_prompt)).await?;
    Ok(llm)
}

/// The same, ready, and its caller.
pub(crate) async fn support(ns: &TempNs, system_prompt: &str) -> anyhow::Result<(ScriptedLlm, Caller)> {
    let llm = apply_support(ns, system_prompt).await?;
    ns.agent_ready("support").await?;
    Ok((llm, ns.caller("support").await?))
}
