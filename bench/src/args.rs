//! The command line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::bench::{self, Settings};
use crate::calls::{self, run_events};
use crate::load::{Load, drive};
use crate::manifests::manifests;
use crate::{mock, process, proxy, report};

/// Measures what a call costs in agent-pod, beside a bare proxy in the same run.
#[derive(Debug, Parser)]
#[command(name = "astromesh-bench", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the benchmark.
    Run(RunArgs),
    /// Serve the scripted model server alone.
    Mock(MockArgs),
    /// Serve the bare proxy alone.
    Proxy(ProxyArgs),
    /// Print the manifests of the measured pod, to profile it by hand.
    Manifests(ManifestsArgs),
    /// Send runs to a pod that serves these manifests.
    Load(LoadArgs),
}

#[derive(Debug, ClapArgs)]
struct RunArgs {
    /// The agent-pod to measure.
    #[arg(long, value_name = "FILE")]
    agent_pod: PathBuf,
    /// Rounds; each measures every subject once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Requests of each measurement of a round.
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    requests: u32,
    /// One million requests for the leak gate instead of 200,000.
    #[arg(long)]
    long: bool,
    /// No leak gate.
    #[arg(long, conflicts_with = "long")]
    short: bool,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
    /// Exit code 1 if a goal is missed.
    #[arg(long)]
    gate: bool,
}

#[derive(Debug, ClapArgs)]
struct MockArgs {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Wait before an answer, in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Wait between chunks of a stream, in milliseconds.
    #[arg(long, default_value_t = 2)]
    pace_ms: u64,
}

#[derive(Debug, ClapArgs)]
struct ProxyArgs {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Address of the server to pass calls on to.
    #[arg(long)]
    to: SocketAddr,
}

#[derive(Debug, ClapArgs)]
struct ManifestsArgs {
    /// Address of the mock.
    #[arg(long)]
    llm: SocketAddr,
}

#[derive(Debug, ClapArgs)]
struct LoadArgs {
    /// Address of the pod.
    #[arg(long)]
    to: SocketAddr,
    /// The agent: `json`, or one that streams, `stream-21`.
    #[arg(long, default_value = "json")]
    agent: String,
    /// How many runs.
    #[arg(long, default_value_t = 50_000)]
    requests: u32,
    /// How many of them at a time.
    #[arg(long, default_value_t = 32)]
    connections: u32,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => args.run(),
            Command::Mock(MockArgs { listen, delay_ms, pace_ms }) => {
                single_threaded()?.block_on(mock::serve(listen, mock::Pace::of_millis(delay_ms, pace_ms)))
            }
            // As agent-pod runs, so that both pay for the same scheduler.
            Command::Proxy(ProxyArgs { listen, to }) => {
                let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build();
                tokio.context("failed to start the async runtime")?.block_on(proxy::serve(listen, to))
            }
            Command::Manifests(ManifestsArgs { llm }) => {
                std::io::stdout().lock().write_all(manifests(llm).as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Load(LoadArgs { to, agent, requests, connections }) => {
                let call = if agent.starts_with("stream") { run_events(&agent) } else { calls::run(&agent) };
                single_threaded()?.block_on(drive(to, &[call], Load { requests, connections, pace: None }))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl RunArgs {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Self { agent_pod, rounds, requests, long, short, json, gate } = self;
        anyhow::ensure!(agent_pod.is_file(), "there is no `{}`; `make bench` builds it", agent_pod.display());
        let cores = process::Cores::claim();
        let leak_requests = match (short, long) {
            (true, _) => None,
            (false, false) => Some(200_000),
            (false, true) => Some(1_000_000),
        };
        let settings = Settings { agent_pod, rounds, requests, leak_requests, cores };
        let report = single_threaded()?.block_on(bench::run(&settings))?;
        report::print(&report, json)?;
        Ok(if gate && report.missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

fn single_threaded() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the async runtime")
}
