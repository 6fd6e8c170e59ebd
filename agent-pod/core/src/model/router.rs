//! The router: one reply from several candidates, in the order that a strategy gives them.
//!
//! ```text
//!  Ask ─► who can (need) ─► who may (breaker, cooling, rate) ─► rank ─► try, retry ─► next one ⟲ ─► Reply
//! ```
//!
//! A candidate that fails before the first piece of its reply has gone out is followed by the next one; afterwards the
//! run ends with an error, because a caller cannot unread what it has read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

pub use super::attempt::Reply;
use super::attempt::{Attempting, Deadline, Failure, Limits};
use super::breaker::Permit;
pub use super::candidate::{Candidate, Facts, HealthReport, ModelState, ProviderLoad, Timeouts};
use super::estimate::request_tokens;
use super::failures::{Failures, Unavailable, broken_off, deadline_exceeded, incapable, rejected};
use super::retry::pause;
use super::strategy::{CandidateView, Capabilities, Lack, Need, Strategy, rank};
use super::{ModelErrorKind, ModelRequest, Parameters, ResponseFormat, ToolChoice};
use crate::agent::{Events, Ledger};
use crate::budget::Estimate;
use crate::byte_pool::PoolError;
use crate::error::RunError;
use crate::message::Message;
use crate::tool::ToolSpec;

/// A server that asks for more patience than this before another try is not tried again by the same call.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

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

/// How a candidate ended that gave no reply.
enum End {
    /// The next one is tried.
    Next,
    /// The run ends.
    Run(RunError),
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
    /// - `provider_rejected` when a provider finds the request at fault.
    /// - `all_providers_failed`, `provider_unauthorized` or `provider_model_not_found` when no candidate gave a reply.
    /// - `deadline_exceeded`.
    pub async fn complete(&self, ask: &Ask<'_>, ledger: &Ledger, events: &Events) -> Result<Reply, RunError> {
        let input_tokens = self.input_tokens(ask);
        let Order { ready, unavailable } = self.order(ask, input_tokens)?;
        let mut failures = Failures::new(unavailable);
        let count = ready.len();
        for (position, candidate) in ready.into_iter().enumerate() {
            if Instant::now() >= ask.deadline {
                return Err(deadline_exceeded());
            }
            let limits = Limits { deadline: ask.deadline, last: position + 1 == count };
            // Other runs may have learnt more while this one waited for the candidates before.
            if let Some(why) = left_alone(candidate) {
                failures.skipped(candidate, why);
                continue;
            }
            let place = candidate.load.places.try_acquire().ok();
            let _place = match place {
                Some(place) => place,
                None if limits.last => match timeout_at(ask.deadline, candidate.load.places.acquire()).await {
                    Ok(Ok(place)) => place,
                    Ok(Err(_)) | Err(_) => return Err(deadline_exceeded()),
                },
                None => {
                    failures.skipped(candidate, Unavailable::Busy);
                    continue;
                }
            };
            // Or while it waited for the place; and of those who come together one may probe.
            let permit = match (candidate.state.breaker.acquire(), candidate.state.cooling()) {
                (Ok(permit), None) => permit,
                (Ok(_), Some(wait)) => {
                    failures.skipped(candidate, Unavailable::Cooling(wait));
                    continue;
                }
                (Err(wait), _) => {
                    failures.skipped(candidate, Unavailable::CircuitOpen(wait));
                    continue;
                }
            };
            let call = CandidateCall { candidate, role: &self.role, ask, limits, input_tokens };
            match call.run(permit, (ledger, events), &mut failures).await {
                Ok(reply) => return Ok(reply),
                Err(End::Run(error)) => return Err(error),
                Err(End::Next) => {}
            }
        }
        Err(failures.into_error())
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

/// Why nobody may call a candidate now, whatever the request.
fn left_alone(candidate: &Candidate) -> Option<Unavailable> {
    let state = &candidate.state;
    state.breaker.wait().map(Unavailable::CircuitOpen).or_else(|| state.cooling().map(Unavailable::Cooling))
}

/// One request at one candidate, with all its tries.
struct CandidateCall<'a> {
    candidate: &'a Candidate,
    role: &'a str,
    ask: &'a Ask<'a>,
    limits: Limits,
    input_tokens: u64,
}

impl<'a> CandidateCall<'a> {
    async fn run(
        &self,
        mut permit: Permit,
        (ledger, events): (&Ledger, &Events),
        failures: &mut Failures<'a>,
    ) -> Result<Reply, End> {
        let input_tokens =
            if self.input_tokens > 0 { self.input_tokens } else { request_tokens(self.ask.messages, self.ask.tools) };
        let parameters = self.parameters(input_tokens);
        let request = ModelRequest {
            model: &self.candidate.model,
            messages: self.ask.messages,
            tools: self.ask.tools,
            tool_choice: self.ask.tool_choice,
            response_format: self.response_format(),
            parameters: parameters.as_ref().unwrap_or(&self.candidate.parameters),
        };
        let output_max = self.ask.parameters.and_then(|parameters| parameters.max_tokens);
        let expected = self.candidate.tokens_expected(input_tokens, output_max);
        if let Err(wait) = self.candidate.load.rate.take(expected) {
            failures.skipped(self.candidate, Unavailable::RateLimited(wait));
            return Err(End::Next);
        }
        let mut attempt = 1;
        let failure = loop {
            let attempting = Attempting::begin(self.candidate, self.role, ledger, (input_tokens, expected));
            match attempting.run(&request, self.limits, events, &mut permit).await {
                Ok((reply, first)) => {
                    self.candidate.state.succeeded(first);
                    permit.success();
                    return Ok(reply);
                }
                Err(failure) => {
                    attempt += 1;
                    let Some(wait) = self.again(&failure, attempt) else { break failure };
                    sleep(wait).await;
                    // A second try is a call like any other.
                    if left_alone(self.candidate).is_some() || self.candidate.load.rate.take(expected).is_err() {
                        break failure;
                    }
                }
            }
        };
        self.settle(permit, &failure);
        Err(self.end(failure, failures))
    }

