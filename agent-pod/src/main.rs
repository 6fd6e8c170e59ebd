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
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return misused(&error),
    };
    match args.run() {
        Ok(code) => code,
        // Whoever reads has seen enough, as with `| head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::FAILURE,
        Err(error) => {
            // Logging may not be set up yet, so this goes to standard error as it is.
            drop(writeln!(io::stderr(), "agent-pod: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Help, or what is wrong with the arguments: at length, and in the last line once more, because an operator shows that one.
fn misused(error: &clap::Error) -> ExitCode {
    drop(error.print());
    if error.use_stderr() {
        let text = error.render().to_string();
        let cause =
            text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
        drop(writeln!(io::stderr(), "agent-pod: {}", cause.trim_start_matches("error: ")));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
