//! The controller of Agents.
//!
//! ```text
//!  dereference ──► validate ──► build ──► apply ──► observe ──► status
//!   (stores)        (pure)      (pure)    (I/O)      (I/O)     (pure, then one write)
//! ```

pub mod apply;
pub mod build;
pub mod dereference;
pub mod last_good;
pub mod observe;
pub mod status;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::OperatorAddress;
use astromesh_crds::v1alpha1::{Agent, AgentStatus, Provider};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource as _, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use self::dereference::Inputs;
use self::last_good::{LastGoodError, LastGoods};
use self::observe::Observation;
use self::status::{Built, Failure, LOAD_WITHIN, Rollout, Stage};
use self::validate::{Refusal, Validated};
use crate::announcer::Announcer;
use crate::applier::{Applier, ApplyError};
use crate::backoff::Backoffs;
use crate::metrics::{Kind, Metrics};
use crate::names::ObjectKey;
use crate::observing::{Class, Classified, Outcome, observed};
use crate::pods::{Pods, Target};
use crate::reports::{ProviderReports, Reports};
use crate::statuses::{StatusError, Statuses};
use crate::stores::Stores;
use crate::texts::{TextError, Texts};
use crate::trust::TrustState;
use crate::watching::{Queues, Trigger};

/// How often to look whether somebody else's object is still in the way.
const CONFLICT_AGAIN: Duration = Duration::from_secs(10);
/// What the API server refused needs an edit; a quota or a policy may change without one.
const REFUSED_AGAIN: Duration = Duration::from_secs(300);
/// A missing permission is asked for again at this pace.
const DENIED_AGAIN: Duration = Duration::from_secs(60);

/// Everything that a reconciliation may use.
pub struct Context {
    /// The image of agents that name none.
    pub default_image: String,
    /// What the watches know.
    pub stores: Stores,
    /// Whom pods trust.
    pub trust: watch::Receiver<TrustState>,
    /// Writes children.
    pub applier: Applier,
    /// Writes statuses.
    pub statuses: Statuses<Agent>,
    /// Reads prompts of ConfigMaps.
    pub texts: Texts,
    /// What was applied last of agents whose newest spec is refused.
    pub last_goods: LastGoods,
    /// Where pods ask for attention; absent: nowhere.
    pub attention: Option<OperatorAddress>,
    /// What is known of pods.
    pub pods: Arc<Pods>,
    /// Has pods asked what they serve.
    pub looks: Trigger<ObjectKey>,
    /// What pods report, for the providers' controller.
    pub reports: Arc<Reports>,
    /// Wakes the providers' controller.
    pub queues: Queues,
    /// Publishes Events.
    pub announcer: Arc<Announcer>,
    /// The failures so far.
    pub backoffs: Backoffs,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// Forgets an agent that is gone.
    pub fn forget(&self, agent: &Agent) {
        let key = ObjectKey::of(agent);
        self.applier.forget(&ObjectKey { namespace: key.namespace.clone(), name: crate::names::child(&key.name) });
        self.statuses.forget(&key);
        self.texts.forget(&key);
        self.last_goods.forget(&key);
        self.pods.forget(&key);
        self.reports.forget(&key);
        self.backoffs.reset(&key);
        self.announcer.forget(&agent.uid().unwrap_or_default());
    }
}

