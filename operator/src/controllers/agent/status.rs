//! What happened → the status. Pure: the same facts give the same status, byte for byte.

mod budget;
mod degraded;
mod rollout;
mod serving;
mod unsaid;
mod verdicts;

use std::time::Duration;

use astromesh_crds::v1alpha1::{
    AgentEndpoints, AgentStatus, AgentSummary, Reason, RevisionStatus, ToolStatus, condition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

pub use rollout::Rollout;
pub use unsaid::may_wait;
pub use verdicts::{Verdicts, verdicts};

use super::apply;
use super::dereference::Inputs;
use super::observe::Observation;
use super::validate::{Refusal, Validated};
use crate::applier::ApplyError;
use crate::conditions::{Conditions, Verdict, find};
use crate::{labels, names};

/// As many digits of a revision tell it from others at a glance.
const REVISION_DIGITS: usize = 12;

/// How long pods may take to load what they shall. The kubelet looks by itself every minute or so.
pub const LOAD_WITHIN: Duration = Duration::from_secs(180);

/// How far a reconciliation came.
#[derive(Debug, Default)]
pub struct Stage<'a> {
    /// Why the newest spec cannot be built, if so.
    pub refusal: Option<&'a Refusal>,
    /// The newest spec, or what was applied last of an agent whose newest spec is refused; absent when there is nothing.
    pub built: Option<Built<'a>>,
}

/// An agent that was built.
#[derive(Debug)]
pub struct Built<'a> {
    /// The agent.
    pub agent: &'a Validated,
    /// Why not every child is applied, if so.
    pub failure: Option<Failure>,
    /// The Deployment's progress; absent when it could not be applied.
    pub rollout: Option<Rollout>,
    /// What the pods say; absent when they cannot have the new document.
    pub observation: Option<&'a Observation>,
    /// Whether they have had the time to load it.
    pub overdue: bool,
}

/// Why a child is not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason of `Programmed=False`.
    pub reason: Reason,
    /// What is wrong.
    pub message: String,
    /// Who has to act.
    pub remedy: Remedy,
}

/// Who has to act after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nobody: it is tried again.
    Retry,
    /// Whoever edits the agent.
    Edit,
    /// Somebody else: who grants a permission, or owns an object that is in the way.
    Others,
}

impl Failure {
    /// Reads an error.
    #[must_use]
    pub fn of(error: &ApplyError) -> Self {
        let remedy = match error {
            ApplyError::Refused { .. } => Remedy::Edit,
            ApplyError::Denied { .. } | ApplyError::Conflict { .. } => Remedy::Others,
            ApplyError::Failed { .. } | ApplyError::Ending { .. } | ApplyError::Unavailable { .. } => Remedy::Retry,
        };
        Self { reason: apply::reason(error), message: error.to_string(), remedy }
    }
}

/// What a condition said before.
fn carried(previous: &[Condition], type_: &str) -> Option<Verdict> {
    let before = find(previous, type_)?;
    let (reason, message) = (Reason::parse(&before.reason)?, before.message.as_str());
    Some(match before.status.as_str() {
        "True" => Verdict::present(reason, message),
        "False" => Verdict::fails(reason, message),
        _ => Verdict::unknown(reason, message),
    })
}

