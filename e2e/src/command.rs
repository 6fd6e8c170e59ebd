//! The programs that users run.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::settings;

/// Longer than any command of a test waits by itself.
const DEADLINE: Duration = Duration::from_secs(240);

/// What came of a command.
#[derive(Debug)]
pub struct Output {
    /// The command line.
    pub command: String,
    /// The exit code; none for a program that was killed.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Output {
    /// Whether it succeeded.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Its output.
    ///
    /// # Errors
    /// When it failed: with everything that it said.
    pub fn text(self) -> anyhow::Result<String> {
        anyhow::ensure!(self.success(), "`{}` failed ({:?}): {}{}", self.command, self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }

    /// What it said when it was refused.
    ///
    /// # Errors
    /// When it succeeded.
    pub fn refusal(self) -> anyhow::Result<String> {
        anyhow::ensure!(!self.success(), "`{}` was to be refused, but succeeded: {}", self.command, self.stdout);
        Ok(self.stderr)
    }
}

/// Runs `kubectl`.
///
/// # Errors
/// When it cannot be run, or does not end.
pub async fn kubectl(args: &[&str]) -> anyhow::Result<Output> {
    run(&settings::kubectl(), args, None).await
}

/// Runs `kubectl` with `input` as its standard input.
///
/// # Errors
/// When it cannot be run, or does not end.
pub async fn kubectl_with(args: &[&str], input: &str) -> anyhow::Result<Output> {
    run(&settings::kubectl(), args, Some(input)).await
}

/// Runs `helm`.
///
/// # Errors
/// When it cannot be run, or does not end.
pub async fn helm(args: &[&str]) -> anyhow::Result<Output> {
    run(&settings::helm(), args, None).await
}

async fn run(program: &str, args: &[&str], input: Option<&str>) -> anyhow::Result<Output> {
    let command = format!("{program} {}", args.join(" "));
    let running = async {
        let mut child = Command::new(program)
            .args(args)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to run `{command}`"))?;
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(input.as_bytes()).await.with_context(|| format!("`{command}` did not read its input"))?;
        }
        child.wait_with_output().await.with_context(|| format!("failed to wait for `{command}`"))
    };
    let output = tokio::time::timeout(DEADLINE, running)
        .await
        .with_context(|| format!("`{command}` has not ended after {DEADLINE:?}"))??;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { command, code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) })
}
