//! A store that is down is not waited for again and again.
//!
//! ```text
//!  answers ── no answer ──► skipped for a pause ─► one operation asks ─┬─ answer ───► answers
//!                                  ▲                                   └─ no answer ─► a longer pause
//!                                  └───────────────────────────────────────┘
//! ```
//!
//! An operation that the store refuses is an answer. Only what comes from the way to it counts: no caller can shut a store
//! for others by what is asked of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_pod_core::memory::StoreError;
use tokio::time::{Instant, timeout};

use super::{FIRST_WAIT, OPERATION_WAIT};

/// How long a store that did not answer is left alone: at first, and at most. Each pause is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// Why an operation failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// There was no way to the store, or no answer in time.
    Down(StoreError),
    /// The store said so.
    Refused(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Down(error) | Failed::Refused(error) => error,
        }
    }
}

/// What is known of a store's health.
pub(super) struct Health {
    wait: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answered: bool,
    failures: u32,
    until: Option<Instant>,
}

impl Health {
    /// Of a store whose operations take no longer than [`OPERATION_WAIT`].
    pub(super) fn new() -> Self {
        Self::waiting(OPERATION_WAIT)
    }

    /// Of one whose operations may take this long.
    pub(super) fn waiting(wait: Duration) -> Self {
        Self { wait, state: Mutex::default() }
    }

    /// It is another store from now on.
    pub(super) fn forget(&self) {
        *self.state() = State::default();
    }

    /// Fails at once while the store is left alone.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.state().until.is_some_and(|until| Instant::now() < until) { Err(left_alone()) } else { Ok(()) }
    }

    /// Runs one operation within its time, or fails at once while the store is left alone.
    pub(super) async fn bounded<T>(&self, operation: impl Future<Output = Result<T, Failed>>) -> Result<T, StoreError> {
        let wait = self.enter()?;
        let done = timeout(wait, operation)
            .await
            .unwrap_or_else(|_| Err(Failed::Down(StoreError("the store did not answer in time".into()))));
        match &done {
            Ok(_) | Err(Failed::Refused(_)) => self.answered(),
            Err(Failed::Down(cause)) => self.failed(cause),
        }
        done.map_err(StoreError::from)
    }

    /// How long the operation may take. After a pause there is one at a time: whoever gives up on it lets the next one in.
    fn enter(&self) -> Result<Duration, StoreError> {
        let mut state = self.state();
        // Connecting for the first time takes longer: tables may have to be made.
        let wait = if state.answered { self.wait } else { self.wait.max(FIRST_WAIT) };
        if let Some(until) = state.until {
            let now = Instant::now();
            if now < until {
                return Err(left_alone());
            }
            state.until = Some(now + wait);
        }
        Ok(wait)
    }

    fn answered(&self) {
        let mut state = self.state();
        if std::mem::take(&mut *state).failures > 0 {
            tracing::info!("a store of memory answers again");
        }
        state.answered = true;
    }

    fn failed(&self, cause: &StoreError) {
        let mut state = self.state();
        if state.failures == 0 {
            tracing::warn!(%cause, "a store of memory is down; runs go on without it");
        }
        let (first, most) = PAUSES;
        let pause = first.saturating_mul(2_u32.saturating_pow(state.failures)).min(most);
        state.failures = state.failures.saturating_add(1);
        state.until = Some(Instant::now() + pause);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the way to a database is at fault, and not what was asked of it.
pub(super) fn is_the_way(error: &sqlx::Error) -> bool {
    use sqlx::Error::{Io, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    matches!(error, Io(_) | PoolTimedOut | Protocol(_) | Tls(_) | WorkerCrashed)
}

fn left_alone() -> StoreError {
    StoreError("the store did not answer a moment ago and is left alone for now".into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    async fn stuck(asked: &AtomicUsize) -> Result<(), Failed> {
        asked.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_stands_still_is_waited_for_once_and_then_asked_by_one() {
        let (health, asked) = (Health::new(), AtomicUsize::new(0));
        health.bounded(async { Ok(()) }).await.unwrap();
        let began = Instant::now();
        for _ in 0..100 {
            health.bounded(stuck(&asked)).await.unwrap_err();
        }
        assert_eq!((asked.load(Ordering::Relaxed), began.elapsed()), (1, OPERATION_WAIT));
        tokio::time::advance(PAUSES.0).await;
        join_all((0..100).map(|_| health.bounded(stuck(&asked)))).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2, "one asks for all");
        tokio::time::advance(PAUSES.0 * 2).await;
        health.bounded(async { Ok(()) }).await.unwrap();
        health.check().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_lets_the_next_one_in() {
        let (health, asked) = (Health::new(), AtomicUsize::new(0));
        health.bounded(stuck(&asked)).await.unwrap_err();
        tokio::time::advance(PAUSES.0).await;
        timeout(Duration::from_millis(1), health.bounded(stuck(&asked))).await.unwrap_err();
        tokio::time::advance(FIRST_WAIT).await;
        health.bounded(async { Ok(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_store_refuses_shuts_it_for_nobody() {
        let health = Health::new();
        for _ in 0..10 {
            let refused = async { Err::<(), _>(Failed::Refused(StoreError("no such column".into()))) };
            health.bounded(refused).await.unwrap_err();
        }
        health.bounded(async { Ok(()) }).await.unwrap();
    }
}
