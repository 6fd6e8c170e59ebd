//! `astromesh-scale`: what the operator needs for thousands of Agents. Called by `e2e/scale`, which brings up all around it.
//!
//! ```text
//!  measure ── Agents, edits ──► API server ◄──── operator, in its pod, with the limits of the chart
//!     └── watches when what holds ──┘  ▲                │ GET <pod>:8081/internal/state
//!                      kwok: nodes and pods without      ▼
//!                      a kubelet, with addresses ··· pods: one server for the addresses of all of them
//! ```
//!
//! Everything is real but the agents' pods. kwok plays their nodes: it gives each pod an address and says that it runs. The
//! machine takes those addresses for its own, and [`pods`] answers there for each pod what `agent-pod` would: it serves the
//! document that was in the ConfigMap when the pod started, or when its annotation was changed last, 300 ms later.

mod args;
mod fleet;
mod measure;
mod operator;
mod pods;
mod report;
mod requests;
mod statistics;
mod view;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match args::Args::parse().run() {
        Ok(code) => code,
        Err(error) => {
            say(&format!("astromesh-scale: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells whoever waits what goes on.
fn say(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
