//! The wrapper around every reconciliation: one span, one outcome, one duration, one line per failure.

use std::time::{Duration, Instant};

use kube::runtime::controller::Action;
use tracing::Instrument as _;

use crate::metrics::{Kind, Metrics, Outcome as Label};
use crate::names::ObjectKey;

/// How a reconciliation ends when nothing has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be; looked at again after `again`, if given.
    Settled {
        /// When to look again.
        again: Option<Duration>,
    },
    /// The spec needs an edit.
    Invalid,
    /// Somebody has to act; that it has happened may be told by nobody.
    Refused {
        /// When to look again.
        requeue_after: Duration,
    },
}

/// What sort of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It may succeed when tried again.
    Transient,
    /// A permission is missing: somebody must grant it.
    Denied,
}

/// An error that knows its class.
pub trait Classified: std::error::Error + 'static {
    /// The class.
    fn class(&self) -> Class;
}

/// Runs a reconciliation.
///
/// # Errors
/// What the reconciliation fails with; it is logged here, and nowhere else.
pub async fn observed<E: Classified>(
    kind: Kind,
    key: &ObjectKey,
    metrics: &Metrics,
    reconcile: impl Future<Output = Result<Outcome, E>>,
) -> Result<Action, E> {
    let span = tracing::info_span!("reconcile", ?kind, namespace = key.namespace, object = key.name);
    async {
        let started = Instant::now();
        let result = reconcile.await;
        let took = started.elapsed();
        let (label, action) = match result {
            Ok(Outcome::Settled { again }) => {
                (Label::Settled, Ok(again.map_or_else(Action::await_change, Action::requeue)))
            }
            Ok(Outcome::Invalid) => (Label::Invalid, Ok(Action::await_change())),
            Ok(Outcome::Refused { requeue_after }) => (Label::Invalid, Ok(Action::requeue(requeue_after))),
            Err(error) => {
                let label = match error.class() {
                    Class::Transient => Label::Transient,
                    Class::Denied => Label::Denied,
                };
                tracing::warn!(error = %crate::telemetry::chain(&error), "reconciliation failed, trying again");
                (label, Err(error))
            }
        };
        metrics.reconciled(kind, label, took);
        tracing::debug!(result = ?label, ?took, "reconciled");
        action
    }
    .instrument(span)
    .await
}
