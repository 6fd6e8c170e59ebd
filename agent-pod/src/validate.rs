//! `agent-pod validate`: prints every problem.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use agent_pod_runtime::validate;

/// Prints each problem on a line of its own, then a summary; exit code 1 if there is any.
pub(crate) fn run(files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let report = validate::validate(files);
    let mut out = std::io::stdout().lock();
    for problem in &report.problems {
        writeln!(out, "{problem}")?;
    }
    if report.problems.is_empty() {
        writeln!(out, "valid: {} agents, {} providers", report.agents, report.providers)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{} problems", report.problems.len())?;
    Ok(ExitCode::FAILURE)
}
