//! Leader election by a Lease: at most one replica writes.
//!
//! ```text
//!            nobody holds it, or it has not changed for its duration
//!   standby ────────────────────────────────────────────────────────► leader ──SIGTERM──► released
//!                                                                        │
//!                                           not renewed in time, or taken └──────────────► lost: the process ends
//! ```
//!
//! Clocks of different machines are never compared: a Lease has expired when *this* process has not seen it change for
//! its duration. Every write of it names the version that it replaces, so of two that try, one wins.
//!
//! A renewal counts from before it was asked for, an expiry from after the answer that showed the Lease: however late
//! the API server answers, another replica leads [`DURATION`] after the last renewal at the earliest. The leader's
//! [`Fence`] lets no write begin, and gives up those that have no answer yet, [`RENEW_DEADLINE`] after it. The difference
//! of 3 s is for what is on its way to the API server or within it then; Kubernetes has no means to call that back, and
//! what stays there for longer may still be carried out.

mod fence;
mod lost;
mod owner;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

pub use fence::{Closed, Fence};
pub use lost::Lost;
pub use owner::{OwnerError, owner};
pub use state::{Decision, Elector, Seen};

use crate::names::{LEASE, MANAGER};
use crate::telemetry::chain;

/// How long a Lease holds without a renewal.
pub const DURATION: Duration = Duration::from_secs(10);
/// How often the leader renews.
pub const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often a standby looks. A take-over is at most this later than the expiry.
pub const RETRY_EVERY: Duration = Duration::from_secs(2);
/// A leader that could not renew for this long is none any more, well before somebody else may be.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(7);
/// How soon a leader tries again.
const RENEW_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// One call; several fit before the deadline.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often an attempt looks again because somebody was quicker.
const LOOKS_MAX: u32 = 3;

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
    #[error("the API server did not answer (tried to {verb} lease `{LEASE}`)")]
    Timeout {
        /// What was tried.
        verb: &'static str,
    },
    /// Whenever it was written, somebody had been quicker.
    #[error("lease `{LEASE}` is written by somebody else all the time")]
    Contended,
}

impl LeaseError {
    fn has_status(&self, codes: &[u16]) -> bool {
        match self {
            Self::Call { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(status) if codes.contains(&status.code))
            }
            Self::Timeout { .. } | Self::Contended => false,
        }
    }
}

/// What an attempt has found.
enum Standing {
    /// This replica leads.
    Leads,
    /// Another one leads.
    Follows {
        /// Its name.
        holder: String,
    },
    /// There is no Lease, and none may be made.
    Gone,
}

/// Takes part in the election of one replica.
pub struct Candidate {
    api: Api<Lease>,
    identity: String,
    owner: Option<OwnerReference>,
    elector: Elector,
    /// As this replica has written it.
    lease: Option<Lease>,
    renewed: Instant,
    fence: fence::Keeper,
}

