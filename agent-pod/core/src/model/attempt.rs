//! One try of one candidate, read to its end and booked, also when it is dropped half way.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::breaker::Permit;
use super::candidate::Candidate;
use super::estimate::text_tokens;
use super::{FinishReason, ModelError, ModelErrorKind, ModelEvent, ModelRequest, ModelStream};
use crate::agent::{Events, Ledger};
use crate::byte_pool::weight::{self, COPIES};
use crate::event::{Attempt, Measures};
use crate::message::ToolCall;
use crate::usage::{Call, Tokens};

/// No server counts more tokens than this in one call: what says so is no count, and an estimate takes its place.
const TOKENS_PLAUSIBLE_MAX: u64 = 1 << 24;

/// A window that was declared too small is passed by this factor at most.
const WINDOWS_PLAUSIBLE_MAX: u64 = 4;

/// The most bytes of a reply and of what was thought before it: a million tokens of text, of which a reply is kept several
/// times on its way to the caller.
const REPLY_BYTES_MAX: usize = 4 << 20;

/// A whole reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Its text.
    pub content: String,
    /// What the model thought before it.
    pub reasoning: String,
    /// The tools that it asks for.
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended.
    pub finish: FinishReason,
}

/// How a try failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: ModelError,
    /// Whether something of its reply has gone out already.
    pub(super) committed: bool,
    /// Whether it was the run's deadline that ended it, and whether the provider had its time before.
    pub(super) deadline: Option<Deadline>,
}

/// Who is to blame when the run's deadline ends a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// The provider said nothing for as long as it may take to its first token.
    ProviderSilent,
    /// Nobody: the caller wanted it sooner.
    CallerInHurry,
}

/// The waits of a try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The run's.
    pub(super) deadline: Instant,
    /// Whether there is no other candidate: then the first token may take as long as the call.
    pub(super) last: bool,
}

/// A try that is under way.
pub(super) struct Attempting<'a> {
    candidate: &'a Candidate,
    role: &'a str,
    ledger: &'a Ledger,
    /// What the request is estimated to hold, for servers that do not count.
    input_tokens: u64,
    /// What was taken from the rate limit.
    tokens_expected: u64,
    started: Instant,
    first: Option<Instant>,
    tokens: Option<Tokens>,
    reply: Reply,
    outcome: &'static str,
    message: Option<String>,
}

impl<'a> Attempting<'a> {
    /// Begins a try for which the rate limit has been asked.
    pub(super) fn begin(
        candidate: &'a Candidate,
        role: &'a str,
        ledger: &'a Ledger,
        (input_tokens, tokens_expected): (u64, u64),
    ) -> Self {
        Self {
            candidate,
            role,
            ledger,
            input_tokens,
            tokens_expected,
            started: Instant::now(),
            first: None,
            tokens: None,
            reply: Reply::default(),
            outcome: "cancelled",
            message: None,
        }
    }

    /// Reads one reply to its end. With it comes the time to its first content.
    pub(super) async fn run(
        mut self,
        request: &ModelRequest<'_>,
        limits: Limits,
        events: &Events,
        permit: &mut Permit,
    ) -> Result<(Reply, Duration), Failure> {
        let result = self.read(request, limits, events, permit).await;
        match &result {
            Ok(()) => self.outcome = "ok",
            Err(failure) => {
                self.outcome = failure.deadline.map_or(failure.error.kind.as_str(), |_| "deadline_exceeded");
                self.message = Some(failure.error.to_string());
            }
        }
        let first = self.first.map(|at| at - self.started).unwrap_or_default();
        result.map(|()| (self.reply.clone(), first))
    }

