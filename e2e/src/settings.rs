//! Where the tests find what they need; the one place that reads the environment.
//!
//! | variable | what it says |
//! | --- | --- |
//! | `KUBECONFIG` | the cluster, read by kube, `kubectl` and `helm` alike |
//! | `ASTROMESH_E2E_LLM` | base URL of a real model server that pods can reach |
//! | `ASTROMESH_E2E_HOST` | address of this machine that pods can reach, for scripted model servers |
//! | `ASTROMESH_E2E_BIN` | folder with the binary `agent-pod` |
//! | `ASTROMESH_E2E_CHARTS` | folder with the packaged charts, `*.tgz` |
//! | `ASTROMESH_E2E_VALUES` | Helm values of the operator's chart that name the images |
//! | `KUBECTL`, `HELM` | the programs, if they are not in the path |

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context as _;

/// Base URL of a real model server.
///
/// # Errors
/// When it is not set.
pub fn llm() -> anyhow::Result<String> {
    required("ASTROMESH_E2E_LLM", "the base URL of a real model server that pods can reach, see e2e/llm/start")
}

/// Address of this machine that pods can reach.
///
/// # Errors
/// When it is not set, or no address.
pub fn host() -> anyhow::Result<IpAddr> {
    let text = required("ASTROMESH_E2E_HOST", "an address of this machine that pods can reach")?;
    text.parse().with_context(|| format!("ASTROMESH_E2E_HOST is `{text}`, which is no address"))
}

/// The binary `agent-pod`.
///
/// # Errors
/// When the folder is not set, or does not hold it.
pub fn agent_pod() -> anyhow::Result<PathBuf> {
    let folder = required("ASTROMESH_E2E_BIN", "the folder with the binary `agent-pod`, for example target/image")?;
    let binary = PathBuf::from(folder).join("agent-pod");
    anyhow::ensure!(binary.is_file(), "`{}` does not exist; build agent-pod first", binary.display());
    Ok(binary)
}

/// The packaged chart of this name.
///
/// # Errors
/// When the folder is not set, or does not hold exactly one version of it.
pub fn chart(name: &str) -> anyhow::Result<PathBuf> {
    let folder = required("ASTROMESH_E2E_CHARTS", "the folder with the packaged charts (`helm package`)")?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("failed to read `{folder}`"))? {
        let path = entry?.path();
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        // `astromesh-0.1.0.tgz`, and not `astromesh-crds-0.1.0.tgz`.
        let version =
            file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')).and_then(|v| v.strip_suffix(".tgz"));
        if version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit())) {
            found.push(path);
        }
    }
    anyhow::ensure!(found.len() == 1, "one package of the chart `{name}` is needed in `{folder}`, found {found:?}");
    found.pop().context("one was found")
}

/// Helm values that name the images.
///
/// # Errors
/// When they are not set.
pub fn values() -> anyhow::Result<String> {
    required("ASTROMESH_E2E_VALUES", "the Helm values file with the images of this build")
}

/// The program `helm`.
#[must_use]
pub fn helm() -> String {
    variable("HELM").unwrap_or_else(|| "helm".to_owned())
}

/// The program `kubectl`.
#[must_use]
pub fn kubectl() -> String {
    variable("KUBECTL").unwrap_or_else(|| "kubectl".to_owned())
}

fn required(name: &str, what: &str) -> anyhow::Result<String> {
    variable(name).with_context(|| format!("set {name} to {what}; `make e2e` sets everything"))
}

#[expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
