//! `agent-pod render`: one template, in a process that may die of it.

use std::io;
use std::process::ExitCode;

use agent_pod_runtime::sandbox::{Sandboxes, render_one};
use anyhow::Context as _;

/// What makes this program render one template.
const COMMAND: &str = "render";

/// Sandboxes of processes of this program.
pub(crate) fn sandboxes() -> anyhow::Result<Sandboxes> {
    let program = std::env::current_exe().context("failed to find this program itself, which renders templates")?;
    Ok(Sandboxes::processes(&program, &[COMMAND]))
}

/// Renders what is on standard input to standard output.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    render_one(io::stdin().lock(), io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}
