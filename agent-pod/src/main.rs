//! `agent-pod`: the runtime of agents.

mod allocator;
mod args;
mod import;
mod render;
mod serve;
mod telemetry;
mod validate;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // The one TLS provider of the process; it fails only when another one is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    match args::Args::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // Logging may not be set up yet, so this goes to standard error as it is.
            drop(writeln!(std::io::stderr(), "agent-pod: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
