//! What agents may use: the pod's own count outlives reloads, and replicas count together where their conversations are.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::{BudgetDocument, BudgetState};
use agent_pod_core::agent::Agent;
use agent_pod_core::budget::{Book, Budget, BudgetStore, Maximums, OnExceeded, Shared};
use agent_pod_core::money::Money;
use astromesh_crds::v1alpha1 as crd;
use jiff::Timestamp;

/// The budget of an agent, or why it cannot have it. `store`: where its replicas count together.
pub(super) fn build(
    agent: &str,
    said: &BudgetDocument,
    book: &Book,
    store: Option<Arc<dyn BudgetStore>>,
) -> Result<Budget, String> {
    let cost = said.max_cost.as_deref().map(|text| Money::parse(text).ok_or_else(|| format!("`{text}` is no amount")));
    Ok(Budget {
        agent: agent.to_owned(),
        window: Duration::from_millis(said.window_ms),
        maximums: Maximums { tokens: said.max_tokens, nanodollars: cost.transpose()?.map(Money::nanodollars) },
        on_exceeded: match said.on_exceeded {
            crd::OnExceeded::Reject => OnExceeded::Reject,
            crd::OnExceeded::Downgrade => OnExceeded::Downgrade,
        },
        shared: store.map(Shared::new),
        book: book.clone(),
    })
}

/// How the budget of an agent stands, if it has one.
pub(crate) fn state(agent: &Agent) -> Option<BudgetState> {
    let report = agent.budget.as_ref()?.report(agent.environment.epoch_millis());
    let end = i64::try_from(report.window.end_ms()).ok().and_then(|end| Timestamp::from_millisecond(end).ok());
    let money = |nanodollars| Money::from_nanodollars(nanodollars).to_string();
    Some(BudgetState {
        window_end: end.unwrap_or_default().to_string(),
        tokens: report.spent.tokens,
        cost: money(report.spent.nanodollars),
        max_tokens: report.maximums.tokens,
        max_cost: report.maximums.nanodollars.map(money),
        state: report.standing().as_str().to_owned(),
    })
}
