//! One model at one provider, and what the pod has learnt of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::breaker::{Breaker, BreakerSettings, Circuit};
use super::rate::{RateLimit, RateSettings};
use super::retry::{RetryBudget, RetrySettings};
use super::strategy::{CandidateView, Capabilities};
use super::{Model, ModelError, ModelErrorKind, Parameters};
use crate::budget::{Amount, Estimate};
use crate::money::Price;
use crate::usage::Tokens;

/// How long a misconfigured candidate (wrong credentials, no such model) comes after all others.
pub(super) const ASIDE: Duration = Duration::from_secs(60);

/// Tokens that an answer is expected to have where no lower limit is set.
const OUTPUT_TOKENS_EXPECTED: u64 = 512;

/// Tokens that are reserved for an answer without a limit.
const OUTPUT_TOKENS_RESERVED: u64 = 4_096;

/// No model gives more tokens than this in one answer, whatever it is asked for.
const OUTPUT_TOKENS_POSSIBLE: u64 = 131_072;

/// One model at one provider.
#[derive(Clone)]
pub struct Candidate {
    /// Name of the Provider.
    pub provider: String,
    /// Namespace of the Provider.
    pub namespace: String,
    /// The model's name at the provider.
    pub model: String,
    /// Sampling parameters.
    pub parameters: Parameters,
    /// Bounds of the waits.
    pub timeouts: Timeouts,
    /// How often a call is tried.
    pub retry: RetrySettings,
    /// What is known of the model.
    pub facts: Facts,
    /// The adapter that calls it.
    pub port: Arc<dyn Model>,
    /// What the pod has learnt of it, shared by all agents that use it.
    pub state: Arc<ModelState>,
    /// What the pod sends to its provider, shared by all models of it.
    pub load: Arc<ProviderLoad>,
}

/// Bounds of the waits of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the first content, while there is another candidate to turn to.
    pub first_token: Duration,
    /// Between two events of the stream.
    pub stall: Duration,
    /// The whole call.
    pub total: Duration,
}

/// What is known of a model beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What it can do.
    pub capabilities: Capabilities,
    /// Tokens of question and answer together.
    pub context_window: Option<u64>,
    /// 0 to 100.
    pub quality: Option<u8>,
    /// What it charges; unknown for a remote one of which nobody has said.
    pub price: Option<Price>,
}

/// What a pod sends to a provider.
#[derive(Debug)]
pub struct ProviderLoad {
    /// A place for each request at the same time.
    pub places: Semaphore,
    /// What may be sent in a minute.
    pub rate: RateLimit,
}

impl ProviderLoad {
    /// A provider to which nothing has been sent yet.
    #[must_use]
    pub fn new(requests_max: usize, rate: RateSettings) -> Self {
        Self { places: Semaphore::new(requests_max.min(Semaphore::MAX_PERMITS)), rate: RateLimit::new(rate) }
    }
}

/// What the pod has learnt of a model.
#[derive(Debug)]
pub struct ModelState {
    /// Whether it is left alone after failures.
    pub breaker: Breaker,
    /// How often it may be tried again.
    pub retries: RetryBudget,
    learnt: Mutex<Learnt>,
}

#[derive(Debug, Default)]
struct Learnt {
    last_error: Option<ModelErrorKind>,
    latency: Option<Duration>,
    cooling_until: Option<Instant>,
    aside: Option<Aside>,
}

/// Set aside until then, for what was wrong with this version of the credential.
#[derive(Clone, Copy, Debug)]
struct Aside {
    until: Instant,
    credential_version: u64,
}

/// What [`ModelState`] knows now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthReport {
    /// What the breaker lets through.
    pub circuit: Circuit,
    /// How long it has asked not to be called.
    pub cooling: Option<Duration>,
    /// The last failure; none when the last call succeeded.
    pub last_error: Option<ModelErrorKind>,
    /// Moving average of the time to the first content.
    pub latency: Option<Duration>,
}

