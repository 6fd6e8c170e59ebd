//! The router: one reply from several candidates, in the order in which they are declared.
//!
//! A candidate that fails before the first piece of its reply has gone out is followed by the next one; afterwards the
//! run ends with an error, because a caller cannot unread what it has read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::{Model, ModelError, ModelErrorKind, ModelEvent, ModelRequest, ModelStream, Parameters};
use crate::agent::{Events, Ledger};
use crate::error::{ErrorCode, RunError};
use crate::event::{Attempt, TurnEvent};
use crate::message::{Message, ToolCall};
use crate::tool::ToolSpec;
use crate::usage::Tokens;

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
    /// The adapter that calls it.
    pub port: Arc<dyn Model>,
    /// What the pod has learnt of it, shared by all agents that use it.
    pub health: Arc<Health>,
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

/// How the last call of a model ended.
#[derive(Debug, Default)]
pub struct Health(Mutex<HealthReport>);

/// What [`Health`] knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthReport {
    /// The last failure; none when the last call succeeded.
    pub last_error: Option<ModelErrorKind>,
    /// Time to the first content of the last success.
    pub time_to_first_token: Option<Duration>,
}

impl Health {
    /// What is known now.
    #[must_use]
    pub fn report(&self) -> HealthReport {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn succeeded(&self, first: Duration) {
        let report = HealthReport { last_error: None, time_to_first_token: Some(first) };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = report;
    }

    fn failed(&self, kind: ModelErrorKind) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last_error = Some(kind);
    }
}

/// A whole reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// Its text.
    pub content: String,
    /// The tools that it asks for.
    pub tool_calls: Vec<ToolCall>,
}

/// The candidates of a role.
#[derive(Clone)]
pub struct Router {
    candidates: Vec<Candidate>,
}

/// How far a reply has come.
#[derive(Default)]
struct Progress {
    /// When the first of it went out.
    first_token: Option<Instant>,
    /// What the server has counted so far.
    tokens: Tokens,
}

/// How one candidate failed.
struct Failure {
    error: ModelError,
    /// Whether something of its reply has gone out already.
    committed: bool,
}

impl Router {
    /// A router over these candidates, tried in this order.
    #[must_use]
    pub fn new(candidates: Vec<Candidate>) -> Self {
        Self { candidates }
    }

    /// The candidates in the order in which they are tried.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// Gets one reply, streaming its text into `events` and booking every try in `ledger`.
    ///
    /// # Errors
    /// `provider_rejected` when a provider finds the request at fault; `all_providers_failed`,
    /// `provider_unauthorized` or `provider_model_not_found` when no candidate gave a reply.
    pub async fn complete(
        &self,
        messages: &[Message],
        tools: &[ToolSpec],
        ledger: &mut Ledger,
        events: &Events,
    ) -> Result<Reply, RunError> {
        let mut failures: Vec<(&Candidate, ModelError)> = Vec::new();
        for (index, candidate) in self.candidates.iter().enumerate() {
            let request = ModelRequest {
                model: &candidate.model,
                messages,
                tools,
                tool_choice: None,
                response_format: None,
                parameters: &candidate.parameters,
            };
            let last = index + 1 == self.candidates.len();
            match candidate.attempt(&request, last, ledger, events).await {
                Ok(reply) => return Ok(reply),
                Err(Failure { error, committed: true }) => return Err(broken_off(candidate, &error)),
                Err(Failure { error, .. }) if error.kind == ModelErrorKind::Rejected => {
                    return Err(rejected(candidate, &error));
                }
                Err(Failure { error, .. }) => {
                    tracing::info!(provider = %candidate.provider, model = %candidate.model, kind = %error.kind, cause = %error, "provider failed");
                    failures.push((candidate, error));
                }
            }
        }
        Err(all_failed(&failures))
    }
}

impl Candidate {
    async fn attempt(
        &self,
        request: &ModelRequest<'_>,
        last: bool,
        ledger: &mut Ledger,
        events: &Events,
    ) -> Result<Reply, Failure> {
        let started = Instant::now();
        let mut progress = Progress::default();
        let result = self.read(request, last, events, &mut progress).await;
        let first = progress.first_token.map(|at| at - started);
        match &result {
            Ok(_) => self.health.succeeded(first.unwrap_or_default()),
            Err(failure) => self.health.failed(failure.error.kind),
        }
        if first.is_some() {
            ledger.usage.add(&self.provider, &self.model, progress.tokens);
        }
        let error = result.as_ref().err().map(|failure| &failure.error);
        ledger.attempts.push(Attempt {
            provider: self.provider.clone(),
            model: self.model.clone(),
            outcome: error.map_or("ok", |error| error.kind.as_str()),
            message: error.map(ToString::to_string),
            duration_ms: millis(started.elapsed()),
            time_to_first_token_ms: first.map(millis),
        });
        result
    }

