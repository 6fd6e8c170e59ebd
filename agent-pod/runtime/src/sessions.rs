//! Runs of one session, one after the other. They wait here, before they take a place among the runs of their agent, so
//! that one session with many runs leaves the others their places.
//!
//! It is for this pod alone: replicas keep their turns apart by the lock in their shared store, which a run takes later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_pod_core::error::{ErrorCode, RunError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The most runs that wait for one session.
const WAITING_MAX: usize = 32;

/// When one that was turned away may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// `namespace/name` of the agent, and the session.
type Key = (String, String);

/// The sessions that have runs here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Mutex<HashMap<Key, Session>>>);

#[derive(Debug)]
struct Session {
    turn: Arc<Semaphore>,
    /// Runs that have it or wait for it.
    runs: usize,
}

/// A run's turn in its session, or its place among those that wait for it; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct SessionTurn {
    sessions: Sessions,
    key: Key,
    permit: Option<OwnedSemaphorePermit>,
}

impl Sessions {
    /// Waits until it is this run's turn, in the order of their coming, but not after `deadline`.
    ///
    /// # Errors
    /// `session_busy` where too many wait already; `deadline_exceeded`.
    pub(crate) async fn turn(&self, agent: &str, session: &str, deadline: Instant) -> Result<SessionTurn, RunError> {
        let key = (agent.to_owned(), session.to_owned());
        let (turn, mut place) = {
            let mut sessions = self.lock();
            let fresh = || Session { turn: Arc::new(Semaphore::new(1)), runs: 0 };
            let session = sessions.entry(key.clone()).or_insert_with(fresh);
            if session.runs > WAITING_MAX {
                return Err(busy());
            }
            session.runs += 1;
            (Arc::clone(&session.turn), SessionTurn { sessions: self.clone(), key, permit: None })
        };
        match timeout_at(deadline, turn.acquire_owned()).await {
            // The semaphore is never closed.
            Ok(permit) => place.permit = permit.ok(),
            Err(_elapsed) => return Err(too_late()),
        }
        Ok(place)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionTurn {
    fn drop(&mut self) {
        // Before the session is forgotten: whoever comes then begins a new one.
        drop(self.permit.take());
        let mut sessions = self.sessions.lock();
        if let Some(session) = sessions.get_mut(&self.key) {
            session.runs -= 1;
            if session.runs == 0 {
                sessions.remove(&self.key);
            }
        }
    }
}

fn too_late() -> RunError {
    let message = "the run's deadline has passed while other runs of its session went on; ask again";
    RunError::new(ErrorCode::DeadlineExceeded, message)
}

fn busy() -> RunError {
    let message = format!("{WAITING_MAX} runs wait for this session already; ask again when they have ended");
    RunError::new(ErrorCode::SessionBusy, message).retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::join_all;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test(start_paused = true)]
    async fn one_run_of_a_session_goes_on_and_the_next_follows() {
        let sessions = Sessions::default();
        let first = sessions.turn("shop/a", "s", later()).await.unwrap();
        let mut second = std::pin::pin!(sessions.turn("shop/a", "s", later()));
        assert!(second.as_mut().now_or_never().is_none());
        drop(sessions.turn("shop/a", "t", later()).now_or_never().unwrap().unwrap());
        drop(sessions.turn("shop/b", "s", later()).now_or_never().unwrap().unwrap());
        drop(first);
        drop(second.await.unwrap());
        assert!(sessions.lock().is_empty(), "what nobody uses is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_wait_and_no_more_and_not_for_ever() {
        let sessions = Sessions::default();
        let held = sessions.turn("shop/a", "s", later()).await.unwrap();
        let waiting = join_all((0..=WAITING_MAX).map(|_| sessions.turn("shop/a", "s", later()))).await;
        let codes: Vec<_> = waiting.into_iter().map(|turn| turn.unwrap_err().code).collect();
        let late = codes.iter().filter(|code| **code == ErrorCode::DeadlineExceeded).count();
        let busy = codes.iter().filter(|code| **code == ErrorCode::SessionBusy).count();
        assert_eq!((late, busy), (WAITING_MAX, 1));
        drop(held);
        assert!(sessions.lock().is_empty());
    }
}
