//! The benchmark: starts the subjects, measures them in turn, and makes the report.

mod memory;
mod pod;
mod rounds;

use std::path::PathBuf;

use anyhow::Context as _;

use crate::manifests::manifests;
use crate::process::{Cores, Process, free_address};
use crate::report::Report;
use pod::Pod;

pub(crate) use memory::Memory;
pub(crate) use rounds::Rounds;

/// What is measured, and how much of it.
pub(crate) struct Settings {
    pub(crate) agent_pod: PathBuf,
    pub(crate) rounds: u32,
    pub(crate) requests: u32,
    /// Requests of the leak gate; none: no leak gate.
    pub(crate) leak_requests: Option<u32>,
    pub(crate) cores: Cores,
}

/// The processes under measurement.
struct Subjects {
    pod: Process,
    proxy: Process,
}

/// Runs it all.
pub(crate) async fn run(settings: &Settings) -> anyhow::Result<Report> {
    let own = std::env::current_exe().context("failed to find this program")?;
    let llm = free_address()?;
    let arguments = ["mock", "--listen", &llm.to_string()].map(str::to_owned);
    let mock = Process::start(&own, &arguments, None, (llm, (llm, "/"))).await.context("the mock LLM")?;

    let address = free_address()?;
    let arguments = ["proxy", "--listen", &address.to_string(), "--to", &llm.to_string()].map(str::to_owned);
    let proxy = Process::start(&own, &arguments, Some(settings.cores), (address, (address, "/readyz"))).await;
    let proxy = proxy.context("the bare proxy")?;

    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("bench.yaml"), manifests(llm))?;
    let program = Pod { program: &settings.agent_pod, folder: folder.path(), cores: settings.cores };
    let starts = program.starts(settings.rounds).await?;
    let subjects = Subjects { pod: program.start().await?, proxy };

    let idle = memory::idle(&subjects).await?;
    let rounds = rounds::run(&subjects, settings).await?;
    let open = memory::open(&subjects, &program.start().await?).await?;
    let leak = match settings.leak_requests {
        Some(requests) => Some(memory::growth(&subjects.pod, requests).await?),
        None => None,
    };
    drop(mock);
    Ok(Report::new(settings, &rounds, &memory::Memory { idle, open, leak }, &starts))
}
