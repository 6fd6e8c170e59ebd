//! How long to wait before the next try of an object that failed.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use dashmap::DashMap;
use tokio::time::Instant;

use crate::names::ObjectKey;

const FIRST: Duration = Duration::from_millis(200);
/// No failure waits longer than this, whatever the jitter adds.
pub const LONGEST: Duration = Duration::from_secs(300);
/// Half of the longest: jitter adds up to as much again.
const PLATEAU: Duration = Duration::from_secs(150);

/// The back-off of each object of a kind.
///
/// Exponential with jitter, per object: one object that fails does not slow the others down, and many that fail
/// together do not come back together. An object that fails again before its wait is over, because something else has
/// woken it, waits for what is left.
#[derive(Debug, Default)]
pub struct Backoffs {
    objects: DashMap<ObjectKey, Failing>,
}

#[derive(Debug)]
struct Failing {
    backoff: ExponentialBackoff,
    until: Instant,
}

impl Backoffs {
    /// The wait after one more failure of `key`.
    #[must_use]
    pub fn next(&self, key: &ObjectKey) -> Duration {
        let now = Instant::now();
        let mut failing = self.objects.entry(key.clone()).or_insert_with(|| Failing { backoff: start(), until: now });
        if failing.until > now {
            return failing.until - now;
        }
        let wait = failing.backoff.next().unwrap_or(LONGEST).min(LONGEST);
        failing.until = now + wait;
        wait
    }

    /// Forgets the failures of `key`, because it succeeded or is gone.
    pub fn reset(&self, key: &ObjectKey) {
        self.objects.remove(key);
    }
}

fn start() -> ExponentialBackoff {
    ExponentialBuilder::new().with_min_delay(FIRST).with_max_delay(PLATEAU).without_max_times().with_jitter().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { namespace: "shop".into(), name: name.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_the_cap_and_start_over_after_a_success() {
        let backoffs = Backoffs::default();
        let mut waits = Vec::new();
        for _failure in 0..40 {
            let wait = backoffs.next(&key("a"));
            tokio::time::advance(wait).await;
            waits.push(wait);
        }
        assert!(waits[0] >= FIRST && waits[0] <= FIRST * 2, "{:?}", waits[0]);
        assert!(waits.iter().all(|wait| *wait <= LONGEST));
        assert!(waits[39] >= PLATEAU);
        assert!(backoffs.next(&key("b")) <= FIRST * 2, "another object is not slowed down");
        backoffs.reset(&key("a"));
        assert!(backoffs.next(&key("a")) <= FIRST * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn being_woken_meanwhile_does_not_make_the_wait_longer() {
        let backoffs = Backoffs::default();
        let wait = backoffs.next(&key("a"));
        tokio::time::advance(wait / 2).await;
        for _event in 0..20 {
            assert_eq!(backoffs.next(&key("a")), wait - wait / 2);
        }
    }
}
