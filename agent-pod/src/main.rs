//! `agent-pod`: the runtime of agents.

mod allocator;
mod args;
mod import;
mod render;
mod serve;
mod telemetry;
mod validate;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // The one TLS provider of the process; it fails only when another one is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    match args::Args::parse().run() {
        Ok(code) => code,
        // Whoever reads has seen enough, as with `| head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            // Logging may not be set up yet, so this goes to standard error as it is.
            drop(writeln!(std::io::stderr(), "agent-pod: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
