//! Logs: one line per event, as JSON or text, on standard output.

use std::error::Error;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For machines.
    Json,
    /// For people.
    Text,
}

/// Starts logging.
///
/// # Errors
/// When logging has been started before.
pub fn init(filter: &str, format: LogFormat) -> Result<(), TryInitError> {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_target(false);
    match format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()
        }
        LogFormat::Text => builder.finish().try_init(),
    }
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
