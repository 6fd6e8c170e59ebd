//! Logs: one JSON object a line, or text for people.

use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use astromesh_logs::Logs;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people at a terminal.
    Text,
}

/// Sends logs to standard error from now on. Nobody who logs ever waits for whoever reads them.
pub(crate) fn init(filter: &str, format: LogFormat) -> anyhow::Result<Logs> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("`{filter}` is not a log filter; write for example `info`"))?;
    // Beside the lock of the standard library's, which would be held while nobody reads.
    let out = std::io::stderr().as_fd().try_clone_to_owned().context("failed to open standard error")?;
    let logs = Logs::to(File::from(out)).context("failed to start the writer of logs")?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(logs.clone());
    match format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init(),
    }
    .context("logging is set up twice")?;
    logs.take_panics();
    Ok(logs)
}
