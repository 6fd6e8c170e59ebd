//! What the pods serve, asked from each of them; those that are behind are nudged.

use agent_pod_config::PodState;
use futures::StreamExt as _;
use tokio::time::Instant;

use super::Context;
use super::dereference::Inputs;
use super::validate::Target;
use crate::pods::{PodView, next_value, nudge};
use crate::reports::Report;

/// How many pods of one agent are asked at the same time.
const POLLS_AT_ONCE: usize = 16;

/// What the pods say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Every pod, by name.
    pub pods: Vec<PodReport>,
}

/// What one pod says.
#[derive(Clone, Debug, PartialEq)]
pub struct PodReport {
    /// The pod.
    pub pod: PodView,
    /// Its state; absent when it does not answer.
    pub state: Option<PodState>,
}

impl PodReport {
    /// Whether the pod serves the target.
    #[must_use]
    pub fn has_loaded(&self, target: &Target) -> bool {
        self.state.as_ref().is_some_and(|state| {
            state.revision.as_ref() == Some(&target.revision) && state.trust.as_ref() == Some(&target.trust)
        })
    }

    /// Why the pod refused the target, if it did.
    #[must_use]
    pub fn refusal(&self, target: &Target) -> Option<String> {
        let rejected = self.state.as_ref()?.rejected.as_ref()?;
        if rejected.revision != target.revision {
            return None;
        }
        let problems: Vec<_> =
            rejected.problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        Some(problems.join("; "))
    }
}

impl Observation {
    /// The pods that callers reach.
    pub fn ready(&self) -> impl Iterator<Item = &PodReport> {
        self.pods.iter().filter(|report| report.pod.ready)
    }

    /// Whether every ready pod serves the target.
    #[must_use]
    pub fn all_loaded(&self, target: &Target) -> bool {
        self.ready().all(|report| report.has_loaded(target))
    }

    /// What ready pods report together.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::of(self.ready().filter_map(|report| report.state.as_ref()))
    }

    /// What those of them that serve the target report; `None` when none does.
    #[must_use]
    pub fn report_of(&self, target: &Target) -> Option<Report> {
        let mut loaded = self.ready().filter(|report| report.has_loaded(target)).peekable();
        loaded.peek()?;
        Some(Report::of(loaded.filter_map(|report| report.state.as_ref())))
    }
}

/// Asks every running pod at the same time, and nudges each one that has not loaded the target and has not refused it.
pub async fn observe(inputs: &Inputs, target: &Target, ctx: &Context) -> Observation {
    ctx.nudges.aim(&inputs.key, &format!("{}/{}", target.revision, target.trust), Instant::now());
    let reports = inputs.pods.iter().cloned().map(|pod| observe_pod(pod, inputs, target, ctx));
    let mut pods: Vec<_> = futures::stream::iter(reports).buffer_unordered(POLLS_AT_ONCE).collect().await;
    pods.sort_by(|a, b| a.pod.name.cmp(&b.pod.name));
    Observation { pods }
}

async fn observe_pod(pod: PodView, inputs: &Inputs, target: &Target, ctx: &Context) -> PodReport {
    if pod.address.is_none() {
        return PodReport { pod, state: None };
    }
    let polled = ctx.state_client.state(&pod).await;
    ctx.metrics.state_poll(polled.is_ok());
    let state = match polled {
        Ok(state) => Some(state),
        Err(error) => {
            tracing::debug!(pod = %pod.name, error = %crate::telemetry::chain(&error), "pod state not read");
            None
        }
    };
    let report = PodReport { pod, state };
    // A pod that is not ready and does not answer is starting: it mounts the newest document by itself.
    let reachable = report.state.is_some() || report.pod.ready;
    let behind = reachable && !report.has_loaded(target) && report.refusal(target).is_none();
    if behind && ctx.nudges.due(&inputs.key, &report.pod.uid, Instant::now()) {
        let value = next_value(report.pod.nudged.as_deref(), &target.revision);
        let nudged = nudge(ctx.client.clone(), &report.pod, &value).await;
        ctx.metrics.nudge(nudged.is_ok());
        match nudged {
            Ok(()) => tracing::debug!(pod = %report.pod.name, value, "pod nudged"),
            Err(error) => {
                let error = error.map_or_else(|| "no answer in time".into(), |error| crate::telemetry::chain(&*error));
                tracing::warn!(pod = %report.pod.name, error, "pod not nudged; the kubelet refreshes it later");
            }
        }
    }
    report
}
