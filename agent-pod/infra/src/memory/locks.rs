//! Locks of sessions within one process. Who waits longest comes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use agent_pod_core::memory::{Epoch, SessionKey};
use tokio::sync::{Mutex as SessionMutex, OwnedMutexGuard};

/// The locks of the sessions in use.
#[derive(Default)]
pub(super) struct SessionLocks(Mutex<Locks>);

#[derive(Default)]
struct Locks {
    by_key: HashMap<SessionKey, Known>,
    purge_at: usize,
}

struct Known {
    lock: Weak<SessionMutex<()>>,
    epoch: Epoch,
}

impl Known {
    /// Whether somebody holds it, waits for it, or has yet to write of a turn that held it.
    fn in_use(&self) -> bool {
        self.lock.strong_count() > 0 || self.epoch.is_watched()
    }
}

impl SessionLocks {
    /// Waits for the session to be free in this process. Gives its epoch too, which ends when it is forgotten.
    pub(super) async fn take(&self, key: &SessionKey) -> (OwnedMutexGuard<()>, Epoch) {
        let (session, epoch) = self.locks().of(key);
        (session.lock_owned().await, epoch)
    }

    /// Whatever a turn of the session has under way is not to be kept.
    pub(super) fn forget(&self, key: &SessionKey) {
        if let Some(known) = self.locks().by_key.get(key) {
            known.epoch.end();
        }
    }

    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Locks {
    /// The lock of a session. Those that nobody needs are dropped whenever the table has doubled.
    fn of(&mut self, key: &SessionKey) -> (Arc<SessionMutex<()>>, Epoch) {
        if let Some(known) = self.by_key.get_mut(key)
            && known.in_use()
        {
            let lock = known.lock.upgrade().unwrap_or_default();
            known.lock = Arc::downgrade(&lock);
            return (lock, known.epoch.clone());
        }
        if self.by_key.len() >= self.purge_at {
            self.by_key.retain(|_, known| known.in_use());
            self.purge_at = (self.by_key.len() * 2).max(64);
        }
        let (lock, epoch) = <(Arc<_>, Epoch)>::default();
        self.by_key.insert(key.clone(), Known { lock: Arc::downgrade(&lock), epoch: epoch.clone() });
        (lock, epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(session: usize) -> SessionKey {
        SessionKey { agent: "shop/support".to_owned(), session: session.to_string() }
    }

    #[tokio::test]
    async fn locks_that_nobody_holds_are_dropped() {
        let locks = SessionLocks::default();
        let held = locks.take(&key(0)).await;
        for session in 1..1000 {
            drop(locks.take(&key(session)).await);
        }
        assert!(locks.locks().by_key.len() <= 64);
        assert!(locks.locks().of(&key(0)).0.try_lock().is_err(), "the held one is kept");
        drop(held);
        assert!(locks.locks().of(&key(0)).0.try_lock().is_ok());
    }
}
