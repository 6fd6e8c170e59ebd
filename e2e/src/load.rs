//! Steady calls in the background, while a test changes things.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::Caller;

/// More calls at the same time mean that the agent does not keep up: further ones count as failed.
const IN_FLIGHT_MAX: usize = 64;
/// No test loads longer than this many calls.
const CALLS_MAX: usize = 20_000;
/// As many failures as a reader needs to see what is wrong.
const TEXTS_MAX: usize = 5;

/// Calls under way; see [`Load::stop`].
pub struct Load {
    stop: oneshot::Sender<()>,
    task: JoinSet<LoadReport>,
}

/// What came of the calls.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// All calls.
    pub calls: usize,
    /// Those without an answer.
    pub failed: usize,
    /// What the first of them said.
    pub failures: Vec<String>,
    /// When each different answer came first.
    pub first_seen: HashMap<String, Instant>,
}

impl Load {
    /// Calls `per_second` times a second from now on.
    #[must_use]
    pub fn start(caller: &Caller, per_second: u32) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(run(caller.clone(), Duration::from_secs(1) / per_second, stopped));
        Self { stop, task }
    }

    /// Ends the calls, waits for those under way, and reports.
    ///
    /// # Errors
    /// When the load could not be run.
    pub async fn stop(mut self) -> anyhow::Result<LoadReport> {
        drop(self.stop);
        self.task.join_next().await.context("the load runs")?.context("the load has panicked")
    }
}

impl LoadReport {
    /// That there were calls, and none of them failed.
    ///
    /// # Errors
    /// When not: with what the first ones said.
    pub fn expect_no_failure(&self) -> anyhow::Result<()> {
        let Self { calls, failed, failures, .. } = self;
        anyhow::ensure!(*calls > 0, "there was no load");
        anyhow::ensure!(*failed == 0, "{failed} of {calls} calls failed: {failures:#?}");
        Ok(())
    }

    fn add(&mut self, began: Instant, answer: anyhow::Result<String>) {
        match answer {
            Ok(text) => {
                let now = Instant::now();
                self.first_seen.entry(text).or_insert(now);
            }
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < TEXTS_MAX {
                    self.failures.push(format!("after {:?}: {error:#}", began.elapsed()));
                }
            }
        }
    }
}

async fn run(caller: Caller, every: Duration, mut stopped: oneshot::Receiver<()>) -> LoadReport {
    let mut report = LoadReport::default();
    let mut calls = JoinSet::new();
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while report.calls < CALLS_MAX {
        tokio::select! {
            _ = &mut stopped => break,
            Some(ended) = calls.join_next() => record(&mut report, ended),
            _ = ticks.tick() => {
                report.calls += 1;
                if calls.len() < IN_FLIGHT_MAX {
                    calls.spawn(call(caller.clone()));
                } else {
                    report.add(Instant::now(), Err(anyhow::anyhow!("{IN_FLIGHT_MAX} calls are waiting already")));
                }
            }
        }
    }
    while let Some(ended) = calls.join_next().await {
        record(&mut report, ended);
    }
    report
}

type Called = (Instant, anyhow::Result<String>);

async fn call(caller: Caller) -> Called {
    let began = Instant::now();
    let answer = caller.ask("Are you there?").await.and_then(|answer| Ok(answer.text()?.to_owned()));
    (began, answer)
}

fn record(report: &mut LoadReport, ended: Result<Called, tokio::task::JoinError>) {
    match ended {
        Ok((began, answer)) => report.add(began, answer),
        Err(error) => report.add(Instant::now(), Err(error.into())),
    }
}
