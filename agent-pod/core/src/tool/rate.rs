//! How often a session, or a caller that names none, may call a tool: a sliding window.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Sessions whose calls are remembered of one tool. Beyond, the one that has been silent the longest is forgotten.
const SESSIONS_MAX: usize = 10_000;

/// The most calls of one session within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How far back calls count.
    pub window: Duration,
    /// The most calls within it.
    pub calls_max: usize,
}

/// The calls of late, by session.
#[derive(Debug, Default)]
pub(super) struct Windows(Mutex<HashMap<String, VecDeque<Instant>>>);

impl Windows {
    /// Counts a call, if it may be made.
    ///
    /// # Errors
    /// How long until one may.
    pub(super) fn take(&self, session: &str, limit: RateLimit) -> Result<(), Duration> {
        let now = Instant::now();
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !sessions.contains_key(session) && sessions.len() >= SESSIONS_MAX {
            forget(&mut sessions, now, limit.window);
        }
        let calls = sessions.entry(session.to_owned()).or_default();
        while calls.front().is_some_and(|first| now.duration_since(*first) >= limit.window) {
            calls.pop_front();
        }
        if calls.len() >= limit.calls_max {
            let oldest = calls.front().copied().unwrap_or(now);
            return Err(limit.window.saturating_sub(now.duration_since(oldest)));
        }
        calls.push_back(now);
        Ok(())
    }
}

fn forget(sessions: &mut HashMap<String, VecDeque<Instant>>, now: Instant, window: Duration) {
    sessions.retain(|_, calls| calls.back().is_some_and(|last| now.duration_since(*last) < window));
    if sessions.len() >= SESSIONS_MAX
        && let Some(silent) = sessions.iter().min_by_key(|(_, calls)| calls.back()).map(|(session, _)| session.clone())
    {
        sessions.remove(&silent);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LIMIT: RateLimit = RateLimit { window: Duration::from_secs(60), calls_max: 2 };

    #[tokio::test(start_paused = true)]
    async fn a_window_slides_and_sessions_have_their_own() {
        let windows = Windows::default();
        assert_eq!(windows.take("a", LIMIT), Ok(()));
        advance(Duration::from_secs(20)).await;
        assert_eq!(windows.take("a", LIMIT), Ok(()));
        assert_eq!(windows.take("a", LIMIT), Err(Duration::from_secs(40)));
        assert_eq!(windows.take("b", LIMIT), Ok(()));
        advance(Duration::from_secs(40)).await;
        assert_eq!(windows.take("a", LIMIT), Ok(()), "the first call is out of the window");
        assert_eq!(windows.take("a", LIMIT), Err(Duration::from_secs(20)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_has_a_bound() {
        let windows = Windows::default();
        for session in 0..SESSIONS_MAX + 5 {
            assert_eq!(windows.take(&session.to_string(), LIMIT), Ok(()));
        }
        assert_eq!(windows.0.lock().unwrap().len(), SESSIONS_MAX);
    }
}
