//! Whether an agent may go on using models. It never makes an agent unready: what is used up comes back by itself.

use astromesh_crds::v1alpha1::{Budget, ConversationalBackend, Reason, condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{Inputs, Stage};
use crate::conditions::{Verdict, find};

/// While no ready pod says how it stands, it is as it was.
pub(super) fn verdict(inputs: &Inputs, stage: &Stage<'_>) -> Option<Verdict> {
    let spec = inputs.agent.spec.budget.as_ref()?;
    let said = match stage {
        Stage::Built { observation: Some(observation), .. } => observation.report().budget,
        Stage::Built { observation: None, .. } | Stage::Refused(_) => None,
    };
    let Some(state) = said else { return carried(&inputs.previous.conditions) };
    let message = message(spec, inputs);
    Some(match state.as_str() {
        "exceeded" => Verdict::fails(Reason::BudgetExceeded, message),
        "near" => Verdict::present(Reason::NearLimit, message),
        _ => Verdict::present(Reason::WithinBudget, message),
    })
}

fn carried(previous: &[Condition]) -> Option<Verdict> {
    let Some(before) = find(previous, condition::BUDGET_AVAILABLE) else {
        return Some(Verdict::unknown(Reason::PodsUnavailable, "no ready pod has said yet what of the budget is used"));
    };
    let (reason, message) = (Reason::parse(&before.reason)?, before.message.as_str());
    Some(match before.status.as_str() {
        "True" => Verdict::present(reason, message),
        "False" => Verdict::fails(reason, message),
        _ => Verdict::unknown(reason, message),
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
