//! Logs: one line per event, as JSON or text, on standard output.

use std::error::Error;
use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use astromesh_logs::Logs;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For machines.
    Json,
    /// For people.
    Text,
}

/// Starts logging. Nobody who logs ever waits for whoever reads the lines.
///
/// # Errors
/// When logging has been started before, or standard output is closed.
pub fn init(filter: &str, format: LogFormat) -> anyhow::Result<Logs> {
    let out = std::io::stdout().as_fd().try_clone_to_owned().context("failed to open standard output")?;
    let logs = Logs::to(File::from(out)).context("failed to start the writer of logs")?;
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_target(false);
    let builder = builder.with_ansi(std::io::stdout().is_terminal()).with_writer(logs.clone());
    match format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
        }
        LogFormat::Text => builder.finish().try_init(),
    }
    .context("logging has been started before")?;
    logs.take_panics();
    Ok(logs)
}

/// An error with its sources, in one line.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