/// The whole status.
#[must_use]
pub fn status(inputs: &Inputs, stage: &Stage<'_>, verdicts: &Verdicts, now: Timestamp) -> AgentStatus {
    let agent = &inputs.agent;
    let generation = agent.metadata.generation;
    let conditions = Conditions::new(&inputs.previous.conditions, generation, now)
        .with(condition::ACCEPTED, &verdicts.accepted)
        .with(condition::RESOLVED_REFS, &verdicts.resolved_refs)
        .with(condition::PROGRAMMED, &verdicts.programmed)
        .with(condition::LOADED, &verdicts.loaded)
        .with(condition::READY, &verdicts.ready)
        .with_some(condition::BUDGET_AVAILABLE, budget::verdict(inputs, stage).as_ref())
        .with_some(condition::DEGRADED, verdicts.degraded.as_ref())
        .with_some(condition::RECONCILING, verdicts.reconciling.as_ref())
        .with_some(condition::STALLED, verdicts.stalled.as_ref())
        .finish();
    let (revision, models) = match (&stage.built, stage.refusal) {
        (Some(built), refusal) => {
            let target = built.agent.target();
            let all = built.observation.is_some_and(|seen| seen.ready().next().is_some() && seen.all_loaded(&target));
            let loaded = if refusal.is_some() { all } else { verdicts.loaded.is_true() };
            let revision = built.agent.revision.clone();
            let loaded = loaded.then(|| revision.clone());
            (Some(RevisionStatus { desired: Some(revision), loaded }), models(built.agent))
        }
        (None, _) => (inputs.previous.revision.clone(), inputs.previous.models.clone()),
    };
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let ready_replicas = count(inputs.pods.iter().filter(|report| report.pod.ready).count());
    let wanted = stage.built.as_ref().map_or(0, |built| built.agent.replicas_wanted());
    let loaded = revision.as_ref().and_then(|revision| revision.loaded.as_deref());
    AgentStatus {
        observed_generation: if acted_on(stage) { generation } else { inputs.previous.observed_generation },
        summary: Some(AgentSummary {
            status: verdicts.in_a_word(agent.spec.suspend).to_owned(),
            replicas: format!("{ready_replicas}/{wanted}"),
            revision: loaded.map(|revision| revision.chars().take(REVISION_DIGITS).collect()),
        }),
        conditions,
        revision,
        replicas: count(inputs.pods.len()),
        ready_replicas,
        selector: Some(labels::as_text(&labels::selector(&inputs.key.name))),
        endpoints: Some(endpoints(&inputs.key, agent.spec.expose.openai)),
        models,
        tools: tools(stage, &inputs.previous.tools),
    }
}

/// Whether the status speaks of the newest generation: everything has been done that can be done without an edit of it.
fn acted_on(stage: &Stage<'_>) -> bool {
    let judged = stage.refusal.is_none_or(|refusal| refusal.denied.is_none());
    let failure = stage.built.as_ref().and_then(|built| built.failure.as_ref());
    judged && (stage.refusal.is_some() || failure.is_none_or(|failure| failure.remedy == Remedy::Edit))
}

/// Those that ready pods report; while none does, as they were.
fn tools(stage: &Stage<'_>, previous: &[ToolStatus]) -> Vec<ToolStatus> {
    let Some(Built { agent, observation: Some(observation), .. }) = &stage.built else { return previous.to_vec() };
    if observation.ready().all(|report| report.state.is_none()) {
        return previous.to_vec();
    }
    let states = observation.report().tools;
    let named = agent.document.agents.values().flat_map(|agent| &agent.tools);
    named
        .filter_map(|tool| {
            let state = states.get(&tool.name)?.clone();
            Some(ToolStatus { name: tool.name.clone(), tool_type: tool.by.type_name().to_owned(), state })
        })
        .collect()
}

fn endpoints(key: &names::ObjectKey, openai: bool) -> AgentEndpoints {
    let host = format!("{}.{}.svc", names::child(&key.name), key.namespace);
    let name = &key.name;
    AgentEndpoints {
        base: format!("http://{host}"),
        run: format!("http://{host}/v1/agents/{name}/run"),
        web_socket: format!("ws://{host}/v1/ws/agent/{name}"),
        openai: openai.then(|| format!("http://{host}/v1")),
    }
}

/// Those of the default role as declared, then those of the other roles, each once.
fn models(agent: &Validated) -> Vec<String> {
    let roles =
        agent.document.agents.values().flat_map(|agent| std::iter::once(&agent.model).chain(agent.roles.values()));
    let mut models = Vec::new();
    for candidate in roles.flat_map(|role| &role.candidates) {
        let provider = candidate.provider.rsplit_once('/').map_or(candidate.provider.as_str(), |(_, name)| name);
        let model = format!("{provider}/{}", candidate.model);
        if !models.contains(&model) {
            models.push(model);
        }
    }
    models
}

#[cfg(test)]
mod tests;
