//! Starting `agent-pod`.

use std::path::Path;

use anyhow::Context as _;

use crate::process::{Cores, Process, free_address};

/// An `agent-pod` that can be started.
pub(super) struct Pod<'a> {
    pub(super) program: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) cores: Cores,
}

impl Pod<'_> {
    /// Starts it, and waits until it is ready.
    pub(super) async fn start(&self) -> anyhow::Result<Process> {
        let (listen, admin) = (free_address()?, free_address()?);
        let folder = self.folder.display().to_string();
        let arguments = [
            "serve",
            "--manifests",
            &folder,
            "--listen",
            &listen.to_string(),
            "--admin-listen",
            &admin.to_string(),
            "--log",
            "warn",
        ]
        .map(str::to_owned);
        let started = Process::start(self.program, &arguments, Some(self.cores), (listen, (admin, "/readyz"))).await;
        started.context("agent-pod")
    }

    /// Starts it so many times, and gives each start's milliseconds until it was ready.
    pub(super) async fn starts(&self, count: u32) -> anyhow::Result<Vec<f64>> {
        let mut starts = Vec::new();
        for _ in 0..count {
            starts.push(self.start().await?.started_in.as_secs_f64() * 1e3);
        }
        Ok(starts)
    }
}
