//! Leader election by a Lease: at most one replica writes.
//!
//! ```text
//!            nobody holds it, or it has not changed for its duration
//!   standby ────────────────────────────────────────────────────────► leader ──SIGTERM──► released
//!                                                                        │
//!                                                    not renewed in time └──────────────► lost: the process ends
//! ```
//!
//! Clocks of different machines are never compared: a Lease has expired when *this* process has not seen it change for
//! its duration. Every write names the version that it replaces, so of two that try, one wins.

mod state;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use state::{Decision, Elector, Seen};

use crate::names::{LEASE, MANAGER};

/// How long a Lease holds without a renewal.
pub const DURATION: Duration = Duration::from_secs(10);
/// How often the leader renews.
pub const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often a standby looks. A take-over is at most this later than the expiry.
pub const RETRY_EVERY: Duration = Duration::from_secs(2);
/// A leader that could not renew for this long is none any more, well before somebody else may be.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(7);
/// One call; several fit before the deadline.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the Lease could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server refused, or could not be asked.
    #[error("failed to {verb} lease `{LEASE}`")]
    Call {
        /// What was tried.
        verb: &'static str,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("the API server did not {verb} lease `{LEASE}` in time")]
    Timeout {
        /// What was tried.
        verb: &'static str,
    },
}

/// Takes part in the election of one replica.
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    elector: Elector,
    lease: Option<Lease>,
}

impl Candidate {
    /// A candidate that has not looked yet.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            identity: identity.to_owned(),
            elector: Elector::new(identity, DURATION),
            lease: None,
        }
    }

    /// Waits until this replica is the leader. `false` when told to stop before.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        loop {
            let asked = Instant::now();
            match self.attempt(asked).await {
                Ok(true) => {
                    tracing::info!(identity = self.identity, "this replica leads");
                    return true;
                }
                Ok(false) => tracing::debug!("another replica leads"),
                Err(error) => {
                    tracing::warn!(error = %crate::telemetry::chain(&error), "lease not acquired, trying again")
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(RETRY_EVERY)).await.is_none() {
                return false;
            }
        }
    }

    /// Renews until told to stop (`true`) or until the lease is lost (`false`).
    pub async fn keep(&mut self, stop: &CancellationToken) -> bool {
        let mut renewed = Instant::now();
        let mut wait = RENEW_EVERY;
        loop {
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return true;
            }
            let asked = Instant::now();
            match self.attempt(asked).await {
                Ok(true) => {
                    renewed = asked;
                    wait = RENEW_EVERY;
                }
                Ok(false) => {
                    tracing::error!("another replica has taken the lease");
                    return false;
                }
                Err(error) => {
                    tracing::warn!(error = %crate::telemetry::chain(&error), "lease not renewed, trying again");
                    wait = Duration::from_millis(500);
                }
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                tracing::error!("the lease could not be renewed in time");
                return false;
            }
        }
    }

    /// Gives the lease back, so that another replica need not wait for its expiry.
    pub async fn release(&mut self) {
        let Some(mut lease) = self.lease.take() else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return;
        }
        spec.holder_identity = None;
        match call("release", self.api.replace(LEASE, &PostParams::default(), &lease)).await {
            Ok(_lease) => tracing::info!("lease released"),
            Err(error) => tracing::warn!(error = %crate::telemetry::chain(&error), "lease not released, it expires"),
        }
    }

    /// Looks, and takes or renews what may be taken or renewed. Says whether this replica leads.
    async fn attempt(&mut self, now: Instant) -> Result<bool, LeaseError> {
        // A leader knows the Lease that it wrote; somebody else's write makes its own fail.
        let known = match self.lease.take() {
            Some(lease) => Some(lease),
            None => call("get", self.api.get_opt(LEASE)).await?,
        };
        let decision = self.elector.decide(known.as_ref().map(Seen::of).as_ref(), now);
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        let written = match decision {
            Decision::Wait => return Ok(false),
            Decision::Create => {
                let lease = self.signed(None);
                call("create", self.api.create(&params, &lease)).await
            }
            Decision::Take | Decision::Renew => {
                let lease = self.signed(known);
                call("replace", self.api.replace(LEASE, &params, &lease)).await
            }
        };
        match written {
            Ok(lease) => {
                self.lease = Some(lease);
                Ok(true)
            }
            // Somebody was quicker: look again before deciding anything.
            Err(LeaseError::Call { source, .. }) if is_conflict(&source) => {
                let lease = call("get", self.api.get_opt(LEASE)).await?;
                let ours = lease.as_ref().and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref())
                    == Some(self.identity.as_str());
                self.elector.decide(lease.as_ref().map(Seen::of).as_ref(), now);
                if ours {
                    self.lease = lease;
                }
                Ok(ours)
            }
            Err(error) => Err(error),
        }
    }

    fn signed(&self, lease: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
            spec: None,
        });
        let before = lease.spec.take().unwrap_or_default();
        let same = before.holder_identity.as_deref() == Some(self.identity.as_str());
        let transitions = before.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if same { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if same { transitions } else { transitions.saturating_add(1) }),
            ..LeaseSpec::default()
        });
        lease
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

async fn call<T>(verb: &'static str, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    tokio::time::timeout(CALL_TIMEOUT, call)
        .await
        .map_err(|_elapsed| LeaseError::Timeout { verb })?
        .map_err(|source| LeaseError::Call { verb, source: Box::new(source) })
}
