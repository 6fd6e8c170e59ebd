//! The binary: parse, run, exit code.

use std::process::ExitCode;

use astromesh_operator::args::Args;
use clap::Parser as _;

fn main() -> ExitCode {
    let args = Args::parse();
    // The one TLS provider; rustls asks for an explicit choice.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return fail("a TLS provider is installed already");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("failed to start the runtime: {error}")),
    };
    match runtime.block_on(args.run()) {
        Ok(code) => code,
        Err(error) => fail(&format!("{error:#}")),
    }
}

#[expect(clippy::print_stderr, reason = "logging may not have started")]
fn fail(message: &str) -> ExitCode {
    eprintln!("astromesh-operator: {message}");
    ExitCode::FAILURE
}