/// Why a reconciliation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that the agent names could not be read.
    #[error("failed to look up what the agent names")]
    Dereference(#[source] TextError),
    /// What was applied last could not be read.
    #[error("failed to look up what was applied last")]
    LastGood(#[source] LastGoodError),
    /// A child could not be applied; the condition says so too.
    #[error("failed to apply a child")]
    Apply(#[source] ApplyError),
    /// The status could not be written.
    #[error("failed to report")]
    Status(#[source] StatusError),
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Self::Dereference(TextError::Denied(_))
            | Self::LastGood(LastGoodError::Denied(_))
            | Self::Apply(ApplyError::Denied { .. })
            | Self::Status(StatusError::Denied(_)) => Class::Denied,
            Self::Dereference(TextError::Read { .. } | TextError::Timeout(_))
            | Self::LastGood(LastGoodError::Read(_) | LastGoodError::Timeout)
            | Self::Apply(
                ApplyError::Conflict { .. }
                | ApplyError::Refused { .. }
                | ApplyError::Failed { .. }
                | ApplyError::Ending { .. }
                | ApplyError::Unavailable { .. },
            )
            | Self::Status(StatusError::Write(_) | StatusError::Timeout) => Class::Transient,
        }
    }
}

/// Reconciles one agent.
///
/// # Errors
/// See [`Error`].
pub async fn reconcile(agent: Arc<Agent>, ctx: Arc<Context>) -> Result<Action, Error> {
    let key = ObjectKey::of(agent.as_ref());
    let result = observed(Kind::Agent, &key, &ctx.metrics, Box::pin(steps(agent, &ctx))).await;
    if result.is_ok() {
        ctx.backoffs.reset(&key);
    }
    result
}

/// When to try again after a failure.
#[must_use]
pub fn error_policy(agent: Arc<Agent>, error: &Error, ctx: Arc<Context>) -> Action {
    let key = ObjectKey::of(agent.as_ref());
    Action::requeue(match error {
        // Nothing tells when somebody else's object has gone.
        Error::Apply(ApplyError::Conflict { .. }) => ctx.backoffs.next(&key).min(CONFLICT_AGAIN),
        Error::Dereference(_) | Error::LastGood(_) | Error::Apply(_) | Error::Status(_) => match error.class() {
            Class::Transient => ctx.backoffs.next(&key),
            Class::Denied => DENIED_AGAIN,
        },
    })
}

/// The story of a reconciliation.
async fn steps(agent: Arc<Agent>, ctx: &Context) -> Result<Outcome, Error> {
    let namespace = agent.namespace().unwrap_or_default();
    if agent.metadata.deletion_timestamp.is_some() || ctx.stores.is_ending(&namespace) {
        // Owner references do the rest, or leave the children alone if the deletion says so.
        return Ok(Outcome::Settled { again: None });
    }
    let inputs = dereference::dereference(agent, ctx).await.map_err(Error::Dereference)?;
    match validate::validate(&inputs, &ctx.default_image) {
        Ok(validated) => {
            ctx.last_goods.forget(&inputs.key);
            run(&inputs, None, Some(&validated), ctx).await
        }
        Err(mut refusal) => {
            let last = match ctx.last_goods.of(&inputs, &ctx.default_image).await {
                Ok(last) => last,
                // Told as every other permission that is missing.
                Err(denied @ LastGoodError::Denied(_)) => {
                    refusal.denied.get_or_insert_with(|| denied.to_string());
                    None
                }
                Err(error) => return Err(Error::LastGood(error)),
            };
            run(&inputs, Some(&refusal), last.as_ref(), ctx).await
        }
    }
}

/// An agent, or what was applied last of one whose newest spec is refused: its children, its pods, and what comes of them.
async fn run(
    inputs: &Inputs,
    refusal: Option<&Refusal>,
    validated: Option<&Validated>,
    ctx: &Context,
) -> Result<Outcome, Error> {
    let Some(validated) = validated else {
        report(inputs, &Stage { refusal, built: None }, ctx).await?;
        return Ok(outcome_of(refusal));
    };
    let children = build::build(validated, ctx.attention.as_ref());
    let applied = apply::apply(&children, inputs, ctx).await;
    if matches!(applied.failure, Some(ApplyError::Ending { .. })) {
        return Ok(Outcome::Settled { again: None });
    }
    let target = validated.target();
    // Without the new document there is nothing new to load, and nothing to nudge for.
    let observation = applied.config_map.then(|| {
        for pod in ctx.pods.aim(&inputs.key, &target, Instant::now()) {
            ctx.looks.send(pod);
        }
        Observation::of(inputs.pods.clone())
    });
    let rollout = applied.deployment.as_ref().map(|live| Rollout::of(live, ctx.stores.progress(&inputs.key)));
    let waited = ctx.pods.aimed(&inputs.key).map(|since| since.elapsed());
    let built = Built {
        agent: validated,
        failure: applied.failure.as_ref().map(Failure::of),
        rollout,
        observation: observation.as_ref(),
        overdue: waited.is_some_and(|waited| waited >= LOAD_WITHIN),
    };
    let busy = ctx.queues.agents.is_busy();
    let unrefused = waited.filter(|_| refusal.is_none());
    if unrefused.is_some_and(|waited| status::may_wait(inputs, &built, waited, busy)) {
        // Behind those that wait for their documents. kube's own requeue would come before them, and takes no turns.
        ctx.queues.agent_seen(ObjectRef::from_obj(inputs.agent.as_ref()));
        return Ok(Outcome::Settled { again: None });
    }
    report(inputs, &Stage { refusal, built: Some(built) }, ctx).await?;
    if let Some(observation) = &observation {
        share(inputs, observation, &target, ctx);
    }
    match applied.failure {
        Some(error @ ApplyError::Refused { .. }) => {
            tracing::warn!(error = %crate::telemetry::chain(&error), "a child is refused; an edit is needed");
            Ok(Outcome::Refused { requeue_after: REFUSED_AGAIN })
        }
        Some(error) => Err(Error::Apply(error)),
        None if refusal.is_some() => Ok(outcome_of(refusal)),
        None => {
            let loading = observation.as_ref().is_some_and(|observation| observation.is_loading(&target));
            let rest = waited.filter(|_| loading).and_then(|waited| LOAD_WITHIN.checked_sub(waited));
            Ok(Outcome::Settled { again: look_again(inputs, rest) })
        }
    }
}

/// When to look at a refused agent again.
fn outcome_of(refusal: Option<&Refusal>) -> Outcome {
    match refusal.and_then(|refusal| refusal.denied.as_ref()) {
        Some(_denied) => Outcome::Refused { requeue_after: DENIED_AGAIN },
        None => Outcome::Invalid,
    }
}

/// When to look again without an event: that something has still not come is none. `loading`: how long pods may still load.
fn look_again(inputs: &Inputs, loading: Option<Duration>) -> Option<Duration> {
    let set_up = inputs.is_being_set_up().then_some(dereference::SET_UP_WITHIN);
    let mended = inputs.refused_just_now.then_some(dereference::MENDED_WITHIN);
    [set_up, mended, loading].into_iter().flatten().min()
}

/// Writes the status and tells of its flips.
async fn report(inputs: &Inputs, stage: &Stage<'_>, ctx: &Context) -> Result<(), Error> {
    let verdicts = status::verdicts(inputs, stage);
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let status: AgentStatus = status::status(inputs, stage, &verdicts, now);
    let written = ctx.statuses.write(&inputs.agent, &inputs.previous, &status).await.map_err(Error::Status)?;
    if written {
        // The watch may have been quicker than the answer.
        if let Some(stored) = ctx.stores.agent(&inputs.key) {
            ctx.statuses.shown(&stored);
        }
        ctx.metrics.status_written(Kind::Agent);
        let reference = inputs.agent.object_ref(&());
        ctx.announcer.announce(&reference, &inputs.previous.conditions, &status.conditions).await;
    }
    Ok(())
}

/// Hands what pods say of Secrets and servers to the controller of the providers that the agent names.
fn share(inputs: &Inputs, observation: &Observation, target: &Target, ctx: &Context) {
    let mut report = observation.report();
    // Of servers only pods that serve the newest spec can speak; until one does, what was said last holds.
    report.providers = match observation.report_of(target) {
        Some(loaded) => of_generations(loaded.providers, &inputs.providers),
        None => ctx.reports.last(&inputs.key),
    };
    if !ctx.reports.keep(&inputs.key, report) {
        return;
    }
    for provider in &inputs.providers {
        ctx.queues.wake_provider(ObjectRef::from_obj(provider.as_ref()));
    }
}

/// Notes which generation of each provider the pods speak of.
fn of_generations(mut reports: ProviderReports, providers: &[Arc<Provider>]) -> ProviderReports {
    for provider in providers {
        if let Some(report) = reports.get_mut(&ObjectKey::of(provider.as_ref())) {
            report.generation = provider.metadata.generation;
        }
    }
    reports
}

#[cfg(test)]
mod tests;
