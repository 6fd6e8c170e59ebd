//! A provider's rate limit, kept on our side: what one pod may send in a minute.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What a bucket counts in: parts of a unit, of which a unit a minute brings one each nanosecond. So nothing is rounded.
const PARTS: i128 = 60_000_000_000;

/// What a call has used beyond what was expected of it holds others up for so many minutes at most: a server that counts
/// too much would else be left alone for years.
const DEBT_MINUTES_MAX: i128 = 60;

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
    /// Units, of requests or tokens; also what a minute brings. Never zero.
    capacity: i128,
    /// In parts of a unit; below zero after a call that used more than was expected of it.
    level: i128,
    filled_at: Instant,
}

impl RateLimit {
    /// Full buckets.
    #[must_use]
    pub fn new(settings: RateSettings) -> Self {
        let bucket = |number: u64| {
            let capacity = i128::from(number.max(1));
            Mutex::new(Bucket { capacity, level: parts(number.max(1)), filled_at: Instant::now() })
        };
        Self {
            requests: settings.requests_per_minute.map(|number| bucket(u64::from(number))),
            tokens: settings.tokens_per_minute.map(bucket),
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
        let requests = self.requests.as_ref().and_then(|bucket| lock(bucket).wait(1));
        requests.max(self.tokens.as_ref().and_then(|bucket| lock(bucket).wait(tokens)))
    }

    /// Takes a request and the tokens that are expected of it, both or neither.
    ///
    /// # Errors
    /// How long until they are there.
    pub fn take(&self, tokens: u64) -> Result<(), Duration> {
        // Both stay locked, in this order, until both are known to be enough.
        let mut requests = self.requests.as_ref().map(lock);
        let mut of_tokens = self.tokens.as_ref().map(lock);
        let wait = requests.as_mut().and_then(|bucket| bucket.wait(1));
        if let Some(wait) = wait.max(of_tokens.as_mut().and_then(|bucket| bucket.wait(tokens))) {
            return Err(wait);
        }
        if let Some(bucket) = &mut requests {
            bucket.level -= parts(1);
        }
        if let Some(bucket) = &mut of_tokens {
            bucket.level -= parts(tokens);
        }
        Ok(())
    }

    /// Corrects what was taken once it is known what the call has used.
    pub fn settle(&self, expected: u64, used: u64) {
        if let Some(bucket) = &self.tokens {
            let mut bucket = lock(bucket);
            let level = bucket.level.saturating_add(parts(expected)).saturating_sub(parts(used));
            bucket.level = level.max(-bucket.full() * DEBT_MINUTES_MAX);
        }
    }
}

impl Bucket {
    fn full(&self) -> i128 {
        self.capacity.saturating_mul(PARTS)
    }

    fn wait(&mut self, amount: u64) -> Option<Duration> {
        let now = Instant::now();
        let elapsed = i128::try_from(now.duration_since(self.filled_at).as_nanos()).unwrap_or(i128::MAX);
        let full = self.full();
        self.level = self.level.saturating_add(elapsed.saturating_mul(self.capacity)).min(full);
        self.filled_at = now;
        // A call that is larger than the bucket goes when the bucket is full, or it never would.
        let missing = parts(amount).min(full).saturating_sub(self.level);
        let nanos = missing.saturating_add(self.capacity - 1) / self.capacity;
        (missing > 0).then(|| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

fn parts(units: u64) -> i128 {
    i128::from(units).saturating_mul(PARTS)
}

fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
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
    async fn absurd_numbers_make_long_waits_and_no_panics() {
        let limit = limit(Some(0), Some(1));
        assert_eq!(limit.take(u64::MAX), Ok(()));
        for _call in 0..3 {
            limit.settle(0, u64::MAX);
        }
        assert_eq!(limit.take(u64::MAX), Err(Duration::from_secs(61 * 60)));
        advance(Duration::from_secs(u64::from(u32::MAX))).await;
        assert_eq!(limit.wait(1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_nothing_waits() {
        let limit = limit(None, None);
        (0..100).for_each(|_| assert_eq!(limit.take(1_000_000), Ok(())));
        assert_eq!(limit.wait(1_000_000), None);
    }
}
