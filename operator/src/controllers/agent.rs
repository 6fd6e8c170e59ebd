//! The controller of Agents.
//!
//! ```text
//!  dereference ──► validate ──► build ──► apply ──► observe ──► status
//!   (stores)        (pure)      (pure)    (I/O)      (I/O)     (pure, then one write)
//! ```

pub mod apply;
pub mod build;
pub mod dereference;
pub mod observe;
pub mod status;
pub mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use astromesh_crds::v1alpha1::{Agent, AgentStatus, Provider, Reason};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use self::dereference::Inputs;
use self::observe::Observation;
use self::status::{Rollout, Stage, Verdicts};
use self::validate::{Target, Validated};
use crate::announcer::Announcer;
use crate::applier::{Applier, ApplyError};
use crate::backoff::Backoffs;
use crate::metrics::{Kind, Metrics};
use crate::names::ObjectKey;
use crate::observing::{Class, Classified, Outcome, observed};
use crate::pods::{Nudges, StateClient};
use crate::reports::{ProviderReport, Reports};
use crate::statuses::{StatusError, Statuses};
use crate::stores::Stores;
use crate::texts::{TextError, Texts};
use crate::trust::TrustBundle;
use crate::watching::Queues;

/// How often the pods of a settled agent are asked again: a Secret that goes missing makes no event.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// Up to this much later, by agent, so that they do not all ask together.
const LOOK_SPREAD_MS: u64 = 3_000;
/// How often pods that are loading are looked at while something else fails.
const LOOK_LOADING: Duration = Duration::from_secs(2);
/// How often to look whether somebody else's object is still in the way.
const CONFLICT_AGAIN: Duration = Duration::from_secs(10);
/// A missing permission is asked for again at this pace.
const DENIED_AGAIN: Duration = Duration::from_secs(60);

/// Everything that a reconciliation may use.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The image of agents that name none.
    pub default_image: String,
    /// What the watches know.
    pub stores: Stores,
    /// Whom pods trust.
    pub trust: watch::Receiver<Option<Arc<TrustBundle>>>,
    /// Writes children.
    pub applier: Applier,
    /// Writes statuses.
    pub statuses: Statuses<Agent>,
    /// Reads prompts of ConfigMaps.
    pub texts: Texts,
    /// Asks pods.
    pub state_client: StateClient,
    /// Who has been nudged when.
    pub nudges: Nudges,
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
        self.nudges.settle(&key);
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
            | Self::Apply(ApplyError::Denied { .. })
            | Self::Status(StatusError::Denied(_)) => Class::Denied,
            Self::Dereference(TextError::Read { .. } | TextError::Timeout(_))
            | Self::Apply(ApplyError::Conflict { .. } | ApplyError::Refused { .. } | ApplyError::Unavailable { .. })
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
    let wait = match error {
        // Nothing tells when somebody else's object has gone.
        Error::Apply(ApplyError::Conflict { .. }) => ctx.backoffs.next(&key).min(CONFLICT_AGAIN),
        Error::Dereference(_) | Error::Apply(_) | Error::Status(_) => match error.class() {
            Class::Transient => ctx.backoffs.next(&key),
            Class::Denied => DENIED_AGAIN,
        },
    };
    // Pods that are loading are looked at meanwhile, whatever else has failed.
    Action::requeue(if ctx.nudges.is_aiming(&key) { wait.min(LOOK_LOADING) } else { wait })
}

/// The story of a reconciliation.
async fn steps(agent: Arc<Agent>, ctx: &Context) -> Result<Outcome, Error> {
    if agent.metadata.deletion_timestamp.is_some() {
        // Owner references do the rest, or leave the children alone if the deletion says so.
        return Ok(Outcome::Settled { again: None });
    }
    let inputs = dereference::dereference(agent, ctx).await.map_err(Error::Dereference)?;
    match validate::validate(&inputs, &ctx.default_image) {
        Err(refusal) => {
            report(&inputs, &Stage::Refused(&refusal), ctx).await?;
            Ok(Outcome::Invalid)
        }
        Ok(validated) => run(&inputs, &validated, ctx).await,
    }
}

/// A valid agent: its children, its pods, and what comes of them.
async fn run(inputs: &Inputs, validated: &Validated, ctx: &Context) -> Result<Outcome, Error> {
    let children = build::build(validated);
    let applied = apply::apply(&children, inputs, ctx).await;
    // Without the new document there is nothing new to load, and nothing to nudge for.
    let observation =
        if applied.config_map { Some(observe::observe(inputs, &validated.target(), ctx).await) } else { None };
    let stage = Stage::Built {
        agent: validated,
        failure: applied.failure.as_ref().map(|error| (apply::reason(error), error.to_string())),
        rollout: applied.deployment.as_ref().map(Rollout::of),
        observation: observation.as_ref(),
    };
    let verdicts = report(inputs, &stage, ctx).await?;
    if let Some(observation) = &observation {
        share(inputs, observation, &validated.target(), ctx).await;
    }
    if !verdicts.is_loading() {
        ctx.nudges.settle(&inputs.key);
    }
    match applied.failure {
        Some(error) => Err(Error::Apply(error)),
        None => Ok(outcome(inputs, &verdicts, ctx)),
    }
}

/// Writes the status and tells of its flips.
async fn report(inputs: &Inputs, stage: &Stage<'_>, ctx: &Context) -> Result<Verdicts, Error> {
    let verdicts = status::verdicts(stage, &inputs.previous.conditions);
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let status: AgentStatus = status::status(inputs, stage, &verdicts, now);
    let written = ctx.statuses.write(&inputs.agent, &inputs.previous, &status).await.map_err(Error::Status)?;
    if written {
        ctx.metrics.status_written(Kind::Agent);
        let reference = inputs.agent.object_ref(&());
        ctx.announcer.announce(&reference, &inputs.previous.conditions, &status.conditions).await;
    }
    Ok(verdicts)
}

/// Hands what pods say of Secrets and servers to the controller of the providers that the agent names.
async fn share(inputs: &Inputs, observation: &Observation, target: &Target, ctx: &Context) {
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
        ctx.queues.wake_provider(ObjectRef::from_obj(provider.as_ref())).await;
    }
}

/// Notes which generation of each provider the pods speak of.
fn of_generations(
    mut reports: BTreeMap<ObjectKey, ProviderReport>,
    providers: &[Arc<Provider>],
) -> BTreeMap<ObjectKey, ProviderReport> {
    for provider in providers {
        if let Some(report) = reports.get_mut(&ObjectKey::of(provider.as_ref())) {
            report.generation = provider.metadata.generation;
        }
    }
    reports
}

fn outcome(inputs: &Inputs, verdicts: &Verdicts, ctx: &Context) -> Outcome {
    if verdicts.is_loading() {
        let requeue_after = ctx.nudges.look_again(&inputs.key, Instant::now());
        return Outcome::Waiting { reason: Reason::Loading.as_str(), requeue_after };
    }
    let spread = inputs
        .agent
        .uid()
        .unwrap_or_default()
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
        % LOOK_SPREAD_MS;
    Outcome::Settled { again: Some(LOOK_AGAIN + Duration::from_millis(spread)) }
}