    /// Reads one reply to its end.
    async fn read(
        &self,
        request: &ModelRequest<'_>,
        last: bool,
        events: &Events,
        progress: &mut Progress,
    ) -> Result<Reply, Failure> {
        let end = Instant::now() + self.timeouts.total;
        let first_end = if last { end } else { end.min(Instant::now() + self.timeouts.first_token) };
        let mut reply = Reply::default();
        let mut stream = timeout_at(first_end, self.port.call(request))
            .await
            .unwrap_or_else(|_| Err(too_slow("no answer")))
            .map_err(|error| Failure { error, committed: false })?;
        loop {
            let limit =
                if progress.first_token.is_some() { end.min(Instant::now() + self.timeouts.stall) } else { first_end };
            let next = next_event(&mut stream, limit).await;
            let committed = progress.first_token.is_some();
            match next.map_err(|error| Failure { error, committed })? {
                Some(ModelEvent::Content(text)) => {
                    progress.first_token.get_or_insert_with(Instant::now);
                    reply.content.push_str(&text);
                    events.send(TurnEvent::Token(text)).await;
                }
                Some(ModelEvent::ToolCall(call)) => {
                    progress.first_token.get_or_insert_with(Instant::now);
                    reply.tool_calls.push(call);
                }
                Some(ModelEvent::Reasoning(_) | ModelEvent::Finish(_)) => {}
                Some(ModelEvent::Tokens(counted)) => progress.tokens = counted,
                None if committed => return Ok(reply),
                None => {
                    let error = ModelError::new(ModelErrorKind::Malformed, "empty answer");
                    return Err(Failure { error, committed });
                }
            }
        }
    }
}

async fn next_event(stream: &mut ModelStream, limit: Instant) -> Result<Option<ModelEvent>, ModelError> {
    match timeout_at(limit, stream.next()).await {
        Ok(Some(event)) => event.map(Some),
        Ok(None) => Ok(None),
        Err(_) => Err(too_slow("stalled")),
    }
}

fn too_slow(what: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Timeout, format!("timed out, {what}"))
}

fn rejected(candidate: &Candidate, error: &ModelError) -> RunError {
    RunError::new(
        ErrorCode::ProviderRejected,
        format!(
            "{} found the request at fault: {error}. Change the request; another try will fail too.",
            candidate.provider
        ),
    )
}

fn broken_off(candidate: &Candidate, error: &ModelError) -> RunError {
    let mut failure = RunError::new(
        ErrorCode::AllProvidersFailed,
        format!("{} broke off in the middle of its answer ({error}). Try again.", candidate.provider),
    );
    failure.retry_after = error.retry_after;
    failure
}

fn all_failed(failures: &[(&Candidate, ModelError)]) -> RunError {
    let all = |kind: ModelErrorKind| !failures.is_empty() && failures.iter().all(|(_, error)| error.kind == kind);
    let list: Vec<String> =
        failures.iter().map(|(candidate, error)| format!("{} ({error})", candidate.provider)).collect();
    let list = list.join(", ");
    let subject = match failures.len() {
        1 => "The provider failed",
        2 => "Both providers failed",
        _ => "All providers failed",
    };
    if all(ModelErrorKind::Unauthorized) {
        let message = format!("{subject}: {list}. Check the Secret that the Provider's spec.auth names.");
        return RunError::new(ErrorCode::ProviderUnauthorized, message);
    }
    if all(ModelErrorKind::NotFound) {
        let message = format!("{subject}: {list}. Check the model's name and the Provider's endpoint.");
        return RunError::new(ErrorCode::ProviderModelNotFound, message);
    }
    let wait = failures.iter().filter_map(|(_, error)| error.retry_after).min();
    let again =
        wait.map_or_else(|| "Try again later.".to_owned(), |wait| format!("Try again in {} s.", ceil_secs(wait)));
    let mut error = RunError::new(ErrorCode::AllProvidersFailed, format!("{subject}: {list}. {again}"));
    error.retry_after = wait;
    error
}

fn ceil_secs(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
