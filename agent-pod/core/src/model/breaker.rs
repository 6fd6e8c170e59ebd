//! The circuit breaker of one model at one provider: after too many failures in a row it is left alone for a while, then
//! tried with a single call.
//!
//! ```text
//!  closed ── failures_max failures in a row ──► open ── cooldown ──► half open (one probe)
//!    ▲────────────────── first piece ◄────────────────────────────────────┤
//!                                            open ◄── failure ────────────┘
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long to wait for the verdict of a probe that is under way.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// When a model is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failed requests in a row that open it.
    pub failures_max: u32,
    /// For how long it then stays open.
    pub cooldown: Duration,
}

/// What the breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// One call, which decides.
    HalfOpen,
}

impl Circuit {
    /// The name in states and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker; clones are the same one.
#[derive(Clone, Debug)]
pub struct Breaker(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    settings: BreakerSettings,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Probing,
}

/// Leave to make one request. Dropped without a verdict it leaves the breaker as it was: the caller went away, or the
/// failure was not the provider's.
#[derive(Debug)]
#[must_use = "a permit that is dropped says nothing of how the request went"]
pub struct Permit {
    breaker: Breaker,
    probe: bool,
    settled: bool,
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        Self(Arc::new(Mutex::new(Inner { settings, state: State::Closed { failures: 0 } })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes other settings from now on; the state stays.
    pub fn configure(&self, settings: BreakerSettings) {
        self.lock().settings = settings;
    }

    /// What it lets through now.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        match self.lock().state {
            State::Closed { .. } => Circuit::Closed,
            State::Open { until } if until > Instant::now() => Circuit::Open,
            State::Open { .. } | State::Probing => Circuit::HalfOpen,
        }
    }

    /// How long until it may let a call through; nothing when it would now. Takes nothing.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        match self.lock().state {
            State::Closed { .. } => None,
            State::Open { until } => {
                Some(until.saturating_duration_since(Instant::now())).filter(|wait| !wait.is_zero())
            }
            State::Probing => Some(PROBE_WAIT),
        }
    }

    /// Leave for one request.
    ///
    /// # Errors
    /// How long until another try makes sense.
    pub fn acquire(&self) -> Result<Permit, Duration> {
        let mut inner = self.lock();
        let probe = match inner.state {
            State::Closed { .. } => false,
            State::Open { until } => {
                let wait = until.saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    return Err(wait);
                }
                inner.state = State::Probing;
                true
            }
            State::Probing => return Err(PROBE_WAIT),
        };
        Ok(Permit { breaker: self.clone(), probe, settled: false })
    }
}

impl Permit {
    /// The provider answered as it should.
    pub fn success(mut self) {
        self.settled = true;
        let mut inner = self.breaker.lock();
        match inner.state {
            State::Closed { .. } => inner.state = State::Closed { failures: 0 },
            State::Probing if self.probe => inner.state = State::Closed { failures: 0 },
            // An answer to a call from before it opened proves nothing about now.
            State::Open { .. } | State::Probing => {}
        }
    }

    /// The provider answers: with the beginning of a reply, or by finding the request at fault. A probe has thereby done what
    /// it was for, and holds up nobody while its reply goes on; how that ends counts as for any other call.
    pub fn answered(&mut self) {
        if std::mem::take(&mut self.probe) {
            let mut inner = self.breaker.lock();
            if matches!(inner.state, State::Probing) {
                inner.state = State::Closed { failures: 0 };
            }
        }
    }

    /// The provider failed. Returns whether that has opened the breaker.
    pub fn failure(mut self) -> bool {
        self.settled = true;
        let mut inner = self.breaker.lock();
        let failures = match inner.state {
            State::Closed { failures } => failures + 1,
            State::Probing if self.probe => inner.settings.failures_max,
            State::Open { .. } | State::Probing => return false,
        };
        let opens = failures >= inner.settings.failures_max;
        inner.state = if opens {
            State::Open { until: Instant::now() + inner.settings.cooldown }
        } else {
            State::Closed { failures }
        };
        opens
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            // The next call probes in its place.
            self.breaker.lock().state = State::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests;
