//! The decision of a candidate: pure, but for the clock that it is given.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

/// What matters of a Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its `resourceVersion`: it changes with every renewal.
    pub version: String,
    /// Who holds it; nobody after a release.
    pub holder: Option<String>,
    /// How long it holds without a renewal, as its holder says.
    pub duration: Option<Duration>,
}

impl Seen {
    /// Reads a Lease.
    #[must_use]
    pub fn of(lease: &Lease) -> Self {
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
            holder: spec.and_then(|spec| spec.holder_identity.clone()).filter(|holder| !holder.is_empty()),
            duration: seconds.map(Duration::from_secs),
        }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is none: make it.
    Create,
    /// Nobody holds it any more: take it.
    Take,
    /// It is held by this replica: renew it.
    Renew,
    /// Somebody else holds it: look again later.
    Wait,
}

/// Remembers when a Lease was last seen to change.
#[derive(Debug)]
pub struct Elector {
    identity: String,
    duration: Duration,
    last: Option<(Seen, Instant)>,
}

impl Elector {
    /// An elector that has seen nothing yet. `duration` stands in for a Lease that names none.
    #[must_use]
    pub fn new(identity: &str, duration: Duration) -> Self {
        Self { identity: identity.to_owned(), duration, last: None }
    }

    /// Decides on what was seen `now`.
    pub fn decide(&mut self, lease: Option<&Seen>, now: Instant) -> Decision {
        let Some(lease) = lease else {
            self.last = None;
            return Decision::Create;
        };
        let since = match &self.last {
            Some((seen, since)) if seen == lease => *since,
            Some(_) | None => {
                self.last = Some((lease.clone(), now));
                now
            }
        };
        match &lease.holder {
            None => Decision::Take,
            Some(holder) if *holder == self.identity => Decision::Renew,
            Some(_) if now.duration_since(since) >= lease.duration.unwrap_or(self.duration) => Decision::Take,
            Some(_) => Decision::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DURATION, RENEW_DEADLINE, RENEW_EVERY, RETRY_EVERY};
    use super::*;

    fn lease(version: &str, holder: &str) -> Seen {
        Seen {
            version: version.into(),
            holder: (!holder.is_empty()).then(|| holder.to_owned()),
            duration: Some(DURATION),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_nobody_holds_is_taken_at_once() {
        let mut elector = Elector::new("me", DURATION);
        assert_eq!(elector.decide(None, Instant::now()), Decision::Create);
        assert_eq!(elector.decide(Some(&lease("1", "")), Instant::now()), Decision::Take);
        assert_eq!(elector.decide(Some(&lease("2", "me")), Instant::now()), Decision::Renew);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_renewed_is_never_taken() {
        let mut elector = Elector::new("me", DURATION);
        for version in 0..100 {
            assert_eq!(elector.decide(Some(&lease(&version.to_string(), "other")), Instant::now()), Decision::Wait);
            tokio::time::advance(RENEW_EVERY).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_leader_is_followed_within_fifteen_seconds() {
        let mut elector = Elector::new("me", DURATION);
        let killed = Instant::now();
        while elector.decide(Some(&lease("7", "other")), Instant::now()) == Decision::Wait {
            tokio::time::advance(RETRY_EVERY).await;
        }
        let took = killed.elapsed() + RETRY_EVERY;
        assert!(took >= DURATION && took <= Duration::from_secs(15), "{took:?}");
    }

    #[test]
    fn a_leader_gives_up_before_another_one_may_take_over() {
        let last_call = Duration::from_secs(2);
        assert!(RENEW_DEADLINE + last_call < DURATION);
    }
}
