//! The controller of Providers. A Provider has no children: what is known of it is what the pods of its agents report.

pub mod status;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use astromesh_crds::v1alpha1::Provider;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};

use self::status::Facts;
use crate::announcer::Announcer;
use crate::backoff::Backoffs;
use crate::metrics::{Kind, Metrics};
use crate::names::ObjectKey;
use crate::observing::{Class, Classified, Outcome, observed};
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
    let previous = ctx.statuses.live(provider.as_ref(), provider.status.as_ref());
    let users = ctx.stores.users(&provider);
    let facts = Facts {
        problem: validate::problem(&provider),
        presence: validate::secrets(&provider)
            .into_iter()
            .next()
            .map(|secret| (ctx.reports.presence(&users, &secret), secret)),
        users: users.len(),
    };
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let status = status::status(&provider, &previous, &facts, now);
    if ctx.statuses.write(&provider, &previous, &status).await.map_err(Error)? {
        ctx.metrics.status_written(Kind::Provider);
        ctx.announcer.announce(&provider.object_ref(&()), &previous.conditions, &status.conditions).await;
    }
    Ok(if facts.problem.is_some() { Outcome::Invalid } else { Outcome::Settled { again: Some(LOOK_AGAIN) } })
}
