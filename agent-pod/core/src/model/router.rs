//! The router: one reply from several candidates, in the order that a strategy gives them.
//!
//! ```text
//!  Ask ─► who can (need) ─► who may (breaker, cooling, rate) ─► rank ─► try, retry ─► next one ⟲ ─► Reply
//! ```
//!
//! A candidate that fails before the first piece of its reply has gone out is followed by the next one; afterwards the
//! run ends with an error, because a caller cannot unread what it has read.
//!
//! A credential that is refused after it was accepted has been rotated, as it seems: where nobody else is left, the run waits a
//! moment for the new one and asks once more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

pub use super::attempt::Reply;
use super::call::{Refused, RouterCall, left_alone};
pub use super::candidate::{Candidate, Facts, HealthReport, ModelState, ProviderLoad, Timeouts};
use super::estimate::request_tokens;
use super::failures::{Failures, Unavailable, forsaken, incapable};
use super::strategy::{CandidateView, Capabilities, Lack, Need, Strategy, rank};
use super::{ModelErrorKind, Parameters, ResponseFormat, ToolChoice};
use crate::agent::{Events, Ledger};
use crate::budget::Estimate;
use crate::error::RunError;
use crate::message::Message;
use crate::tool::ToolSpec;

/// The candidates of a role.
#[derive(Clone)]
pub struct Router {
    role: Arc<str>,
    strategy: Strategy,
    requires: Capabilities,
    candidates: Arc<[Candidate]>,
    /// Requests so far, for the strategy that takes turns.
    rotation: Arc<AtomicUsize>,
}

/// What a router is made of.
pub struct RouterSettings {
    /// The role that it serves; `default` for the agent's own model.
    pub role: String,
    /// In which order candidates are tried.
    pub strategy: Strategy,
    /// What every call needs.
    pub requires: Capabilities,
    /// The candidates as declared.
    pub candidates: Vec<Candidate>,
    /// Requests so far; shared with the router's predecessor, so that a reload begins no new rotation.
    pub rotation: Arc<AtomicUsize>,
}

/// What is asked of a model, whichever it is.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// The conversation.
    pub messages: &'a [Message],
    /// The tools that it may ask for.
    pub tools: &'a [ToolSpec],
    /// Which of them it must, may or must not ask for.
    pub tool_choice: Option<&'a ToolChoice>,
    /// What form the reply shall have.
    pub response_format: Option<&'a ResponseFormat>,
    /// Whether a model that cannot be held to it may not serve; else it is asked without.
    pub format_required: bool,
    /// The caller's own sampling parameters.
    pub parameters: Option<&'a Parameters>,
    /// The run's.
    pub deadline: Instant,
    /// Differs between runs: spreads their retries.
    pub seed: u64,
}

/// Who serves a request.
struct Order<'a> {
    /// Those that can and may, in the order in which they are tried.
    ready: Vec<&'a Candidate>,
    /// Those that could and may not now.
    unavailable: Vec<(&'a Candidate, Unavailable)>,
}

impl Router {
    /// A router over these candidates.
    #[must_use]
    pub fn new(settings: RouterSettings) -> Self {
        let RouterSettings { role, strategy, requires, candidates, rotation } = settings;
        Self { role: role.into(), strategy, requires, candidates: candidates.into(), rotation }
    }

    /// The candidates as declared.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Gets one reply, streaming its text into `events` and booking every try in `ledger`.
    ///
    /// # Errors
    /// - Before any call: `no_capable_provider`, `unsupported_content` or `context_too_long` when no candidate can
    ///   serve the request; `all_circuits_open` or `all_cooling_down` when none may be called now.
    /// - `suspended` where there is no candidate any more.
    /// - `provider_rejected` when a provider finds the request at fault.
    /// - `all_providers_failed`, `provider_unauthorized` or `provider_model_not_found` when no candidate gave a reply.
    /// - `deadline_exceeded`.
    pub async fn complete(&self, ask: &Ask<'_>, ledger: &Ledger, events: &Events) -> Result<Reply, RunError> {
        let input_tokens = self.input_tokens(ask);
        let Order { ready, unavailable } = self.order(ask, input_tokens)?;
        let call = RouterCall { role: &self.role, ask, input_tokens, to: (ledger, events) };
        let mut failures = Failures::new(unavailable);
        let mut refused = Vec::new();
        let count = ready.len();
        for (position, candidate) in ready.into_iter().enumerate() {
            let version = candidate.port.credential_version();
            // Its credential is refused, and may be replaced at any moment: until then there may be another one.
            if candidate.port.awaits_credential() {
                refused.push(Refused { candidate, version });
                continue;
            }
            if let Some(reply) = call.of(candidate, position + 1 == count, &mut failures).await? {
                return Ok(reply);
            }
            if failures.of(candidate) == Some(ModelErrorKind::Unauthorized) {
                refused.push(Refused { candidate, version });
            }
        }
        call.of_renewed(refused, failures).await
    }

