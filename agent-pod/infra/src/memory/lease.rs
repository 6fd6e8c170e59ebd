//! Locks of sessions across replicas: a lease in the shared store, held by a token and renewed until it is dropped.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::memory::{SessionKey, SessionLock, StoreError};
use async_trait::async_trait;
use tokio::sync::{OwnedMutexGuard, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How long a lease holds without being renewed: as long is a session blocked whose pod was killed.
pub(super) const LEASE_TIME: Duration = Duration::from_secs(15);

/// How often it is renewed: two renewals may be lost.
const RENEWAL: Duration = Duration::from_secs(5);

/// How often, and how long, a lease is tried to be given back to a store that does not answer. One that the store has
/// granted without the answer getting through would else block the session for its whole time once the store is back.
const RETURN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));

/// Leases that wait for their store to be given back at most; others end by themselves.
const RETURNING_MAX: usize = 1_000;

/// Between two looks whether another replica has finished, at first and at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// The leases of a store. Each operation is bounded by itself.
#[async_trait]
pub(super) trait Leases: Send + Sync + 'static {
    /// Takes the lease if it is free or over.
    async fn take(&self, key: &SessionKey, token: &str) -> Result<bool, StoreError>;
    /// Holds it for another [`LEASE_TIME`]; `false` if it is not this token's.
    async fn renew(&self, key: &SessionKey, token: &str) -> Result<bool, StoreError>;
    /// Ends it if it is this token's.
    async fn release(&self, key: &SessionKey, token: &str) -> Result<(), StoreError>;
}

/// Waits for the session's lease. `local` is the session's lock in this process, so that only one waiter of each
/// replica asks the store.
///
/// The lease is renewed and in the end released by a task of its own among `keepers`, because dropping a lock cannot
/// wait. The task ends with the lock.
pub(super) async fn lease(
    (leases, keepers): (Arc<dyn Leases>, &TaskTracker),
    local: OwnedMutexGuard<()>,
    key: &SessionKey,
) -> Result<SessionLock, StoreError> {
    let token = Uuid::new_v4().to_string();
    let (held, dropped) = oneshot::channel::<()>();
    // Before the first attempt: whoever gives up in the middle of it may have the lease already.
    let keeper = Keeper { leases: Arc::clone(&leases), key: key.clone(), token: token.clone() };
    let many = keepers.len() >= RETURNING_MAX;
    drop(keepers.spawn(keeper.keep(dropped, local, many)));
    let (mut wait, wait_max) = LOOKS;
    while !leases.take(key, &token).await? {
        sleep(wait).await;
        wait = wait.saturating_mul(2).min(wait_max);
    }
    Ok(SessionLock::fenced(held, token))
}

struct Keeper {
    leases: Arc<dyn Leases>,
    key: SessionKey,
    token: String,
}

impl Keeper {
    async fn keep(self, mut dropped: oneshot::Receiver<()>, local: OwnedMutexGuard<()>, many: bool) {
        let mut renewals = interval_at(Instant::now() + RENEWAL, RENEWAL);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // The sender never sends: it is gone when the lock is.
                _ = &mut dropped => break,
                _ = renewals.tick() => {
                    // A lease that was not taken yet is not renewed either. One that was lost is found out by the
                    // store when the turn is to be written.
                    if let Err(error) = self.leases.renew(&self.key, &self.token).await {
                        tracing::warn!(cause = %error, "the lock of a session could not be renewed");
                    }
                }
            }
        }
        let released = self.leases.release(&self.key, &self.token).await;
        // Whoever waits in this process waits for no store.
        drop(local);
        if let Err(error) = released
            && (many || !self.give_back().await)
        {
            tracing::warn!(cause = %error, "the lock of a session could not be released; it ends by itself");
        }
    }

    /// Gives the lease back when the store answers again. Returns whether it could.
    async fn give_back(&self) -> bool {
        let (pause, time) = RETURN;
        let begun = Instant::now();
        while begun.elapsed() < time {
            sleep(pause).await;
            if self.leases.release(&self.key, &self.token).await.is_ok() {
                // What was sent before may be carried out after this, over a connection that is broken on our side only.
                sleep(pause).await;
                return self.leases.release(&self.key, &self.token).await.is_ok();
            }
        }
        false
    }
}
