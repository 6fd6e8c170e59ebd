//! Tokens that have been verified lately.
//!
//! Verifying a signature takes over a hundred microseconds, and a caller sends the same token for up to an hour.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agent_pod_core::access::Caller;
use sha2::{Digest as _, Sha256};

/// The most tokens remembered.
pub(super) const TOKENS_MAX: usize = 4096;

/// How long a token is remembered.
pub(super) const KEPT_SECONDS: u64 = 60;

/// SHA-256 of a token; the token itself is not kept.
pub(super) type TokenDigest = [u8; 32];

/// Callers by the digest of their token.
#[derive(Default)]
pub(super) struct Cache(Mutex<HashMap<TokenDigest, Verified>>);

struct Verified {
    caller: Caller,
    // Seconds since 1970, as are all times here.
    verified_at: u64,
    expires_at: u64,
}

impl Cache {
    pub(super) fn digest(token: &str) -> TokenDigest {
        Sha256::digest(token).into()
    }

    pub(super) fn get(&self, digest: &TokenDigest, now: u64) -> Option<Caller> {
        self.lock().get(digest).filter(|verified| verified.holds(now)).map(|verified| verified.caller.clone())
    }

    /// Remembers a token until `expires_at`, at most for [`KEPT_SECONDS`].
    pub(super) fn put(&self, digest: TokenDigest, caller: Caller, expires_at: u64, now: u64) {
        let mut tokens = self.lock();
        if tokens.len() >= TOKENS_MAX {
            tokens.retain(|_, verified| verified.holds(now));
        }
        // Full of live tokens: any of them makes room, for it costs no more than to be verified again.
        if tokens.len() >= TOKENS_MAX
            && let Some(any) = tokens.keys().next().copied()
        {
            tokens.remove(&any);
        }
        tokens.insert(digest, Verified { caller, verified_at: now, expires_at });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TokenDigest, Verified>> {
        // Every holder leaves the map whole, so a poisoned lock is as good as another.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verified {
    fn holds(&self, now: u64) -> bool {
        // A clock set back before the verification makes it void.
        now < self.expires_at && now.checked_sub(self.verified_at).is_some_and(|age| age < KEPT_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn caller() -> Caller {
        Caller { namespace: "shop".to_owned(), service_account: "web".to_owned() }
    }

    #[rstest]
    #[case::at_once(1000, 5000, true)]
    #[case::within_its_minute(1059, 5000, true)]
    #[case::after_its_minute(1060, 5000, false)]
    #[case::just_before_it_expires(1009, 1010, true)]
    #[case::expired_within_its_minute(1010, 1010, false)]
    #[case::the_clock_was_set_back(999, 5000, false)]
    fn a_token_is_remembered_for_a_while(#[case] now: u64, #[case] expires_at: u64, #[case] remembered: bool) {
        let cache = Cache::default();
        let digest = Cache::digest("token");
        cache.put(digest, caller(), expires_at, 1000);
        assert_eq!(cache.get(&digest, now).is_some(), remembered);
    }

    #[test]
    fn the_cache_is_bounded_and_makes_room() {
        let cache = Cache::default();
        for number in 0..TOKENS_MAX + 10 {
            cache.put(Cache::digest(&number.to_string()), caller(), 5000, 1000);
        }
        assert_eq!(cache.lock().len(), TOKENS_MAX);
        let last = Cache::digest(&(TOKENS_MAX + 9).to_string());
        assert_eq!(cache.get(&last, 1000), Some(caller()));
    }

    #[test]
    fn dead_tokens_make_room_first() {
        let cache = Cache::default();
        for number in 0..TOKENS_MAX {
            cache.put(Cache::digest(&number.to_string()), caller(), 5000, 1000);
        }
        cache.put(Cache::digest("fresh"), caller(), 5000, 1060);
        assert_eq!(cache.lock().len(), 1);
    }
}
