//! The runtime without a cluster: `agent-pod serve --manifests`.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::{eventually, manifests, settings};

/// A process that serves a folder of manifests. Dropping it ends it.
pub struct Standalone {
    admin: SocketAddr,
    // They live as long as the process is needed.
    _log: Lines<BufReader<ChildStderr>>,
    _process: Child,
    _folder: TempDir,
}

impl Standalone {
    /// Serves these objects on free ports of the loopback interface.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(objects: &[Value]) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        std::fs::write(folder.path().join("manifests.yaml"), manifests::to_yaml(objects)?)?;
        let mut process = Command::new(settings::agent_pod()?)
            .arg("serve")
            .arg("--manifests")
            .arg(folder.path())
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("failed to run agent-pod")?;
        let log = process.stderr.take().context("standard error is a pipe")?;
        let mut log = BufReader::new(log).lines();
        let admin = tokio::time::timeout(Duration::from_secs(20), admin_address(&mut log))
            .await
            .context("agent-pod does not say where it listens")??;
        Ok(Self { admin, _log: log, _process: process, _folder: folder })
    }

    /// The revision that it serves.
    ///
    /// # Errors
    /// When it serves none in time.
    pub async fn revision(&self) -> anyhow::Result<String> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        eventually("standalone serves a revision", Duration::from_secs(20), async || {
            let response = http.get(format!("http://{}/internal/state", self.admin)).send().await?;
            let state: Value = response.error_for_status()?.json().await?;
            Ok(state["revision"].as_str().map(str::to_owned))
        })
        .await
    }
}

/// The log is one JSON object a line; one of the first names the addresses.
async fn admin_address(log: &mut Lines<BufReader<ChildStderr>>) -> anyhow::Result<SocketAddr> {
    let mut said = String::new();
    while let Some(line) = log.next_line().await? {
        let entry: Value = serde_json::from_str(&line).unwrap_or_default();
        if let Some(address) = entry["admin"].as_str() {
            return address.parse().with_context(|| format!("`{address}` is no address"));
        }
        said = format!("{said}\n{line}");
    }
    anyhow::bail!("agent-pod has ended: {said}")
}
