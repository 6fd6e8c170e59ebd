//! How much of the pool of bytes is in use.

use std::sync::atomic::{AtomicU64, Ordering};

use agent_pod_core::byte_pool::PoolReport;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

#[derive(Default)]
pub(super) struct Memory {
    used: Gauge<u64, AtomicU64>,
    capacity: Gauge<u64, AtomicU64>,
    waiting: Gauge<u64, AtomicU64>,
    refused: Counter,
}

impl Memory {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "What calls, replies and histories hold of the memory pool";
        registry.register_with_unit("memory_pool_used", help, Unit::Bytes, self.used.clone());
        let help = "What the memory pool has";
        registry.register_with_unit("memory_pool_capacity", help, Unit::Bytes, self.capacity.clone());
        registry.register("memory_pool_waiting", "Calls that wait for memory", self.waiting.clone());
        registry.register("memory_pool_refusals", "Times that there was no memory for something", self.refused.clone());
    }

    pub(super) fn measure(&self, report: PoolReport) {
        let number = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        self.used.set(number(report.used));
        self.capacity.set(number(report.capacity));
        self.waiting.set(number(report.waiting));
        self.refused.inner().store(report.refused, Ordering::Relaxed);
    }
}
