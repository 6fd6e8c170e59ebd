//! `astromesh-bench`: what a call costs in `agent-pod`, beside a bare proxy in the same run.
//!
//! ```text
//!  core 0                          core 1
//!  load generator ── requests ──►  subject: agent-pod, or the bare proxy
//!  mock LLM       ◄── calls ─────  one at a time
//! ```
//!
//! CPU time is the kernel's account of the subject's threads. Wall time on a shared machine is mostly wake-ups, so goals
//! are held against CPU time and against the bare proxy of the same round.

mod args;
mod bench;
mod calls;
mod load;
mod manifests;
mod mock;
mod process;
mod proxy;
mod report;
mod sockets;
mod statistics;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match args::Args::parse().run() {
        Ok(code) => code,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "astromesh-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