impl Candidate {
    /// A candidate that has not looked yet. The Lease goes with its `owner`, if there is one.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: &str, owner: Option<OwnerReference>) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            identity: identity.to_owned(),
            owner,
            elector: Elector::new(identity, DURATION),
            lease: None,
            renewed: Instant::now(),
            fence: fence::Keeper::default(),
        }
    }

    /// What writes have to pass that only the leader may do.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence.fence()
    }

    /// Waits until this replica is the leader. `false` when told to stop before.
    pub async fn acquire(&mut self, stop: &CancellationToken) -> bool {
        let mut followed = None;
        while !stop.is_cancelled() {
            // Not interrupted by a stop: what has been taken has to be given back.
            match timeout(RENEW_DEADLINE, self.attempt(true)).await {
                Ok(Ok(Standing::Leads)) => {
                    tracing::info!(identity = self.identity, "this replica leads");
                    return true;
                }
                Ok(Ok(Standing::Follows { holder })) => {
                    if followed.as_ref() != Some(&holder) {
                        tracing::info!(identity = self.identity, holder, "another replica leads, standing by");
                        followed = Some(holder);
                    }
                }
                Ok(Ok(Standing::Gone)) => {}
                Ok(Err(error)) => tracing::warn!(error = %chain(&error), "lease not acquired, trying again"),
                Err(_elapsed) => tracing::warn!("lease not acquired in time, trying again"),
            }
            stop.run_until_cancelled(sleep(RETRY_EVERY)).await;
        }
        false
    }

    /// Renews until the lease is lost, and says why. From then on the fence is closed. After `stop` a Lease that is gone
    /// is not made anew: it went with the installation.
    pub async fn keep(&mut self, stop: &CancellationToken) -> Lost {
        let lost = self.renew(stop).await;
        self.fence.close();
        tracing::error!(identity = self.identity, "{lost}");
        lost
    }

    async fn renew(&mut self, stop: &CancellationToken) -> Lost {
        let (mut wait, mut failure) = (RENEW_EVERY, None);
        loop {
            let deadline = self.renewed + RENEW_DEADLINE;
            let attempt = async {
                sleep(wait).await;
                self.attempt(!stop.is_cancelled()).await
            };
            match timeout_at(deadline, attempt).await {
                Ok(Ok(Standing::Leads)) => (wait, failure) = (RENEW_EVERY, None),
                Ok(Ok(Standing::Follows { holder })) => return Lost::Taken { holder },
                Ok(Ok(Standing::Gone)) => return Lost::Gone,
                Ok(Err(error)) => {
                    let error = chain(&error);
                    tracing::warn!(error, "lease not renewed, trying again");
                    (wait, failure) = (RENEW_AGAIN_AFTER, Some(error));
                }
                Err(_elapsed) => {
                    let cause = failure.unwrap_or_else(|| "the API server did not answer".to_owned());
                    return Lost::NotRenewed { cause };
                }
            }
        }
    }

    /// Gives the lease back, so that another replica need not wait for its expiry. Nothing may be written after this.
    pub async fn release(&mut self) {
        self.fence.close();
        let Some(mut lease) = self.lease.take() else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() != Some(self.identity.as_str()) {
            return;
        }
        spec.holder_identity = None;
        match call("release", self.api.replace(LEASE, &PostParams::default(), &lease)).await {
            Ok(_lease) => tracing::info!("lease released"),
            Err(error) if error.has_status(&[404]) => tracing::info!("the lease is gone, there is nothing to release"),
            Err(error) => tracing::warn!(error = %chain(&error), "lease not released, it expires"),
        }
    }

    /// Looks, and takes or renews what may be taken or renewed.
    async fn attempt(&mut self, create: bool) -> Result<Standing, LeaseError> {
        let params = PostParams { field_manager: Some(MANAGER.into()), ..PostParams::default() };
        for _look in 0..LOOKS_MAX {
            // A leader knows the Lease that it wrote; somebody else's write makes its own fail.
            let known = match self.lease.take() {
                Some(lease) => Some(lease),
                None => call("get", self.api.get_opt(LEASE)).await?,
            };
            // After the answer, which may show what was written while it was on its way; before the write.
            let now = Instant::now();
            let adopted = known.as_ref().is_some_and(|lease| self.is_owned(lease));
            let written = match self.elector.decide(known.as_ref().map(Seen::of).as_ref(), now) {
                Decision::Wait(holder) => return Ok(Standing::Follows { holder }),
                Decision::Create if !create => return Ok(Standing::Gone),
                Decision::Create => call("create", self.api.create(&params, &self.signed(None))).await,
                Decision::Take | Decision::Renew => {
                    call("replace", self.api.replace(LEASE, &params, &self.signed(known))).await
                }
            };
            match written {
                Ok(lease) => {
                    self.elector.decide(Some(&Seen::of(&lease)), now);
                    self.lease = Some(lease);
                    self.renewed = now;
                    self.fence.open_until(now + RENEW_DEADLINE);
                    return Ok(Standing::Leads);
                }
                // Somebody was quicker, or has deleted it: look again before deciding anything.
                Err(error) if error.has_status(&[404, 409]) => {}
                // Some clusters let only those who may delete an object change its owners.
                Err(error) if error.has_status(&[403]) && self.owner.is_some() && !adopted => {
                    tracing::warn!(error = %chain(&error), "the lease gets no owner: an uninstall may leave it behind");
                    self.owner = None;
                }
                Err(error) => return Err(error),
            }
        }
        Err(LeaseError::Contended)
    }

    fn is_owned(&self, lease: &Lease) -> bool {
        self.owner.as_ref().is_none_or(|owner| lease.metadata.owner_references.iter().flatten().any(|it| it == owner))
    }

    fn signed(&self, lease: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
            spec: None,
        });
        if let Some(owner) = self.owner.as_ref().filter(|_owner| !self.is_owned(&lease)) {
            let owners = lease.metadata.owner_references.get_or_insert_default();
            // One of a former installation would take the Lease along.
            owners.retain(|other| (&other.kind, &other.name) != (&owner.kind, &owner.name));
            owners.push(owner.clone());
        }
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

async fn call<T>(verb: &'static str, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    timeout(CALL_TIMEOUT, call)
        .await
        .map_err(|_elapsed| LeaseError::Timeout { verb })?
        .map_err(|source| LeaseError::Call { verb, source: Box::new(source) })
}
