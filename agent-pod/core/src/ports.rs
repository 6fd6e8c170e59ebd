//! The ports that are not about models, tools or memory: clock, ids, and the record of finished runs.

use std::time::Duration;

use crate::event::Attempt;
use crate::guardrail::Hit;
use crate::usage::Usage;

/// Clock and source of ids of a turn.
///
/// Waits are measured with `tokio::time`, which tests can pause; this port gives the calendar and identities.
pub trait Environment: Send + Sync {
    /// Now, as RFC 3339 in UTC with milliseconds.
    fn timestamp(&self) -> String;
    /// The same in milliseconds since the epoch.
    fn epoch_millis(&self) -> u64 {
        let now = self.timestamp().parse::<jiff::Timestamp>().unwrap_or_default();
        u64::try_from(now.as_millisecond()).unwrap_or_default()
    }
    /// Today's date in UTC, `YYYY-MM-DD`; `{{ today }}` in prompts.
    fn today(&self) -> String;
    /// A fresh id for a run or a session; ids sort by time of creation.
    fn fresh_id(&self) -> String;
    /// A fresh trace id: 32 hexadecimal digits (W3C trace context).
    fn fresh_trace_id(&self) -> String;
    /// A fresh id that nobody can guess: 32 random hexadecimal digits.
    fn fresh_secret(&self) -> String;
}

/// Told of every run that ends, however it ends.
pub trait RunObserver: Send + Sync {
    /// A run has ended; called once for each, also when its caller went away.
    fn finished(&self, record: &RunRecord<'_>);
    /// Models were called for an agent after a run had ended, to sum up its memory.
    fn used(&self, agent: &str, usage: &Usage, attempts: &[Attempt]);
}

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct RunRecord<'a> {
    /// Name of the agent.
    pub agent: &'a str,
    /// Id of the run.
    pub run_id: &'a str,
    /// Id of its trace.
    pub trace_id: &'a str,
    /// `ok`, `cancelled`, or the code of its error.
    pub outcome: &'static str,
    /// What it used, also when it failed.
    pub usage: &'a Usage,
    /// Every provider that was tried.
    pub attempts: &'a [Attempt],
    /// What the guardrails have found.
    pub guardrail_hits: &'a [Hit],
    /// How long it took.
    pub duration: Duration,
}
