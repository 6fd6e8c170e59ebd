//! The releases of the default installation.

use std::fs;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;

use anyhow::Context as _;
use astromesh_e2e::command::Output;
use astromesh_e2e::manifests::{agent, provider};
use astromesh_e2e::operator::NAMESPACE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{Caller, ScriptedLlm, TempNs, helm, settings};
use futures::FutureExt as _;
use serde_json::Value;
use tempfile::TempDir;

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

/// Upgrades the definitions to what an older release may have had: Agents without `spec.suspend`.
pub(crate) async fn former_definitions() -> anyhow::Result<()> {
    let chart = TempDir::new()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/astromesh-crds");
    for folder in ["", "files", "templates"] {
        fs::create_dir_all(chart.path().join(folder))?;
        for entry in fs::read_dir(source.join(folder))? {
            let path = entry?.path();
            if let Some(file) = path.file_name().filter(|_| path.is_file()) {
                fs::copy(&path, chart.path().join(folder).join(file))?;
            }
        }
    }
    let agents = chart.path().join("files/agents.yaml");
    let mut definition: Value = serde_saphyr::from_str(&fs::read_to_string(&agents)?)?;
    let fields = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let fields = definition.pointer_mut(fields).and_then(Value::as_object_mut).context("an Agent has fields")?;
    fields.remove("suspend").context("an Agent can be suspended")?;
    fs::write(&agents, serde_saphyr::to_string(&definition)?)?;
    let chart = chart.path().display().to_string();
    helm_here(&["upgrade", CRDS, &chart, "--wait", "--timeout", "60s"]).await?.text()?;
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
