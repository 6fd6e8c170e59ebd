//! A provider's rate limit, kept on our side: what one pod may send in a minute.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: f64 = 60.0;

/// What one pod may send to a provider in a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSettings {
    /// Requests.
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and replies.
    pub tokens_per_minute: Option<u64>,
}

/// Two buckets that fill evenly: requests and tokens.
#[derive(Debug)]
pub struct RateLimit {
    requests: Option<Mutex<Bucket>>,
    tokens: Option<Mutex<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    /// Also what a minute brings.
    capacity: f64,
    /// Below zero after a call that used more than was expected of it.
    level: f64,
    filled_at: Instant,
}

impl RateLimit {
    /// Full buckets.
    #[must_use]
    pub fn new(settings: RateSettings) -> Self {
        let bucket = |capacity: f64| Mutex::new(Bucket { capacity, level: capacity, filled_at: Instant::now() });
        Self {
            requests: settings.requests_per_minute.map(|number| bucket(f64::from(number))),
            tokens: settings.tokens_per_minute.map(|number| bucket(exact(number))),
        }
    }

    /// Whether it counts tokens.
    #[must_use]
    pub fn counts_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// How long until a call of so many tokens may go; nothing when it may now. Takes nothing.
    #[must_use]
    pub fn wait(&self, tokens: u64) -> Option<Duration> {
        let requests = self.requests.as_ref().and_then(|bucket| lock(bucket).wait(1.0));
        requests.max(self.tokens.as_ref().and_then(|bucket| lock(bucket).wait(exact(tokens))))
    }

    /// Takes a request and the tokens that are expected of it, both or neither.
    ///
    /// # Errors
    /// How long until they are there.
    pub fn take(&self, tokens: u64) -> Result<(), Duration> {
        // Both stay locked, in this order, until both are known to be enough.
        let mut requests = self.requests.as_ref().map(lock);
        let mut of_tokens = self.tokens.as_ref().map(lock);
        let wait = requests.as_mut().and_then(|bucket| bucket.wait(1.0));
        if let Some(wait) = wait.max(of_tokens.as_mut().and_then(|bucket| bucket.wait(exact(tokens)))) {
            return Err(wait);
        }
        if let Some(bucket) = &mut requests {
            bucket.level -= 1.0;
        }
        if let Some(bucket) = &mut of_tokens {
            bucket.level -= exact(tokens);
        }
        Ok(())
    }

    /// Corrects what was taken once it is known what the call has used.
    pub fn settle(&self, expected: u64, used: u64) {
        if let Some(bucket) = &self.tokens {
            lock(bucket).level += exact(expected) - exact(used);
        }
    }
}

impl Bucket {
    fn wait(&mut self, amount: f64) -> Option<Duration> {
        let now = Instant::now();
        let gained = now.duration_since(self.filled_at).as_secs_f64() * self.capacity / MINUTE;
        self.level = (self.level + gained).min(self.capacity);
        self.filled_at = now;
        // A call that is larger than the bucket goes when the bucket is full, or it never would.
        let missing = amount.min(self.capacity) - self.level;
        (missing > 0.0).then(|| Duration::from_secs_f64(missing * MINUTE / self.capacity))
    }
}

fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Token counts are far below the 2^53 up to which this is exact.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn exact(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn limit(requests: Option<u32>, tokens: Option<u64>) -> RateLimit {
        RateLimit::new(RateSettings { requests_per_minute: requests, tokens_per_minute: tokens })
    }

    #[tokio::test(start_paused = true)]
    async fn requests_come_back_evenly() {
        let limit = limit(Some(6), None);
        (0..6).for_each(|_| {
            assert_eq!(limit.wait(0), None);
            assert_eq!(limit.take(0), Ok(()));
        });
        assert_eq!(limit.wait(0), Some(Duration::from_secs(10)));
        assert_eq!(limit.take(0), Err(Duration::from_secs(10)), "nothing is taken that is not there");
        advance(Duration::from_secs(10)).await;
        assert_eq!(limit.wait(0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_settled_by_what_was_used() {
        let limit = limit(None, Some(600));
        assert_eq!(limit.take(50), Ok(()));
        limit.settle(50, 0);
        assert_eq!(limit.wait(600), None, "a call that used nothing costs nothing");
        assert_eq!(limit.take(100), Ok(()));
        limit.settle(100, 700);
        assert_eq!(limit.wait(60), Some(Duration::from_secs(16)), "160 are missing, 10 come in a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_larger_than_a_minutes_worth_goes_when_the_bucket_is_full() {
        let limit = limit(None, Some(60));
        assert_eq!(limit.wait(1_000), None);
        assert_eq!(limit.take(1_000), Ok(()));
        assert_eq!(limit.wait(1), Some(Duration::from_secs(941)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_lacks_tokens_takes_no_request() {
        let limit = limit(Some(2), Some(100));
        assert_eq!(limit.take(100), Ok(()));
        assert_eq!(limit.take(50), Err(Duration::from_secs(30)));
        advance(Duration::from_secs(30)).await;
        assert_eq!(limit.take(50), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_waits() {
        let limit = limit(None, None);
        (0..100).for_each(|_| assert_eq!(limit.take(1_000_000), Ok(())));
        assert_eq!(limit.wait(1_000_000), None);
    }
}
