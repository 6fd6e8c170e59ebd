//! When to nudge which pod, and with which value.

use std::time::Duration;

use tokio::time::Instant;

/// The kubelet answers a nudge within a third of a second, unless it has read its cache too early; a busy one takes a little longer.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// After these, about three minutes, the kubelet's own refresh has come by anyway.
const ATTEMPTS_MAX: u32 = 12;

/// The nudges of one pod, in memory: a new leader starts over, which is harmless.
#[derive(Clone, Debug)]
pub struct Nudges {
    /// What they are for: when that changes, they start over.
    aim: String,
    made: u32,
    next: Instant,
}

impl Nudges {
    /// None yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { aim: String::new(), made: 0, next: now }
    }

    /// Whether a pod that has not what `aim` names is to be nudged now. Counts as done when it says yes.
    #[must_use]
    pub fn due(&mut self, aim: &str, now: Instant) -> bool {
        if self.aim != aim {
            *self = Self { aim: aim.to_owned(), made: 0, next: now };
        }
        if self.made >= ATTEMPTS_MAX || now < self.next {
            return false;
        }
        self.made += 1;
        self.wait(now, Duration::ZERO);
        true
    }

    /// The last nudge has been made at `now`: the wait for its effect begins, and is as long as the API server is slow.
    pub fn wait(&mut self, now: Instant, took: Duration) {
        let first = FIRST_WAIT.max(took);
        self.next = now + first.saturating_mul(2_u32.saturating_pow(self.made.saturating_sub(1))).min(LONGEST_WAIT);
    }

    /// The pod has what it was nudged for.
    pub fn settle(&mut self) {
        self.aim = String::new();
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
        let start = Instant::now();
        let mut nudges = Nudges::new(start);
        let mut made = Vec::new();
        while start.elapsed() < Duration::from_secs(600) {
            if nudges.due("abc", Instant::now()) {
                made.push(start.elapsed().as_millis() / 100);
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(made, [0, 5, 15, 35, 75, 155, 315, 615, 915, 1215, 1515, 1815]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_api_server_is_not_asked_more_often() {
        let mut nudges = Nudges::new(Instant::now());
        assert!(nudges.due("abc", Instant::now()));
        tokio::time::advance(Duration::from_secs(2)).await;
        nudges.wait(Instant::now(), Duration::from_secs(2));
        tokio::time::advance(Duration::from_millis(1_900)).await;
        assert!(!nudges.due("abc", Instant::now()));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(nudges.due("abc", Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn something_new_to_load_starts_over() {
        let mut nudges = Nudges::new(Instant::now());
        assert!(nudges.due("abc", Instant::now()));
        assert!(!nudges.due("abc", Instant::now()), "the same does not start over");
        assert!(nudges.due("def", Instant::now()));
        nudges.settle();
        assert!(nudges.due("def", Instant::now()), "what comes again starts over");
    }
}
