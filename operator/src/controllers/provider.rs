//! The controller of Providers. A Provider has no children: what is known of it is what the pods of its agents report.

pub mod status;
pub mod validate;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use astromesh_crds::v1alpha1::Provider;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};
use tokio::time::Instant;

use self::status::Facts;
use crate::announcer::Announcer;
use crate::backoff::Backoffs;
use crate::metrics::{Kind, Metrics};
use crate::names::{ObjectKey, models_of};
use crate::observing::{Class, Classified, Outcome, observed};
use crate::probing::{LOOK_EVERY, Probes};
use crate::reports::Reports;
use crate::statuses::{StatusError, Statuses};
use crate::stores::Stores;

/// A missing permission is asked for again at this pace.
const DENIED_AGAIN: Duration = Duration::from_secs(60);
/// Catches what a broken watch did not tell, such as an agent that went meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// Everything that a reconciliation may use.
pub struct Context {
    /// What the watches know.
    pub stores: Stores,
    /// Writes statuses.
    pub statuses: Statuses<Provider>,
    /// What pods report.
    pub reports: Arc<Reports>,
    /// What the operator itself has found of servers that nobody uses.
    pub probes: Arc<Probes>,
    /// Publishes Events.
    pub announcer: Arc<Announcer>,
    /// The failures so far.
    pub backoffs: Backoffs,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// Forgets a provider that is gone.
    pub fn forget(&self, provider: &Provider) {
        let key = ObjectKey::of(provider);
        self.statuses.forget(&key);
        self.probes.forget(&key);
        self.backoffs.reset(&key);
        self.announcer.forget(&provider.uid().unwrap_or_default());
    }
}

/// Why a reconciliation failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to report")]
pub struct Error(#[source] StatusError);

impl Classified for Error {
    fn class(&self) -> Class {
        match self.0 {
            StatusError::Denied(_) => Class::Denied,
            StatusError::Write(_) | StatusError::Timeout => Class::Transient,
        }
    }
}

/// Reconciles one provider.
///
/// # Errors
/// See [`Error`].
pub async fn reconcile(provider: Arc<Provider>, ctx: Arc<Context>) -> Result<Action, Error> {
    let key = ObjectKey::of(provider.as_ref());
    let result = observed(Kind::Provider, &key, &ctx.metrics, steps(provider, &ctx)).await;
    if result.is_ok() {
        ctx.backoffs.reset(&key);
    }
    result
}

/// When to try again after a failure.
#[must_use]
pub fn error_policy(provider: Arc<Provider>, error: &Error, ctx: Arc<Context>) -> Action {
    match error.class() {
        Class::Transient => Action::requeue(ctx.backoffs.next(&ObjectKey::of(provider.as_ref()))),
        Class::Denied => Action::requeue(DENIED_AGAIN),
    }
}

async fn steps(provider: Arc<Provider>, ctx: &Context) -> Result<Outcome, Error> {
    if provider.metadata.deletion_timestamp.is_some() {
        return Ok(Outcome::Settled { again: None });
    }
    let previous = ctx.statuses.live(provider.as_ref(), || ctx.stores.provider(&ObjectKey::of(provider.as_ref())));
    let facts = facts(&provider, ctx);
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let status = status::status(&provider, &previous, &facts, now);
    if ctx.statuses.write(&provider, &previous, &status).await.map_err(Error)? {
        ctx.metrics.status_written(Kind::Provider);
        ctx.announcer.announce(&provider.object_ref(&()), &previous.conditions, &status.conditions).await;
    }
    Ok(match (&facts.problem, facts.users) {
        (Some(_), _) => Outcome::Invalid,
        (None, 0) => Outcome::Settled { again: Some(LOOK_EVERY) },
        (None, _) => Outcome::Settled { again: Some(LOOK_AGAIN) },
    })
}

/// Everything that is known of a provider; no call goes out.
fn facts(provider: &Provider, ctx: &Context) -> Facts {
    let key = ObjectKey::of(provider);
    let users = ctx.stores.users(provider);
    let problem = validate::problem(provider);
    let finding = if users.is_empty() && problem.is_none() {
        ctx.probes.look(provider, Instant::now())
    } else {
        // Their pods tell from now on.
        ctx.probes.forget(&key);
        None
    };
    let secrets = validate::secrets(provider).into_iter();
    Facts {
        secrets: secrets.map(|secret| (secret.clone(), ctx.reports.secret(&users, &secret))).collect(),
        users: users.len(),
        report: ctx.reports.provider(&users, &key, provider.metadata.generation),
        wanted: wanted(provider, &users, ctx),
        problem,
        finding,
    }
}

/// The models of the provider's spec, and those that agents name.
fn wanted(provider: &Provider, users: &[ObjectKey], ctx: &Context) -> BTreeSet<String> {
    let key = ObjectKey::of(provider);
    let agents = users.iter().filter_map(|user| ctx.stores.agent(user));
    let named: Vec<String> = agents.flat_map(|agent| models_of(&agent, &key)).collect();
    provider.spec.models.iter().map(|model| model.name.clone()).chain(named).collect()
}

#[cfg(test)]
mod tests;
