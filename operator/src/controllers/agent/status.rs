//! What happened → the status. Pure: the same facts give the same status, byte for byte.

mod budget;
mod degraded;
mod rollout;

use astromesh_crds::v1alpha1::{AgentEndpoints, AgentStatus, Reason, RevisionStatus, ToolStatus, condition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

pub use rollout::Rollout;

use super::dereference::Inputs;
use super::observe::Observation;
use super::validate::{Refusal, Target, Validated};
use crate::conditions::{Conditions, Status, Verdict};
use crate::{labels, names};

/// How far a reconciliation came.
#[derive(Debug)]
pub enum Stage<'a> {
    /// The agent cannot be built; the last good children go on serving.
    Refused(&'a Refusal),
    /// The agent was built.
    Built {
        /// The agent.
        agent: &'a Validated,
        /// Why not every child is applied, if so.
        failure: Option<(Reason, String)>,
        /// The Deployment's progress; absent when it could not be applied.
        rollout: Option<Rollout>,
        /// What the pods say; absent when they cannot have the new document.
        observation: Option<&'a Observation>,
    },
}

/// Every verdict on an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// The spec is valid by itself.
    pub accepted: Verdict,
    /// Every reference resolves.
    pub resolved_refs: Verdict,
    /// All children are applied.
    pub programmed: Verdict,
    /// Every ready pod serves the desired revision.
    pub loaded: Verdict,
    /// All of these, and enough pods.
    pub ready: Verdict,
    /// Something optional is broken.
    pub degraded: Option<Verdict>,
    /// Work is under way.
    pub reconciling: Option<Verdict>,
    /// No progress without an edit.
    pub stalled: Option<Verdict>,
}

impl Verdicts {
    /// Whether pods are still loading what they shall serve.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.loaded.status == Status::False && self.loaded.reason == Reason::Loading
    }
}

/// Judges. What cannot be judged now stays as it was `previous`ly.
#[must_use]
pub fn verdicts(stage: &Stage<'_>, previous: &[Condition]) -> Verdicts {
    let mut verdicts = match stage {
        Stage::Refused(refusal) => refused(refusal),
        Stage::Built { agent, failure, rollout, observation } => {
            built(agent, failure.as_ref(), rollout.as_ref(), *observation)
        }
    };
    verdicts.degraded = degraded::degraded(stage, previous);
    verdicts
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
    let acted_on = match stage {
        Stage::Refused(_) => true,
        Stage::Built { failure, .. } => failure.is_none(),
    };
    let (revision, models) = match stage {
        // The last good document is still what the pods shall serve.
        Stage::Refused(_) => (inputs.previous.revision.clone(), inputs.previous.models.clone()),
        Stage::Built { agent, .. } => {
            let loaded = verdicts.loaded.is_true().then(|| agent.revision.clone());
            (Some(RevisionStatus { desired: Some(agent.revision.clone()), loaded }), models(agent))
        }
    };
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    AgentStatus {
        observed_generation: if acted_on { generation } else { inputs.previous.observed_generation },
        conditions,
        revision,
        replicas: count(inputs.pods.len()),
        ready_replicas: count(inputs.pods.iter().filter(|pod| pod.ready).count()),
        selector: Some(labels::as_text(&labels::selector(&inputs.key.name))),
        endpoints: Some(endpoints(&inputs.key, agent.spec.expose.openai)),
        models,
        tools: tools(stage, &inputs.previous.tools),
        summary: None,
    }
}

