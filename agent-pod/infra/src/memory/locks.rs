//! Locks of sessions within one process. Who waits longest comes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use agent_pod_core::memory::SessionKey;
use tokio::sync::{Mutex as SessionMutex, OwnedMutexGuard};

/// The locks of the sessions in use.
#[derive(Default)]
pub(super) struct SessionLocks(Mutex<Locks>);

#[derive(Default)]
struct Locks {
    by_key: HashMap<SessionKey, Weak<SessionMutex<()>>>,
    purge_at: usize,
}

impl SessionLocks {
    /// Waits for the session to be free in this process.
    pub(super) async fn take(&self, key: &SessionKey) -> OwnedMutexGuard<()> {
        let session = self.of(key);
        session.lock_owned().await
    }

    fn of(&self, key: &SessionKey) -> Arc<SessionMutex<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).of(key)
    }
}

impl Locks {
    /// The lock of a session. Those that nobody holds or waits for are dropped whenever the table has doubled.
    fn of(&mut self, key: &SessionKey) -> Arc<SessionMutex<()>> {
        if let Some(session) = self.by_key.get(key).and_then(Weak::upgrade) {
            return session;
        }
        if self.by_key.len() >= self.purge_at {
            self.by_key.retain(|_, session| session.strong_count() > 0);
            self.purge_at = (self.by_key.len() * 2).max(64);
        }
        let session = Arc::default();
        self.by_key.insert(key.clone(), Arc::downgrade(&session));
        session
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
        assert!(locks.0.lock().unwrap().by_key.len() <= 64);
        assert!(locks.of(&key(0)).try_lock().is_err(), "the held one is kept");
        drop(held);
        assert!(locks.of(&key(0)).try_lock().is_ok());
    }
}
