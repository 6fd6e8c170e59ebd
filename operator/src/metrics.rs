//! The operator's metrics; their names are part of its interface.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use astromesh_logs::Logs;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From a reconciliation that finds nothing to do to one that waits for a slow API server.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// The kinds that are reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    /// Agents.
    Agent,
    /// Providers.
    Provider,
}

/// How a reconciliation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// Nothing is left to do.
    Settled,
    /// Something is awaited.
    Waiting,
    /// The spec needs an edit.
    Invalid,
    /// It failed and is tried again.
    Transient,
    /// A permission is missing.
    Denied,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reconciled {
    kind: Kind,
    result: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResource {
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Readiness {
    ready: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Success {
    success: &'static str,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciled: Family<Reconciled, Counter>,
    durations: Family<OfKind, Histogram>,
    agents: Family<Readiness, Gauge>,
    leader: Gauge,
    nudges: Family<Success, Counter>,
    polls: Family<Success, Counter>,
    watch_errors: Counter<u64, AtomicU64>,
    watches_denied: Family<OfResource, Gauge>,
    status_writes: Family<OfKind, Counter>,
    log_lines_dropped: Counter<u64, AtomicU64>,
    logs: Option<Logs>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("astromesh_operator")),
            reconciled: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            agents: Family::default(),
            leader: Gauge::default(),
            nudges: Family::default(),
            polls: Family::default(),
            watch_errors: Counter::default(),
            watches_denied: Family::default(),
            status_writes: Family::default(),
            log_lines_dropped: Counter::default(),
            logs: None,
        };
        if let Ok(mut registry) = metrics.registry.lock() {
            metrics.register(&mut registry);
        }
        metrics
    }
}

impl Metrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("reconcile", "Reconciliations by kind and result", self.reconciled.clone());
        registry.register("reconcile_duration_seconds", "Duration of reconciliations", self.durations.clone());
        registry.register("agents", "Agents by readiness", self.agents.clone());
        registry.register("leader", "1 while this replica is the leader", self.leader.clone());
        registry.register("nudges", "Annotations of live pods, to refresh their volumes", self.nudges.clone());
        registry.register("state_polls", "Requests for the state of a pod", self.polls.clone());
        registry.register("watch_errors", "Watches that broke and were started again", self.watch_errors.clone());
        let help = "1 while a permission to list and watch is missing";
        registry.register("watch_denied", help, self.watches_denied.clone());
        registry.register("status_writes", "Statuses written", self.status_writes.clone());
        let help = "Log lines that nobody read in time";
        registry.register("log_lines_dropped", help, self.log_lines_dropped.clone());
    }

    /// The same, which tell what these logs drop.
    #[must_use]
    pub fn counting(self, logs: Logs) -> Self {
        Self { logs: Some(logs), ..self }
    }

    /// A reconciliation has ended.
    pub fn reconciled(&self, kind: Kind, result: Outcome, took: Duration) {
        self.reconciled.get_or_create(&Reconciled { kind, result }).inc();
        self.durations.get_or_create(&OfKind { kind }).observe(took.as_secs_f64());
    }

    /// A pod was nudged, or could not be.
    pub fn nudge(&self, success: bool) {
        self.nudges.get_or_create(&succeeded(success)).inc();
    }

    /// A pod was asked for its state.
    pub fn state_poll(&self, success: bool) {
        self.polls.get_or_create(&succeeded(success)).inc();
    }

    /// A status was written.
    pub fn status_written(&self, kind: Kind) {
        self.status_writes.get_or_create(&OfKind { kind }).inc();
    }

    /// A watch broke.
    pub fn watch_error(&self) {
        self.watch_errors.inc();
    }

    /// Whether a permission to list and watch is missing.
    pub fn watch_denied(&self, resource: &'static str, denied: bool) {
        self.watches_denied.get_or_create(&OfResource { resource }).set(i64::from(denied));
    }

    /// This replica has become the leader, or is it no more.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// How many agents are ready, and how many are not.
    pub fn agents(&self, ready: usize, not_ready: usize) {
        for (label, count) in [("true", ready), ("false", not_ready)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.agents.get_or_create(&Readiness { ready: label }).set(count);
        }
    }

    /// Everything in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        if let Some(logs) = &self.logs {
            self.log_lines_dropped.inner().fetch_max(logs.dropped(), Ordering::Relaxed);
        }
        let mut buffer = String::new();
        match self.registry.lock() {
            Ok(registry) if text::encode(&mut buffer, &registry).is_ok() => buffer,
            Ok(_) | Err(_) => String::new(),
        }
    }
}

fn succeeded(success: bool) -> Success {
    Success { success: if success { "true" } else { "false" } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_interface() {
        let metrics = Metrics::default();
        metrics.reconciled(Kind::Agent, Outcome::Settled, Duration::from_millis(3));
        metrics.agents(2, 1);
        metrics.leads(true);
        metrics.nudge(true);
        metrics.state_poll(false);
        let text = metrics.encode();
        for line in [
            "astromesh_operator_reconcile_total{kind=\"Agent\",result=\"Settled\"} 1",
            "astromesh_operator_reconcile_duration_seconds_count{kind=\"Agent\"} 1",
            "astromesh_operator_agents{ready=\"true\"} 2",
            "astromesh_operator_agents{ready=\"false\"} 1",
            "astromesh_operator_leader 1",
            "astromesh_operator_nudges_total{success=\"true\"} 1",
            "astromesh_operator_state_polls_total{success=\"false\"} 1",
            "astromesh_operator_log_lines_dropped_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