/// Those that ready pods report; while none does, as they were.
fn tools(stage: &Stage<'_>, previous: &[ToolStatus]) -> Vec<ToolStatus> {
    let Stage::Built { agent, observation: Some(observation), .. } = stage else { return previous.to_vec() };
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

const ACCEPTED: &str = "the spec is valid";
const RESOLVED: &str = "every reference resolves";
const SERVES_ON: &str = "what served before goes on serving";

fn refused(refusal: &Refusal) -> Verdicts {
    let accepted = match &refusal.invalid {
        Some(problems) => Verdict::fails(Reason::Invalid, problems.as_str()),
        None => Verdict::holds(ACCEPTED),
    };
    let resolved_refs = match &refusal.unresolved {
        Some((reason, problems)) => Verdict::fails(*reason, problems.as_str()),
        None => Verdict::holds(RESOLVED),
    };
    let first = [&accepted, &resolved_refs].into_iter().find(|verdict| !verdict.is_true()).cloned();
    let programmed = match (&refusal.unfit, &first) {
        (Some((reason, message)), _) => Verdict::fails(*reason, message.as_str()),
        (None, Some(first)) => Verdict::unknown(first.reason, format!("nothing new is applied; {SERVES_ON}")),
        (None, None) => Verdict::holds("every child is applied"),
    };
    let first = first.unwrap_or_else(|| programmed.clone());
    let loaded = Verdict::unknown(first.reason, format!("there is nothing new to load; {SERVES_ON}"));
    let needs_edit = matches!(first.reason, Reason::Invalid | Reason::DocumentTooLarge);
    Verdicts {
        ready: Verdict::fails(first.reason, first.message.as_str()),
        stalled: needs_edit.then(|| Verdict::present(first.reason, first.message.as_str())),
        accepted,
        resolved_refs,
        programmed,
        loaded,
        degraded: None,
        reconciling: None,
    }
}

fn built(
    agent: &Validated,
    failure: Option<&(Reason, String)>,
    rollout: Option<&Rollout>,
    observation: Option<&Observation>,
) -> Verdicts {
    let unobserved = Observation::default();
    let programmed = match failure {
        Some((reason, message)) => Verdict::fails(*reason, message.as_str()),
        None => Verdict::holds("every child is applied"),
    };
    let wanted = agent.replicas_wanted();
    let rolling = rollout.is_some_and(|rollout| !rollout.is_complete(wanted));
    let loaded = match (observation, failure) {
        (None, Some((reason, _))) => Verdict::unknown(*reason, format!("there is nothing new to load; {SERVES_ON}")),
        (observation, _) => loaded(agent, wanted, observation.unwrap_or(&unobserved)),
    };
    let available = available(agent, wanted, rollout, observation.unwrap_or(&unobserved));
    let ready = [&programmed, &loaded, &available]
        .into_iter()
        .find(|verdict| !verdict.is_true())
        .map_or_else(|| Verdict::holds("every ready pod serves this generation"), Clone::clone);
    // A suspended agent has nothing to load, and says first that it is suspended.
    let ready = if agent.resource.spec.suspend && programmed.is_true() { available } else { ready };
    Verdicts {
        accepted: Verdict::holds(ACCEPTED),
        resolved_refs: Verdict::holds(RESOLVED),
        degraded: None,
        reconciling: reconciling(&loaded, failure, rolling),
        // While pods are being replaced, an old one may refuse what the new ones take.
        stalled: (loaded.reason == Reason::LoadFailed && !rolling)
            .then(|| Verdict::present(loaded.reason, loaded.message.as_str())),
        programmed,
        loaded,
        ready,
    }
}

fn loaded(agent: &Validated, wanted: i32, observation: &Observation) -> Verdict {
    let target: Target = agent.target();
    if let Some(problems) = observation.pods.iter().find_map(|report| report.refusal(&target)) {
        return Verdict::fails(Reason::LoadFailed, format!("{problems}; {SERVES_ON}"));
    }
    if wanted == 0 {
        return Verdict::holds("no pod is asked for");
    }
    if observation.ready().next().is_none() {
        return no_pods(observation);
    }
    if observation.all_loaded(&target) {
        Verdict::holds("every ready pod serves the desired revision")
    } else if observation.ready().any(|report| report.state.is_none()) {
        Verdict::fails(Reason::Loading, "a ready pod does not say which revision it serves")
    } else {
        Verdict::fails(Reason::Loading, "pods are loading the desired revision")
    }
}

fn no_pods(observation: &Observation) -> Verdict {
    let message = if observation.pods.iter().any(|report| report.pod.image_missing) {
        "no pod is ready: the image cannot be pulled"
    } else {
        "no pod is ready"
    };
    Verdict::fails(Reason::PodsUnavailable, message)
}

/// Whether enough pods of the current template are available.
fn available(agent: &Validated, wanted: i32, rollout: Option<&Rollout>, observation: &Observation) -> Verdict {
    if agent.resource.spec.suspend {
        return Verdict::fails(Reason::Suspended, "spec.suspend is set: nothing is served until it is removed");
    }
    if wanted == 0 {
        return Verdict::fails(Reason::PodsUnavailable, "spec.runtime.replicas is 0: nothing is served");
    }
    match rollout {
        Some(rollout) if rollout.serves(wanted) => Verdict::holds("enough pods are available"),
        Some(rollout) if rollout.available >= wanted => {
            Verdict::fails(Reason::Rollout, "pods of the former template are being replaced")
        }
        Some(_) | None if observation.ready().next().is_none() => no_pods(observation),
        Some(_) | None => Verdict::fails(Reason::PodsUnavailable, "fewer pods are available than asked for"),
    }
}

fn reconciling(loaded: &Verdict, failure: Option<&(Reason, String)>, rolling: bool) -> Option<Verdict> {
    let retried = failure.is_some_and(|(reason, _)| *reason == Reason::ApplyFailed);
    if failure.is_some() && !retried {
        // Somebody has to act first.
        None
    } else if retried || loaded.reason == Reason::Loading {
        Some(Verdict::present(Reason::NewGeneration, "the newest spec is being put into effect"))
    } else if rolling {
        Some(Verdict::present(Reason::Rollout, "pods are being replaced"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
