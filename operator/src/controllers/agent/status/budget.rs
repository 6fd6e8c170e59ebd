//! Whether an agent may go on using models. It never makes an agent unready: what is used up comes back by itself.

use astromesh_crds::v1alpha1::{Budget, ConversationalBackend, Reason, condition};

use super::{Inputs, Stage, carried};
use crate::conditions::Verdict;

/// While no ready pod says how it stands, it is as it was.
pub(super) fn verdict(inputs: &Inputs, stage: &Stage<'_>) -> Option<Verdict> {
    let spec = inputs.agent.spec.budget.as_ref()?;
    let observation = stage.built.as_ref().and_then(|built| built.observation);
    let said = observation.and_then(|observation| observation.report().budget);
    let Some(state) = said else {
        let unheard =
            || Verdict::unknown(Reason::PodsUnavailable, "no ready pod has said yet what of the budget is used");
        let before = carried(&inputs.previous.conditions, condition::BUDGET_AVAILABLE);
        return Some(before.unwrap_or_else(unheard));
    };
    let message = message(spec, inputs);
    Some(match state.as_str() {
        "exceeded" => Verdict::fails(Reason::BudgetExceeded, message),
        "near" => Verdict::present(Reason::NearLimit, message),
        _ => Verdict::present(Reason::WithinBudget, message),
    })
}

/// Maximums and window only: what is used changes all the time, and metrics have it.
fn message(budget: &Budget, inputs: &Inputs) -> String {
    let tokens = budget.max_tokens.map(|tokens| format!("{tokens} tokens"));
    let cost = budget.max_cost.as_ref().map(|cost| format!("{} USD", cost.0));
    let most: Vec<_> = tokens.into_iter().chain(cost).collect();
    let mut message = format!("at most {} in {}", most.join(" and "), budget.window.0);
    if inputs.agent.spec.runtime.replicas > 1 && !counted_together(inputs) {
        message.push_str("; each pod counts for itself");
    }
    message
}

/// Whether the replicas count in the server of their conversations.
fn counted_together(inputs: &Inputs) -> bool {
    let memory = inputs.agent.spec.memory.as_ref();
    match memory.and_then(|memory| memory.conversational.as_ref()).map(|said| said.backend) {
        Some(ConversationalBackend::Redis | ConversationalBackend::Postgres) => true,
        Some(ConversationalBackend::InMemory | ConversationalBackend::Sqlite) | None => false,
    }
}
