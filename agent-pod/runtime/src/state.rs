//! The state of the pod as the operator reads it, and when it has changed.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::{
    AgentState, EndpointState, PodState, ProviderState, SecretPresence, SecretState, ToolState, revision_of,
};
use agent_pod_core::cpu::offload;
use agent_pod_infra::secret::Presence;
use jiff::Timestamp;
use tokio::time::timeout;

use crate::Runtime;
use crate::discovery::Endpoint;
use crate::registry::{Entry, ModelEntry};

/// How often the state is looked at for changes that nobody announces: circuits, tools, servers, budgets.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Runtime {
    /// The state as the operator reads it. Waits for no load.
    #[must_use]
    pub fn pod_state(&self) -> PodState {
        let snapshot = self.registry.snapshot();
        let shown = self.shown.load();
        let named = &shown.secrets;
        PodState {
            revision: snapshot.as_ref().map(|snapshot| snapshot.revision.clone()),
            loaded_at: snapshot.as_ref().map(|snapshot| snapshot.loaded_at.clone()),
            trust: shown.trust.as_ref().map(|(hash, _)| hash.clone()),
            rejected: shown.rejected.clone(),
            agents: snapshot.iter().flat_map(|s| s.entries.values()).map(agent_state).collect(),
            providers: snapshot.iter().flat_map(|s| &s.models).map(provider_state).collect(),
            endpoints: snapshot.iter().flat_map(|s| &s.endpoints).map(endpoint_state).collect(),
            secrets: self
                .secrets
                .states()
                .into_iter()
                .filter(|state| named.iter().any(|key| key.name == state.id.name && key.key == state.id.key))
                .map(|state| SecretState {
                    secret: state.id.name,
                    key: state.id.key,
                    state: match state.presence {
                        Presence::Present => SecretPresence::Present,
                        Presence::Missing => SecretPresence::Missing,
                    },
                    problem: state.problem.map(|problem| problem.as_str().to_owned()),
                    former: state.former,
                    refused: state.refused,
                })
                .collect(),
            in_flight: self.registry.in_flight(),
            queued: self.registry.queued(),
            draining: self.registry.draining(),
        }
    }

    /// Looks at the state whenever something has changed, and tells whoever waits for that. For ever.
    pub async fn follow_state(self: Arc<Self>) {
        let (mut stirred, mut secrets) = (self.stirred.subscribe(), self.secrets.changes());
        loop {
            let runtime = Arc::clone(&self);
            let tag = offload(move || tag(&runtime.pod_state())).await;
            self.tag.send_if_modified(|known| {
                let changed = *known != tag;
                *known = tag;
                changed
            });
            let stir = async {
                tokio::select! {
                    _ = stirred.changed() => {}
                    _ = secrets.changed() => {}
                }
            };
            drop(timeout(LOOK_AGAIN, stir).await);
        }
    }
}

/// The hash of what an operator acts on: not of numbers, latencies and clocks.
pub(crate) fn tag(state: &PodState) -> String {
    let mut state = PodState { loaded_at: None, in_flight: 0, queued: 0, ..state.clone() };
    for provider in &mut state.providers {
        provider.cooling_until = None;
        provider.latency_ms = None;
    }
    for budget in state.agents.iter_mut().filter_map(|agent| agent.budget.as_mut()) {
        budget.tokens = 0;
        budget.cost.clear();
        budget.window_end.clear();
    }
    revision_of(&serde_json::to_vec(&state).unwrap_or_default())
}

fn agent_state(entry: &Entry) -> AgentState {
    AgentState {
        name: entry.agent.name.clone(),
        namespace: entry.agent.namespace.clone(),
        status: entry.handle.details.summary.status.to_owned(),
        tools: entry
            .agent
            .tools
            .permitted()
            .map(|tool| ToolState {
                name: tool.spec.name.clone(),
                state: if tool.is_down() { "unavailable" } else { "ready" }.to_owned(),
            })
            .collect(),
        budget: crate::build::budget::state(&entry.agent),
    }
}

fn provider_state(model: &ModelEntry) -> ProviderState {
    let report = model.state.report();
    let until = |wait: Duration| Timestamp::now().checked_add(wait).ok().map(|time| format!("{time:.0}"));
    ProviderState {
        name: model.provider.clone(),
        namespace: model.namespace.clone(),
        model: model.model.clone(),
        circuit: report.circuit.as_str().to_owned(),
        cooling_until: report.cooling.and_then(until),
        last_error: report.last_error.map(|kind| kind.as_str().to_owned()),
        latency_ms: report.latency.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    }
}

fn endpoint_state(endpoint: &Endpoint) -> EndpointState {
    let report = endpoint.health.report();
    EndpointState {
        name: endpoint.name.clone(),
        namespace: endpoint.namespace.clone(),
        reachable: report.reachable,
        error: report.error.as_ref().map(|error| error.kind.as_str().to_owned()),
        message: report.error.map(|error| error.message),
        models: report.models,
    }
}

#[cfg(test)]
mod tests {
    use agent_pod_config::BudgetState;

    use super::*;

    fn state() -> PodState {
        let budget = BudgetState { state: "ok".into(), ..BudgetState::default() };
        PodState {
            agents: vec![AgentState { budget: Some(budget), ..AgentState::default() }],
            providers: vec![ProviderState::default()],
            ..PodState::default()
        }
    }

    #[test]
    fn numbers_and_clocks_change_no_tag_and_what_is_acted_on_does() {
        let unchanged = [
            |state: &mut PodState| state.in_flight = 3,
            |state: &mut PodState| state.queued = 3,
            |state: &mut PodState| state.loaded_at = Some("2026-01-01T00:00:00Z".into()),
            |state: &mut PodState| state.providers[0].latency_ms = Some(7),
            |state: &mut PodState| state.providers[0].cooling_until = Some("2026-01-01T00:00:00Z".into()),
            |state: &mut PodState| state.agents[0].budget.as_mut().unwrap().tokens = 7,
            |state: &mut PodState| state.agents[0].budget.as_mut().unwrap().cost = "1".into(),
        ];
        let changed = [
            |state: &mut PodState| state.revision = Some("r".into()),
            |state: &mut PodState| state.draining = true,
            |state: &mut PodState| state.providers[0].circuit = "open".into(),
            |state: &mut PodState| state.providers[0].last_error = Some("unauthorized".into()),
            |state: &mut PodState| state.agents[0].budget.as_mut().unwrap().state = "near".into(),
        ];
        let tag_after = |change: &fn(&mut PodState)| {
            let mut state = state();
            change(&mut state);
            tag(&state)
        };
        assert!(unchanged.iter().all(|change| tag_after(&(*change as fn(&mut PodState))) == tag(&state())));
        assert!(changed.iter().all(|change| tag_after(&(*change as fn(&mut PodState))) != tag(&state())));
    }
}