    async fn read(
        &mut self,
        request: &ModelRequest<'_>,
        limits: Limits,
        events: &Events,
        permit: &mut Permit,
    ) -> Result<(), Failure> {
        let timeouts = self.candidate.timeouts;
        let mut end = self.started + timeouts.total;
        let first_end = if limits.last { end } else { end.min(self.started + timeouts.first_token) };
        let mut committed = false;
        let mut stream = match timeout_at(first_end.min(limits.deadline), self.candidate.port.call(request)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Failure { error, committed, deadline: None }),
            Err(_) => return Err(self.too_slow("no answer", limits, committed)),
        };
        // One timer for the whole reply: to put it off costs less than to set another one for each piece.
        let mut silence = pin!(sleep_until(first_end.min(limits.deadline)));
        loop {
            let limit = if self.first.is_some() { end.min(Instant::now() + timeouts.stall) } else { first_end };
            silence.as_mut().reset(limit.min(limits.deadline));
            let next = tokio::select! {
                biased;
                next = stream.next() => next,
                () = &mut silence => return Err(self.too_slow("stalled", limits, committed)),
            };
            let Some(event) = next else { break };
            let event = event.map_err(|error| Failure { error, committed, deadline: None })?;
            self.afford(&event).await.map_err(|error| Failure { error, committed, deadline: None })?;
            let text = self.take(event);
            if self.first.is_some() {
                permit.answered();
            }
            if self.reply.content.len() + self.reply.reasoning.len() > REPLY_BYTES_MAX {
                let error = ModelError::new(ModelErrorKind::Malformed, "reply too long");
                return Err(Failure { error, committed, deadline: None });
            }
            if let Some(text) = text {
                let before = Instant::now();
                committed |= events.token(text).await;
                // A caller who reads slowly takes nothing of the provider's time.
                end += before.elapsed();
            }
        }
        self.finish(stream).map_err(|error| Failure { error, committed, deadline: None })
    }

    /// Draws what an event adds to the run. Where there is nothing, the run is over: another candidate says as much.
    async fn afford(&self, event: &ModelEvent) -> Result<(), ModelError> {
        let bytes = match event {
            ModelEvent::Content(text) | ModelEvent::Reasoning(text) => text.len(),
            ModelEvent::ToolCall(call) => weight::of_call(call),
            ModelEvent::Tokens(_) | ModelEvent::Finish(_) => return Ok(()),
        };
        self.ledger.draw(COPIES * bytes).await.map_err(|error| {
            self.ledger.refuse(error);
            ModelError::new(ModelErrorKind::NoMemory, "no memory left for the reply")
        })
    }

    /// Takes an event in; gives the text that goes out.
    fn take(&mut self, event: ModelEvent) -> Option<String> {
        match event {
            ModelEvent::Content(text) => {
                self.first.get_or_insert_with(Instant::now);
                self.reply.content.push_str(&text);
                return Some(text);
            }
            ModelEvent::Reasoning(text) => {
                self.first.get_or_insert_with(Instant::now);
                self.reply.reasoning.push_str(&text);
            }
            ModelEvent::ToolCall(call) => {
                self.first.get_or_insert_with(Instant::now);
                self.reply.tool_calls.push(call);
            }
            ModelEvent::Tokens(counted) => self.tokens = Some(counted),
            ModelEvent::Finish(reason) => self.reply.finish = reason,
        }
        None
    }

    fn finish(&self, stream: ModelStream) -> Result<(), ModelError> {
        drop(stream);
        if self.reply.content.is_empty() && self.reply.tool_calls.is_empty() {
            return Err(ModelError::new(ModelErrorKind::Malformed, "empty answer"));
        }
        Ok(())
    }

    fn too_slow(&self, what: &str, limits: Limits, committed: bool) -> Failure {
        let error = ModelError::new(ModelErrorKind::Timeout, format!("timed out, {what}"));
        let silent = self.first.is_none() && self.started.elapsed() >= self.candidate.timeouts.first_token;
        let deadline = (Instant::now() >= limits.deadline).then_some(if silent {
            Deadline::ProviderSilent
        } else {
            Deadline::CallerInHurry
        });
        Failure { error, committed, deadline }
    }

    /// Whether a server can mean this: neither side is far longer than the model's window.
    fn is_plausible(&self, tokens: Tokens) -> bool {
        let window = self.candidate.facts.context_window;
        let most = window.map_or(TOKENS_PLAUSIBLE_MAX, |window| window.saturating_mul(WINDOWS_PLAUSIBLE_MAX));
        tokens.input <= most && tokens.output <= most
    }

    /// What the try has used: what the server has counted, else an estimate of what has come.
    fn used(&self) -> (Tokens, bool) {
        match self.tokens.filter(|tokens| self.is_plausible(*tokens)) {
            // A prompt has tokens; some servers do not count those that they have kept from the call before.
            Some(tokens) if tokens.input == 0 => (Tokens { input: self.input_tokens, cached: 0, ..tokens }, true),
            Some(tokens) => (Tokens { cached: tokens.cached.min(tokens.input), ..tokens }, false),
            None => {
                let calls: u64 =
                    self.reply.tool_calls.iter().map(|call| text_tokens(&call.arguments.to_string())).sum();
                let output = text_tokens(&self.reply.content)
                    .saturating_add(text_tokens(&self.reply.reasoning))
                    .saturating_add(calls);
                (Tokens { input: self.input_tokens, output, cached: 0 }, true)
            }
        }
    }
}

impl Drop for Attempting<'_> {
    fn drop(&mut self) {
        let candidate = self.candidate;
        let (duration, first) = (self.started.elapsed(), self.first.map(|at| at - self.started));
        // A server that fails without a word is taken to have used nothing. Where the caller has ended the call, the server
        // was at work: else whoever leaves in time would use what no budget counts.
        let ended_by_caller = matches!(self.outcome, "cancelled" | "deadline_exceeded");
        let used = (first.is_some() || self.tokens.is_some() || ended_by_caller).then(|| self.used());
        let tokens = used.map(|(tokens, _)| tokens).unwrap_or_default();
        let cost = candidate.facts.price.map(|price| price.of(tokens)).unwrap_or_default();
        if let Some((_, estimated)) = used {
            let (provider, model) = (&*candidate.provider, &*candidate.model);
            self.ledger.call(Call { provider, model, role: self.role, tokens, cost, estimated });
        }
        candidate.load.rate.settle(self.tokens_expected, tokens.input.saturating_add(tokens.output));
        self.ledger.attempt(Attempt {
            provider: candidate.provider.clone(),
            model: candidate.model.clone(),
            outcome: self.outcome,
            message: self.message.take(),
            duration_ms: millis(duration),
            time_to_first_token_ms: first.map(millis),
            measures: Measures { duration, first, tokens, cost },
        });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