impl ModelState {
    /// A model that has not been called yet.
    #[must_use]
    pub fn new(breaker: BreakerSettings) -> Self {
        Self { breaker: Breaker::new(breaker), retries: RetryBudget::default(), learnt: Mutex::default() }
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now.
    #[must_use]
    pub fn report(&self) -> HealthReport {
        let learnt = self.learnt();
        HealthReport {
            circuit: self.breaker.circuit(),
            cooling: learnt.cooling(),
            last_error: learnt.last_error,
            latency: learnt.latency,
        }
    }

    /// A call has succeeded, with its first content after `first`.
    pub(super) fn succeeded(&self, first: Duration) {
        self.retries.succeeded();
        let mut learnt = self.learnt();
        learnt.last_error = None;
        learnt.aside = None;
        learnt.latency = Some(learnt.latency.map_or(first, |average| average.mul_f64(0.8) + first.mul_f64(0.2)));
    }

    /// A call has failed. What it says of waiting is kept.
    pub(super) fn failed(&self, error: &ModelError, credential_version: u64) {
        let mut learnt = self.learnt();
        learnt.last_error = Some(error.kind);
        let now = Instant::now();
        match error.kind {
            ModelErrorKind::RateLimited => {
                let until = error.retry_after.map(|wait| now + wait);
                learnt.cooling_until = learnt.cooling_until.max(until);
            }
            ModelErrorKind::Unauthorized | ModelErrorKind::NotFound => {
                learnt.aside = Some(Aside { until: now + ASIDE, credential_version });
            }
            ModelErrorKind::Rejected
            | ModelErrorKind::Unavailable
            | ModelErrorKind::Timeout
            | ModelErrorKind::Malformed
            | ModelErrorKind::NoMemory => {}
        }
    }

    /// The credential has this version now: a refusal of another one says nothing any more.
    pub fn forget_refusal(&self, credential_version: u64) {
        let mut learnt = self.learnt();
        let of_another = learnt.aside.is_some_and(|aside| aside.credential_version != credential_version);
        if learnt.last_error == Some(ModelErrorKind::Unauthorized) && of_another {
            learnt.last_error = None;
            learnt.aside = None;
        }
    }

    /// How long it has asked not to be called.
    pub(super) fn cooling(&self) -> Option<Duration> {
        self.learnt().cooling()
    }

    /// Whether it is misconfigured as far as is known. Another credential is another try.
    pub(super) fn is_aside(&self, credential_version: u64) -> bool {
        let aside = self.learnt().aside;
        aside.is_some_and(|aside| aside.until > Instant::now() && aside.credential_version == credential_version)
    }
}

impl Learnt {
    fn cooling(&self) -> Option<Duration> {
        let wait = self.cooling_until?.saturating_duration_since(Instant::now());
        Some(wait).filter(|wait| !wait.is_zero())
    }
}

impl Candidate {
    /// The most tokens of an answer for which a limit is set: the agent's or the caller's, and not more than the model can
    /// give. A caller's limit that leaves no room in the context window is none.
    pub(super) fn output_max(&self, input_tokens: u64, asked: Option<u32>) -> Option<u64> {
        let room = self.room(input_tokens);
        let asked = asked.map(u64::from).filter(|asked| self.facts.context_window.is_none_or(|window| *asked < window));
        let own = self.parameters.max_tokens.map(u64::from);
        let limit = own.into_iter().chain(asked).min()?;
        Some(limit.min(OUTPUT_TOKENS_POSSIBLE).min(room.max(1)))
    }

    /// Tokens that the context window leaves for an answer.
    fn room(&self, input_tokens: u64) -> u64 {
        self.facts.context_window.map_or(u64::MAX, |window| window.saturating_sub(input_tokens))
    }

    /// As the ranking sees it, for a request of `input_tokens` tokens and at most `output_max` of an answer.
    pub(super) fn view(&self, input_tokens: u64, output_max: Option<u32>) -> CandidateView {
        // What the answer may have is held against the window without what the request has.
        let output_tokens = self.output_max(0, output_max);
        let expected = output_tokens.unwrap_or(u64::MAX).min(OUTPUT_TOKENS_EXPECTED);
        let tokens = Tokens { input: input_tokens, output: expected, cached: 0 };
        CandidateView {
            capabilities: self.facts.capabilities,
            context_window: self.facts.context_window,
            output_tokens,
            cost: self.facts.price.map(|price| price.of(tokens)),
            latency: self.learnt_latency(),
            quality: self.facts.quality,
        }
    }

    /// What a call may use, and what it is expected to.
    pub(super) fn estimate(&self, input_tokens: u64, output_max: Option<u32>) -> Estimate {
        let limit = self.output_max(input_tokens, output_max);
        let most = limit.unwrap_or(OUTPUT_TOKENS_RESERVED).min(self.room(input_tokens));
        let of = |output: u64| {
            let tokens = Tokens { input: input_tokens, output, cached: 0 };
            Amount::of(tokens, self.facts.price.map(|price| price.of(tokens)).unwrap_or_default())
        };
        Estimate { most: of(most), expected: of(most.min(OUTPUT_TOKENS_EXPECTED)) }
    }

    fn learnt_latency(&self) -> Option<Duration> {
        self.state.learnt().latency
    }

    /// Tokens that a call is expected to use.
    pub(super) fn tokens_expected(&self, input_tokens: u64, output_max: Option<u32>) -> u64 {
        let limit = self.output_max(input_tokens, output_max).unwrap_or(u64::MAX);
        input_tokens.saturating_add(limit.min(OUTPUT_TOKENS_EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_forgotten_with_the_credential_that_it_was_of() {
        let state = ModelState::new(BreakerSettings { failures_max: 3, cooldown: Duration::from_secs(60) });
        let learnt = |kind| {
            state.failed(&ModelError::new(kind, "401"), 1);
            state.forget_refusal(1);
            let same = state.report().last_error;
            state.forget_refusal(2);
            (same, state.report().last_error)
        };
        assert_eq!(learnt(ModelErrorKind::Unauthorized), (Some(ModelErrorKind::Unauthorized), None));
        assert!(!state.is_aside(1), "it is tried again");
        let missing = Some(ModelErrorKind::NotFound);
        assert_eq!(learnt(ModelErrorKind::NotFound), (missing, missing), "a model is not found by another credential");
    }
}