    /// A server that has not said to hold its model to a schema is not asked to.
    fn response_format(&self) -> Option<&'a ResponseFormat> {
        let holds = |format: &&ResponseFormat| match format {
            ResponseFormat::JsonObject => true,
            ResponseFormat::JsonSchema { .. } => self.candidate.facts.capabilities.json_schema,
        };
        self.ask.response_format.filter(holds)
    }

    /// The pause before the next try, if there is one.
    fn again(&self, failure: &Failure, attempt: u32) -> Option<Duration> {
        let Failure { error, committed, deadline } = failure;
        let retriable = match error.kind {
            ModelErrorKind::Unavailable | ModelErrorKind::Malformed => true,
            // One that says when it wants to be asked again is not asked before.
            ModelErrorKind::RateLimited => error.retry_after.is_none(),
            ModelErrorKind::Rejected
            | ModelErrorKind::Unauthorized
            | ModelErrorKind::NotFound
            | ModelErrorKind::Timeout
            | ModelErrorKind::NoMemory => false,
        };
        let settings = self.candidate.retry;
        let asked = error.retry_after.unwrap_or_default();
        if !retriable || *committed || deadline.is_some() || attempt > settings.attempts_max || asked > RETRY_AFTER_MAX
        {
            return None;
        }
        // The circuit is open, or this is the single call that tries it out.
        if left_alone(self.candidate).is_some() {
            return None;
        }
        let wait = pause(attempt, self.ask.seed.wrapping_add(u64::from(attempt))).max(asked);
        let in_time = Instant::now() + wait < self.ask.deadline;
        (in_time && self.candidate.state.retries.take(settings.budget_percent)).then_some(wait)
    }

    /// What the failure says of the provider.
    fn settle(&self, mut permit: Permit, failure: &Failure) {
        let Candidate { provider, model, state, port, .. } = self.candidate;
        if failure.deadline == Some(Deadline::CallerInHurry) {
            return;
        }
        let error = &failure.error;
        if error.kind == ModelErrorKind::NoMemory {
            return;
        }
        tracing::info!(%provider, %model, kind = %error.kind, cause = %error, "provider failed");
        state.failed(error, port.credential_version());
        match error.kind {
            ModelErrorKind::Unavailable | ModelErrorKind::Timeout | ModelErrorKind::Malformed => {
                if permit.failure() {
                    tracing::warn!(%provider, %model, "circuit opened: too many failures in a row");
                }
            }
            // Neither is the server's failure, and it has answered.
            ModelErrorKind::Rejected | ModelErrorKind::Unauthorized | ModelErrorKind::NotFound => permit.answered(),
            ModelErrorKind::RateLimited | ModelErrorKind::NoMemory => {}
        }
    }

    fn end(&self, failure: Failure, failures: &mut Failures<'a>) -> End {
        let Failure { error, committed, deadline } = failure;
        if deadline.is_some() {
            End::Run(deadline_exceeded())
        } else if error.kind == ModelErrorKind::NoMemory {
            // Another candidate's reply would take as much.
            End::Run(PoolError::Exhausted.for_caller())
        } else if committed {
            End::Run(broken_off(self.candidate, &error))
        } else if error.kind == ModelErrorKind::Rejected {
            End::Run(rejected(self.candidate, &error))
        } else {
            failures.failed(self.candidate, error);
            End::Next
        }
    }

    /// The candidate's parameters with the caller's over them; none where the caller has none.
    fn parameters(&self, input_tokens: u64) -> Option<Parameters> {
        let own = &self.candidate.parameters;
        let Parameters { temperature, top_p, max_tokens, stop, seed, extra } =
            self.ask.parameters.filter(|parameters| **parameters != Parameters::default())?;
        let mut merged = own.extra.clone();
        merged.extend(extra.clone());
        Some(Parameters {
            temperature: temperature.or(own.temperature),
            top_p: top_p.or(own.top_p),
            // Never more than the model can give: servers refuse what is beyond.
            max_tokens: self
                .candidate
                .output_max(input_tokens, *max_tokens)
                .map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
            stop: if stop.is_empty() { own.stop.clone() } else { stop.clone() },
            seed: seed.or(own.seed),
            extra: merged,
        })
    }
}
