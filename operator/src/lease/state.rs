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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is none, and nobody can think that he holds one: make it.
    Create,
    /// Nobody holds it any more: take it.
    Take,
    /// It is held by this replica: renew it.
    Renew,
    /// Somebody else, of this name, holds it: look again later.
    Wait(String),
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

    /// Decides on what is known `now`, that is after the answer that showed it.
    pub fn decide(&mut self, lease: Option<&Seen>, now: Instant) -> Decision {
        if let Some(lease) = lease
            && self.last.as_ref().is_none_or(|(seen, _)| seen != lease)
        {
            self.last = Some((lease.clone(), now));
        }
        // Whoever held a Lease that somebody has deleted does not know it yet.
        let held = self.last.as_ref().and_then(|(seen, since)| {
            let expiry = *since + seen.duration.unwrap_or(self.duration);
            seen.holder.clone().filter(|holder| *holder != self.identity && now < expiry)
        });
        match (held, lease) {
            (Some(holder), _) => Decision::Wait(holder),
            (None, None) => Decision::Create,
            (None, Some(lease)) if lease.holder.as_ref() == Some(&self.identity) => Decision::Renew,
            (None, Some(_)) => Decision::Take,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DURATION, RENEW_EVERY, RETRY_EVERY};
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
            let decision = elector.decide(Some(&lease(&version.to_string(), "other")), Instant::now());
            assert_eq!(decision, Decision::Wait("other".into()));
            tokio::time::advance(RENEW_EVERY).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_leader_is_followed_within_fifteen_seconds() {
        let mut elector = Elector::new("me", DURATION);
        let killed = Instant::now();
        while elector.decide(Some(&lease("7", "other")), Instant::now()) == Decision::Wait("other".into()) {
            tokio::time::advance(RETRY_EVERY).await;
        }
        let took = killed.elapsed() + RETRY_EVERY;
        assert!(took >= DURATION && took <= Duration::from_secs(15), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_held_a_lease_that_is_deleted_may_go_on_for_its_duration() {
        let mut elector = Elector::new("me", DURATION);
        elector.decide(Some(&lease("7", "other")), Instant::now());
        tokio::time::advance(DURATION - Duration::from_millis(1)).await;
        assert_eq!(elector.decide(None, Instant::now()), Decision::Wait("other".into()));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(elector.decide(None, Instant::now()), Decision::Create);
        // What was released, or is our own, is waited for by nobody.
        for holder in ["", "me"] {
            elector.decide(Some(&lease("8", holder)), Instant::now());
            assert_eq!(elector.decide(None, Instant::now()), Decision::Create, "held by `{holder}`");
        }
    }
}