    /// What a call may use at most: the estimated tokens of the request and the longest reply that is allowed and that
    /// the model can give, at the highest price. Where no limit is set, a reply is taken to have at most 4,096 tokens.
    #[must_use]
    pub fn estimate(&self, ask: &Ask<'_>) -> Estimate {
        let input = request_tokens(ask.messages, ask.tools);
        let output_max = ask.parameters.and_then(|parameters| parameters.max_tokens);
        let estimates = self.candidates.iter().map(|candidate| candidate.estimate(input, output_max));
        estimates.fold(Estimate::default(), |sum, one| Estimate {
            most: sum.most.max(one.most),
            expected: sum.expected.max(one.expected),
        })
    }

    /// The same with the one candidate that serves this request for the least money; one whose price is unknown comes last.
    #[must_use]
    pub fn cheapest(&self, ask: &Ask<'_>) -> Self {
        let input = request_tokens(ask.messages, ask.tools);
        let need = self.need(ask, input);
        let output_max = ask.parameters.and_then(|parameters| parameters.max_tokens);
        let able: Vec<_> =
            self.candidates.iter().map(|candidate| (candidate, candidate.view(input, output_max))).collect();
        let able: Vec<_> = able.into_iter().filter(|(_, view)| view.lack(&need).is_none()).collect();
        let views: Vec<_> = able.iter().map(|(_, view)| *view).collect();
        let first = rank(&views, Strategy::CostOptimized, 0).first().and_then(|index| able.get(*index));
        // Where none is able, the router says what they lack.
        let Some((cheapest, _)) = first else { return self.clone() };
        Self { candidates: [(*cheapest).clone()].into(), ..self.clone() }
    }

    /// Counted only where somebody wants to know: it costs a pass over the conversation.
    fn input_tokens(&self, ask: &Ask<'_>) -> u64 {
        let by_cost = self.strategy == Strategy::CostOptimized && self.candidates.len() > 1;
        let bounded =
            |candidate: &Candidate| candidate.facts.context_window.is_some() || candidate.load.rate.counts_tokens();
        if by_cost || self.candidates.iter().any(bounded) { request_tokens(ask.messages, ask.tools) } else { 0 }
    }

    /// The candidates that can and may serve, in the order in which they are tried, and those that may not now.
    fn order(&self, ask: &Ask<'_>, input_tokens: u64) -> Result<Order<'_>, RunError> {
        if self.candidates.is_empty() {
            return Err(forsaken(&self.role));
        }
        let need = self.need(ask, input_tokens);
        let output_max = ask.parameters.and_then(|parameters| parameters.max_tokens);
        let mut lacks: Vec<(&Candidate, Lack)> = Vec::new();
        let mut unavailable = Vec::new();
        let mut available: Vec<(&Candidate, CandidateView)> = Vec::new();
        for candidate in &*self.candidates {
            let view = candidate.view(input_tokens, output_max);
            let expected = candidate.tokens_expected(input_tokens, output_max);
            match (view.lack(&need), unavailable_now(candidate, expected)) {
                (Some(lack), _) => lacks.push((candidate, lack)),
                (None, Some(reason)) => unavailable.push((candidate, reason)),
                (None, None) => available.push((candidate, view)),
            }
        }
        if available.is_empty() {
            let nobody_can = unavailable.is_empty();
            let images = ask.messages.iter().any(|message| !message.images.is_empty());
            return Err(if nobody_can { incapable(&lacks, images) } else { Failures::new(unavailable).into_error() });
        }
        let views: Vec<_> = available.iter().map(|(_, view)| *view).collect();
        let rotation = match self.strategy {
            Strategy::RoundRobin => self.rotation.fetch_add(1, Ordering::Relaxed),
            Strategy::CostOptimized
            | Strategy::LatencyOptimized
            | Strategy::QualityFirst
            | Strategy::CapabilityMatch => 0,
        };
        let ranked = rank(&views, self.strategy, rotation).into_iter().filter_map(|index| available.get(index));
        let (mut ready, aside): (Vec<_>, Vec<_>) = ranked
            .map(|(candidate, _)| *candidate)
            .partition(|candidate| !candidate.state.is_aside(candidate.port.credential_version()));
        // What is misconfigured comes last: it is worth a try only where everything else has failed.
        ready.extend(aside);
        Ok(Order { ready, unavailable })
    }

    fn need(&self, ask: &Ask<'_>, input_tokens: u64) -> Need {
        let schema = matches!(ask.response_format, Some(ResponseFormat::JsonSchema { .. }));
        let asked = Capabilities {
            tools: !ask.tools.is_empty(),
            vision: ask.messages.iter().any(|message| !message.images.is_empty()),
            json_schema: schema && ask.format_required,
        };
        let need = Need { capabilities: self.requires.and(asked), input_tokens };
        if schema && self.strategy == Strategy::CapabilityMatch {
            // An agent's own schema can be asked for in words as well; where some candidate can be held to it, only such are kept.
            let capabilities = Capabilities { json_schema: true, ..need.capabilities };
            let held = Need { capabilities, ..need };
            let output_max = ask.parameters.and_then(|parameters| parameters.max_tokens);
            let mut views = self.candidates.iter().map(|candidate| candidate.view(input_tokens, output_max));
            if views.any(|view| view.lack(&held).is_none()) {
                return held;
            }
        }
        need
    }
}

/// Why a candidate may not be called now.
fn unavailable_now(candidate: &Candidate, tokens_expected: u64) -> Option<Unavailable> {
    left_alone(candidate).or_else(|| candidate.load.rate.wait(tokens_expected).map(Unavailable::RateLimited))
}
