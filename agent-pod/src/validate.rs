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
        writeln!(out, "valid: {}, {}", count(report.agents, "agent"), count(report.providers, "provider"))?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{}", count(report.problems.len(), "problem"))?;
    Ok(ExitCode::FAILURE)
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
