//! One request of the router at its candidates: when each may be asked, how often, and what its end says.

use std::time::Duration;

use futures::future::select_all;
use tokio::time::{Instant, sleep, timeout_at};

use super::attempt::{Attempting, Deadline, Failure, Limits, Reply};
use super::breaker::Permit;
use super::candidate::Candidate;
use super::estimate::request_tokens;
use super::failures::{Failures, Unavailable, broken_off, deadline_exceeded, rejected};
use super::retry::pause;
use super::router::Ask;
use super::{ModelError, ModelErrorKind, ModelRequest, Parameters, ResponseFormat};
use crate::agent::{Events, Ledger};
use crate::byte_pool::PoolError;
use crate::error::RunError;

/// A server that asks for more patience than this before another try is not tried again by the same call.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(2);

/// A candidate whose credential is refused.
pub(super) struct Refused<'a> {
    pub(super) candidate: &'a Candidate,
    /// That of the credential.
    pub(super) version: u64,
}

/// How a candidate ended that gave no reply.
enum End {
    /// The next one is tried.
    Next,
    /// The run ends.
    Run(RunError),
}

/// Why nobody may call a candidate now, whatever the request.
pub(super) fn left_alone(candidate: &Candidate) -> Option<Unavailable> {
    let state = &candidate.state;
    state.breaker.wait().map(Unavailable::CircuitOpen).or_else(|| state.cooling().map(Unavailable::Cooling))
}

/// One request, at whichever candidate.
pub(super) struct RouterCall<'a> {
    pub(super) role: &'a str,
    pub(super) ask: &'a Ask<'a>,
    pub(super) input_tokens: u64,
    pub(super) to: (&'a Ledger, &'a Events),
}

impl<'a> RouterCall<'a> {
    /// Gets the reply of this candidate; nothing where the next one is to be asked, and `failures` says why.
    pub(super) async fn of(
        &self,
        candidate: &'a Candidate,
        last: bool,
        failures: &mut Failures<'a>,
    ) -> Result<Option<Reply>, RunError> {
        let deadline = self.ask.deadline;
        if Instant::now() >= deadline {
            return Err(deadline_exceeded());
        }
        // Other runs may have learnt more while this one waited for the candidates before.
        if let Some(why) = left_alone(candidate) {
            failures.skipped(candidate, why);
            return Ok(None);
        }
        let _place = match candidate.load.places.try_acquire() {
            Ok(place) => place,
            Err(_) if last => match timeout_at(deadline, candidate.load.places.acquire()).await {
                Ok(Ok(place)) => place,
                Ok(Err(_)) | Err(_) => return Err(deadline_exceeded()),
            },
            Err(_) => {
                failures.skipped(candidate, Unavailable::Busy);
                return Ok(None);
            }
        };
        // Or while it waited for the place; and of those who come together one may probe.
        let permit = match (candidate.state.breaker.acquire(), candidate.state.cooling()) {
            (Ok(permit), None) => permit,
            (Ok(_), Some(wait)) => {
                failures.skipped(candidate, Unavailable::Cooling(wait));
                return Ok(None);
            }
            (Err(wait), _) => {
                failures.skipped(candidate, Unavailable::CircuitOpen(wait));
                return Ok(None);
            }
        };
        let limits = Limits { deadline, last };
        let Self { role, ask, input_tokens, to } = *self;
        match (CandidateCall { candidate, role, ask, limits, input_tokens }).run(permit, to, failures).await {
            Ok(reply) => Ok(Some(reply)),
            Err(End::Next) => Ok(None),
            Err(End::Run(error)) => Err(error),
        }
    }

    /// Nobody else is left: asks those whose credential was refused once more, as soon as it is replaced.
    pub(super) async fn of_renewed(
        &self,
        refused: Vec<Refused<'a>>,
        failures: Failures<'a>,
    ) -> Result<Reply, RunError> {
        let (mut refused, mut failures) = (refused, failures);
        while !refused.is_empty() {
            let renewals = refused.iter().map(|one| one.candidate.port.credential_renewed(one.version));
            let Ok((renewed, first, _)) = timeout_at(self.ask.deadline, select_all(renewals)).await else { break };
            let Refused { candidate, .. } = refused.swap_remove(first);
            // One that has not been asked at all is asked in any case.
            if (renewed || failures.of(candidate).is_none())
                && let Some(reply) = self.of(candidate, true, &mut failures).await?
            {
                return Ok(reply);
            }
        }
        for Refused { candidate, .. } in refused {
            if failures.of(candidate).is_none() {
                failures.failed(candidate, ModelError::new(ModelErrorKind::Unauthorized, "credential refused"));
            }
        }
        Err(failures.into_error())
    }
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
        let version = self.candidate.port.credential_version();
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
        self.settle(permit, &failure, version);
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

    /// What the failure of a call with a credential of this version says of the provider.
    fn settle(&self, mut permit: Permit, failure: &Failure, credential_version: u64) {
        let Candidate { provider, model, state, .. } = self.candidate;
        if failure.deadline == Some(Deadline::CallerInHurry) {
            return;
        }
        let error = &failure.error;
        if error.kind == ModelErrorKind::NoMemory {
            return;
        }
        tracing::info!(%provider, %model, kind = %error.kind, cause = %error, "provider failed");
        state.failed(error, credential_version);
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
