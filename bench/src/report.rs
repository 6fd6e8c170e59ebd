//! The report: each figure beside its goal and the bare proxy's.

use std::io::Write as _;

use serde::Serialize;

use crate::bench::{Memory, Rounds, Settings};
use crate::process::Cores;
use crate::statistics::{median, median_ratio};

/// The figures of a benchmark.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    rounds: u32,
    requests: u32,
    /// Whether subject and generator had a core each.
    pinned: bool,
    rows: Vec<Row>,
}

/// One figure.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    name: &'static str,
    unit: &'static str,
    value: f64,
    /// The bare proxy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    bare: Option<f64>,
    /// Against the bare proxy's; the median of the rounds' ratios.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// What it shall be at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

/// The most that a figure may be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Goal {
    /// In its own unit.
    AtMost(f64),
    /// So many times the bare proxy's.
    TimesBare(f64),
    /// So much more than the bare proxy's, in its own unit.
    OverBare(f64),
}

impl Row {
    /// A figure that only agent-pod has.
    fn alone(name: &'static str, unit: &'static str, values: &[f64]) -> Self {
        Self { name, unit, value: median(values), bare: None, ratio: None, goal: None, met: None }
    }

    /// A figure of both subjects.
    fn paired(name: &'static str, unit: &'static str, values: &[f64], bare: &[f64]) -> Self {
        let ratio = Some(median_ratio(values, bare));
        Self { name, unit, value: median(values), bare: Some(median(bare)), ratio, goal: None, met: None }
    }

    fn goal(mut self, goal: Goal) -> Self {
        let met = match goal {
            Goal::AtMost(most) => self.value <= most,
            Goal::TimesBare(times) => self.ratio.is_some_and(|ratio| ratio <= times),
            Goal::OverBare(more) => self.bare.is_some_and(|bare| self.value - bare <= more),
        };
        self.goal = Some(goal);
        self.met = Some(met);
        self
    }
}

impl Report {
    pub(crate) fn new(settings: &Settings, rounds: &Rounds, memory: &Memory, starts: &[f64]) -> Self {
        let Rounds { pod, bare, own } = rounds;
        let mut rows = vec![
            Row::paired("one-call run, CPU", "µs", &pod.json_cpu, &bare.json_cpu).goal(Goal::TimesBare(2.0)),
            Row::paired("one-call run at 2,000/s, CPU", "µs", &pod.paced_cpu, &bare.paced_cpu)
                .goal(Goal::TimesBare(2.0)),
            Row::paired("one-call run at c=1, p50", "ms", &pod.p50, &bare.p50).goal(Goal::OverBare(0.08)),
            Row::paired("one-call run at c=1, p99", "ms", &pod.p99, &bare.p99).goal(Goal::TimesBare(2.0)),
            Row::paired("stream, CPU of a chunk", "µs", &pod.chunk_cpu, &bare.chunk_cpu).goal(Goal::AtMost(18.0)),
            Row::paired("stream of 21 chunks, CPU", "µs", &pod.stream_cpu, &bare.stream_cpu),
            Row::alone("one-call run, model streams, CPU", "µs", &own.streamed_call),
            Row::alone("tool round trip (client tool, 2 calls), CPU", "µs", &own.tool).goal(Goal::AtMost(400.0)),
            Row::alone("WebSocket turn at c=1, CPU", "µs", &own.socket),
            Row::paired("memory, idle", "MiB", &[memory.idle.pod], &[memory.idle.bare]).goal(Goal::AtMost(25.0)),
            Row::paired("memory of an open stream", "KiB", &[memory.open.stream.pod], &[memory.open.stream.bare])
                .goal(Goal::AtMost(45.0)),
            Row::alone("memory of an idle WebSocket", "KiB", &[memory.open.socket]).goal(Goal::AtMost(20.0)),
            Row::alone("start to ready, 50 agents", "ms", starts).goal(Goal::AtMost(150.0)),
        ];
        let leak = memory.leak.map(|grown| Row::alone("memory growth under load", "MiB", &[grown]));
        rows.extend(leak.map(|row| row.goal(Goal::AtMost(5.0))));
        Self { rounds: settings.rounds, requests: settings.requests, pinned: settings.cores == Cores::Apart, rows }
    }

    /// Whether some goal is missed.
    pub(crate) fn missed(&self) -> bool {
        self.rows.iter().any(|row| row.met == Some(false))
    }
}

/// Writes the report to standard output.
pub(crate) fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let text = if json { serde_json::to_string_pretty(report)? + "\n" } else { table(report) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn table(report: &Report) -> String {
    let cores = if report.pinned { "subject on core 1, all else on core 0" } else { "not pinned to cores" };
    let mut text =
        format!("{} rounds of {} requests, {cores}; medians of the rounds\n\n", report.rounds, report.requests);
    let mut line = |name: &str, columns: [&str; 5]| {
        let [value, bare, ratio, goal, met] = columns;
        text.push_str(&format!("{name:<44} {value:>12} {bare:>12} {ratio:>7} {goal:>18}  {met}\n"));
    };
    line("", ["agent-pod", "bare proxy", "ratio", "goal", ""]);
    for row in &report.rows {
        let bare = row.bare.map(|bare| amount(bare, row.unit)).unwrap_or_default();
        let ratio = row.ratio.map(|ratio| format!("{ratio:.2}x")).unwrap_or_default();
        let goal = row.goal.map(|goal| goal.of(row.unit)).unwrap_or_default();
        let met = row.met.map_or("", |met| if met { "pass" } else { "MISS" });
        line(row.name, [&amount(row.value, row.unit), &bare, &ratio, &goal, met]);
    }
    text
}

fn amount(value: f64, unit: &str) -> String {
    if value.abs() < 10.0 { format!("{value:.2} {unit}") } else { format!("{value:.1} {unit}") }
}

impl Goal {
    fn of(self, unit: &str) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most} {unit}"),
            Self::TimesBare(times) => format!("≤ {times:.1}x bare"),
            Self::OverBare(more) => format!("≤ bare + {more} {unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Goal::AtMost(20.0), true)]
    #[case(Goal::AtMost(19.0), false)]
    #[case(Goal::TimesBare(2.0), true)]
    #[case(Goal::TimesBare(1.9), false)]
    #[case(Goal::OverBare(10.0), true)]
    #[case(Goal::OverBare(9.0), false)]
    fn a_goal_is_met_up_to_its_bound(#[case] goal: Goal, #[case] met: bool) {
        assert_eq!(Row::paired("x", "µs", &[20.0], &[10.0]).goal(goal).met, Some(met));
    }

    #[test]
    fn a_figure_that_was_not_measured_misses_its_goal() {
        assert_eq!(Row::alone("x", "µs", &[]).goal(Goal::AtMost(1.0)).met, Some(false));
    }

    #[test]
    fn the_table_says_what_is_missed() {
        let rows = vec![
            Row::paired("run", "µs", &[30.0], &[10.0]).goal(Goal::TimesBare(2.0)),
            Row::alone("memory", "MiB", &[9.0]).goal(Goal::AtMost(25.0)),
        ];
        let report = Report { rounds: 1, requests: 10, pinned: true, rows };
        assert!(report.missed());
        let table = table(&report);
        let words: Vec<Vec<&str>> = table.lines().skip(3).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["run", "30.0", "µs", "10.0", "µs", "3.00x", "≤", "2.0x", "bare", "MISS"]);
        assert_eq!(words[1], ["memory", "9.00", "MiB", "≤", "25", "MiB", "pass"]);
    }
}
