//! The report: a column for each size, and the goals.

use std::borrow::Cow;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// All sizes.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    sizes: Vec<Size>,
}

/// The figures of one size.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Size {
    agents: u32,
    /// Agents of others, which the operator had to serve meanwhile.
    others: usize,
    figures: Vec<Figure>,
}

/// One figure.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figure {
    name: Cow<'static, str>,
    unit: &'static str,
    value: f64,
    /// What it shall be at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<f64>,
}

impl Figure {
    fn missed(&self) -> bool {
        // NaN, which was not measured, misses its goal.
        self.goal.is_some_and(|goal| self.value.is_nan() || self.value > goal)
    }
}

impl Size {
    pub(crate) fn new(agents: u32, others: usize) -> Self {
        Self { agents, others, figures: Vec::new() }
    }

    pub(crate) fn figure(&mut self, name: impl Into<Cow<'static, str>>, unit: &'static str, value: f64) {
        self.figures.push(Figure { name: name.into(), unit, value, goal: None });
    }

    /// A figure that shall be at most `goal`.
    pub(crate) fn goal(&mut self, name: impl Into<Cow<'static, str>>, unit: &'static str, value: f64, goal: f64) {
        self.figures.push(Figure { name: name.into(), unit, value, goal: Some(goal) });
    }

    fn get(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

impl Report {
    pub(crate) fn add(&mut self, size: Size) {
        self.sizes.push(size);
    }

    /// Whether some goal is missed.
    pub(crate) fn missed(&self) -> bool {
        self.sizes.iter().flat_map(|size| &size.figures).any(Figure::missed)
    }
}

/// Writes the table to standard output, and the figures to a file.
pub(crate) fn print(report: &Report, json: Option<&Path>) -> anyhow::Result<()> {
    std::io::stdout().lock().write_all(table(report).as_bytes())?;
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(report)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

fn table(report: &Report) -> String {
    let mut text = String::from("\n");
    let mut line = |name: &str, values: &[String], goal: &str, met: &str| {
        let columns: String = values.iter().map(|value| format!(" {value:>12}")).collect();
        text.push_str(format!("{name:<44}{columns} {goal:>12}  {met}").trim_end());
        text.push('\n');
    };
    let heads: Vec<_> = report.sizes.iter().map(|size| size.agents.to_string()).collect();
    line("agents", &heads, "goal", "");
    for Figure { name, unit, .. } in report.sizes.first().into_iter().flat_map(|size| &size.figures) {
        let found: Vec<_> = report.sizes.iter().map(|size| size.get(name)).collect();
        let values: Vec<_> = found.iter().map(|one| one.map_or_else(String::new, |f| amount(f.value, unit))).collect();
        let goal = found.iter().flatten().find_map(|figure| figure.goal);
        let missed = found.iter().flatten().any(|figure| figure.missed());
        let shown = goal.map(|goal| format!("≤ {goal} {unit}").trim_end().to_owned()).unwrap_or_default();
        line(
            name,
            &values,
            &shown,
            if goal.is_none() {
                ""
            } else if missed {
                "MISS"
            } else {
                "pass"
            },
        );
    }
    if report.sizes.iter().any(|size| size.others > 0) {
        let others: Vec<_> = report.sizes.iter().map(|size| size.others.to_string()).collect();
        line("agents of others meanwhile", &others, "", "");
    }
    text
}

fn amount(value: f64, unit: &str) -> String {
    let digits = if unit.is_empty() {
        0
    } else if value.abs() < 10.0 {
        2
    } else {
        1
    };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_column_for_each_size_and_says_what_is_missed() {
        let mut report = Report::default();
        for (agents, cpu) in [(500, 20.0), (5_000, 50.5)] {
            let mut size = Size::new(agents, 0);
            size.figure("all Ready", "s", 3.0);
            size.goal("CPU at rest", "m", cpu, 50.0);
            report.add(size);
        }
        let table = table(&report);
        let words: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["agents", "500", "5000", "goal"]);
        assert_eq!(words[1], ["all", "Ready", "3.00", "s", "3.00", "s"]);
        assert_eq!(words[2], ["CPU", "at", "rest", "20.0", "m", "50.5", "m", "≤", "50", "m", "MISS"]);
        assert!(report.missed());
    }

    #[test]
    fn a_goal_is_met_up_to_its_bound_and_missed_by_what_was_not_measured() {
        for (value, missed) in [(1.0, false), (1.1, true), (f64::NAN, true)] {
            let mut size = Size::new(1, 0);
            size.goal("x", "s", value, 1.0);
            assert_eq!(Report { sizes: vec![size] }.missed(), missed, "{value}");
        }
    }
}
