//! What the process itself is doing, whatever its agents do.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabels {
    port: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CutLabels {
    port: &'static str,
    reason: &'static str,
}

/// Metrics of the process.
#[derive(Debug, Default)]
pub struct Process {
    connections: Family<PortLabels, Gauge<i64, AtomicI64>>,
    cut: Family<CutLabels, Counter>,
    log_lines_dropped: Counter<u64, AtomicU64>,
    ending: AtomicBool,
}

impl Process {
    pub(super) fn register(&self, own: &mut Registry) {
        own.register("connections", "Connections that are open", self.connections.clone());
        own.register("connections_cut", "Connections that the pod has ended, by reason", self.cut.clone());
        own.register("log_lines_dropped", "Log lines that nobody read in time", self.log_lines_dropped.clone());
    }

    /// A connection has been opened at this port.
    pub fn opened(&self, port: &'static str) {
        self.connections.get_or_create(&PortLabels { port }).inc();
    }

    /// One has been closed.
    pub fn closed(&self, port: &'static str) {
        self.connections.get_or_create(&PortLabels { port }).dec();
    }

    /// The pod has ended one for this reason.
    pub fn cut(&self, port: &'static str, reason: &'static str) {
        self.cut.get_or_create(&CutLabels { port, reason }).inc();
    }

    /// So many lines of the log have been dropped in all.
    pub fn log_lines_dropped(&self, total: u64) {
        self.log_lines_dropped.inner().fetch_max(total, Ordering::Relaxed);
    }

    /// The pod cuts off the runs that are left: what ends without an answer from now on, ends because of that.
    pub fn end_runs(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// The outcome of a run, which nobody but the pod itself cancels at its end.
    pub(super) fn outcome(&self, outcome: &'static str) -> &'static str {
        if outcome == "cancelled" && self.ending.load(Ordering::Acquire) { "draining" } else { outcome }
    }
}
