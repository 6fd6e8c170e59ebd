//! How much of their budgets agents have used.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::approximate;
use super::labels::AgentLabels;
use crate::registry::Entry;

/// `resource` is `tokens` or `cost`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BudgetLabels {
    agent: String,
    resource: &'static str,
}

#[derive(Default)]
pub(super) struct Budgets {
    used: Family<BudgetLabels, Gauge<f64, AtomicU64>>,
    refused: Family<AgentLabels, Counter>,
}

impl Budgets {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Share of a budget that is used in the window of now, 1 for all of it";
        registry.register("budget_used_ratio", help, self.used.clone());
        registry.register("budget_refusals", "Runs that ended because a budget is used up", self.refused.clone());
    }

    pub(super) fn refused(&self, agent: &str) {
        self.refused.get_or_create(&AgentLabels { agent: agent.to_owned() }).inc();
    }

    /// Agents that are gone are forgotten.
    pub(super) fn measure<'a>(&self, entries: impl Iterator<Item = &'a Entry>) {
        self.used.clear();
        for agent in entries.map(|entry| &entry.agent) {
            let Some(budget) = &agent.budget else { continue };
            let report = budget.report(agent.environment.epoch_millis());
            report.resources().for_each(|resource| self.used(&agent.name, resource));
        }
    }

    pub(super) fn used(&self, agent: &str, (resource, spent, maximum): (&'static str, u64, u64)) {
        let labels = BudgetLabels { agent: agent.to_owned(), resource };
        self.used.get_or_create(&labels).set(approximate(spent) / approximate(maximum).max(1.0));
    }
}
