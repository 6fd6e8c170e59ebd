//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use astromesh_e2e::Cluster;
use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::fleet::Fleet;
use crate::measure::{self, Settings};
use crate::report::Report;
use crate::{pods, report};

/// Measures the operator with thousands of Agents, whose pods kwok plays.
#[derive(Debug, Parser)]
#[command(name = "astromesh-scale", version, about)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and print a table.
    Measure(MeasureArgs),
    /// Answer for the pods that kwok plays.
    Pods(PodsArgs),
    /// Delete everything that `measure` makes, also what an interrupted one has left.
    Clean,
}

#[derive(Debug, ClapArgs)]
struct MeasureArgs {
    /// How many Agents; several sizes are separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "500,2000,5000", value_parser = clap::value_parser!(u32).range(1..=7_000))]
    agents: Vec<u32>,
    /// Single edits, one after the other.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    edits: u32,
    /// Seconds without a change before anything at rest is measured.
    #[arg(long, default_value_t = 60)]
    quiet: u64,
    /// Seconds for which requests and CPU at rest are counted.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    window: u64,
    /// Leave the operator's pod alone: no restart is measured, and memory is that of a process with a past.
    #[arg(long)]
    no_restart: bool,
    /// Base URL of the Providers' server: that of `pods`, at an address that no pod has.
    #[arg(long)]
    server: String,
    /// Write the figures to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Exit code 1 if a goal is missed.
    #[arg(long)]
    gate: bool,
}

#[derive(Debug, ClapArgs)]
struct PodsArgs {
    /// Where to listen: on every address, at the port that the operator asks.
    #[arg(long, default_value = "0.0.0.0:8081")]
    listen: SocketAddr,
    /// Milliseconds that a pod takes to load a document.
    #[arg(long, default_value_t = 300)]
    load_ms: u64,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
        tokio.context("failed to start the async runtime")?.block_on(Box::pin(self.command.run()))
    }
}

impl Command {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let Cluster { client } = Cluster::connect().await?;
        match self {
            Self::Measure(args) => return args.run(client).await,
            Self::Pods(PodsArgs { listen, load_ms }) => {
                pods::serve(client, listen, Duration::from_millis(load_ms)).await?;
            }
            Self::Clean => Fleet::new(client, String::new()).clean().await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl MeasureArgs {
    async fn run(self, client: kube::Client) -> anyhow::Result<ExitCode> {
        let Self { agents, edits, quiet, window, no_restart, server, json, gate } = self;
        let settings = Settings {
            edits,
            quiet: Duration::from_secs(quiet),
            window: Duration::from_secs(window),
            restart: !no_restart,
        };
        let fleet = Fleet::new(client, server);
        let mut report = Report::default();
        for size in agents {
            report.add(measure::size(&fleet, size, &settings).await?);
            // After each size: a run that breaks off later has told what it knows.
            report::print(&report, json.as_deref())?;
        }
        Ok(if gate && report.missed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
