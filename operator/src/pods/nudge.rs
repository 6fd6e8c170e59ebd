//! When to nudge which pod, and with which value.

use std::collections::HashMap;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

use crate::names::ObjectKey;

/// The kubelet answers a nudge within a third of a second; one that takes longer may have read its cache too early.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// After these, about three minutes, the kubelet's own refresh has come by anyway.
const ATTEMPTS_MAX: u32 = 10;

/// Waiting for pods starts with short looks, because most load within a third of a second.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_LONGEST: Duration = Duration::from_secs(1);
const LOOK_SHORT_FOR: Duration = Duration::from_secs(30);
const LOOK_LATER: Duration = Duration::from_secs(5);

/// The nudges of every agent's pods, in memory: a new leader starts over, which is harmless.
#[derive(Debug, Default)]
pub struct Nudges {
    agents: DashMap<ObjectKey, Progress>,
}

#[derive(Debug)]
struct Progress {
    target: String,
    since: Instant,
    pods: HashMap<String, Attempts>,
}

#[derive(Clone, Copy, Debug)]
struct Attempts {
    made: u32,
    next: Instant,
}

impl Nudges {
    /// Starts over when there is something else to load than before.
    pub fn aim(&self, agent: &ObjectKey, target: &str, now: Instant) {
        let fresh = || Progress { target: target.to_owned(), since: now, pods: HashMap::new() };
        let mut progress = self.agents.entry(agent.clone()).or_insert_with(fresh);
        if progress.target != target {
            *progress = fresh();
        }
    }

    /// Whether a pod that has not loaded the target is to be nudged now. Counts as done when it says yes.
    #[must_use]
    pub fn due(&self, agent: &ObjectKey, pod: &str, now: Instant) -> bool {
        let Some(mut progress) = self.agents.get_mut(agent) else { return false };
        let attempts = progress.pods.entry(pod.to_owned()).or_insert(Attempts { made: 0, next: now });
        if attempts.made >= ATTEMPTS_MAX || now < attempts.next {
            return false;
        }
        attempts.next = now + FIRST_WAIT.saturating_mul(2_u32.saturating_pow(attempts.made)).min(LONGEST_WAIT);
        attempts.made += 1;
        true
    }

    /// Nothing is left to wait for: the next change starts with short looks again.
    pub fn settle(&self, agent: &ObjectKey) {
        self.agents.remove(agent);
    }

    /// Whether pods are loading something.
    #[must_use]
    pub fn is_aiming(&self, agent: &ObjectKey) -> bool {
        self.agents.contains_key(agent)
    }

    /// When to look again while pods are loading.
    #[must_use]
    pub fn look_again(&self, agent: &ObjectKey, now: Instant) -> Duration {
        let waited = self.agents.get(agent).map_or(Duration::ZERO, |progress| now - progress.since);
        if waited > LOOK_SHORT_FOR { LOOK_LATER } else { (waited / 4).clamp(LOOK_FIRST, LOOK_LONGEST) }
    }
}

/// The value of the next nudge: the revision, and after that the revision with a number that changes.
#[must_use]
pub fn next_value(current: Option<&str>, revision: &str) -> String {
    match current.and_then(|current| current.strip_prefix(revision)) {
        None => revision.to_owned(),
        Some(rest) => {
            let number = rest.strip_prefix('/').and_then(|number| number.parse::<u32>().ok()).unwrap_or(0);
            format!("{revision}/{}", number.wrapping_add(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ObjectKey {
        ObjectKey { namespace: "shop".into(), name: "support".into() }
    }

    #[test]
    fn the_value_changes_with_every_nudge() {
        assert_eq!(next_value(None, "abc"), "abc");
        assert_eq!(next_value(Some("old/7"), "abc"), "abc");
        assert_eq!(next_value(Some("abc"), "abc"), "abc/1");
        assert_eq!(next_value(Some("abc/1"), "abc"), "abc/2");
        assert_eq!(next_value(Some("abc/x"), "abc"), "abc/1");
    }

    #[tokio::test(start_paused = true)]
    async fn nudges_of_a_pod_back_off_and_end() {
        let nudges = Nudges::default();
        nudges.aim(&key(), "abc", Instant::now());
        let start = Instant::now();
        let mut made = Vec::new();
        while start.elapsed() < Duration::from_secs(600) {
            if nudges.due(&key(), "pod", Instant::now()) {
                made.push(start.elapsed().as_secs());
            }
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        assert_eq!(made, [0, 1, 3, 7, 15, 31, 61, 91, 121, 151]);
    }

    #[tokio::test(start_paused = true)]
    async fn something_new_to_load_starts_over() {
        let nudges = Nudges::default();
        nudges.aim(&key(), "abc", Instant::now());
        assert!(nudges.due(&key(), "pod", Instant::now()));
        nudges.aim(&key(), "abc", Instant::now());
        assert!(!nudges.due(&key(), "pod", Instant::now()), "the same target does not start over");
        nudges.aim(&key(), "def", Instant::now());
        assert!(nudges.due(&key(), "pod", Instant::now()));
        assert!(nudges.due(&key(), "other", Instant::now()), "each pod has its own back-off");
    }

    #[tokio::test(start_paused = true)]
    async fn looks_grow_apart() {
        let nudges = Nudges::default();
        nudges.aim(&key(), "abc", Instant::now());
        let look = |after_ms| nudges.look_again(&key(), Instant::now() + Duration::from_millis(after_ms)).as_millis();
        assert_eq!([0, 300, 800, 10_000, 31_000].map(look), [100, 100, 200, 1_000, 5_000]);
    }
}
