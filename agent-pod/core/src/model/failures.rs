//! From what candidates lack, why they may not be called and how they failed to the one error of the run.

use std::time::Duration;

use super::candidate::Candidate;
use super::strategy::Lack;
use super::{ModelError, ModelErrorKind};
use crate::error::{ErrorCode, RunError};

/// How soon a provider with too many requests under way may have a place.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// Why a candidate may not be called now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// It has failed too often; for so long.
    CircuitOpen(Duration),
    /// It has asked for patience; for so long.
    Cooling(Duration),
    /// Its rate limit is used up; for so long.
    RateLimited(Duration),
    /// As many requests as it may have are under way.
    Busy,
}

impl Unavailable {
    fn wait(self) -> Duration {
        match self {
            Self::CircuitOpen(wait) | Self::Cooling(wait) | Self::RateLimited(wait) => wait,
            Self::Busy => BUSY_WAIT,
        }
    }

    fn phrase(self) -> &'static str {
        match self {
            Self::CircuitOpen(_) => "circuit open",
            Self::Cooling(_) => "cooling down",
            Self::RateLimited(_) => "rate limit used up",
            Self::Busy => "too many requests under way",
        }
    }
}

/// Everything that went wrong on the way to a reply.
pub(super) struct Failures<'a> {
    skipped: Vec<(&'a Candidate, Unavailable)>,
    failed: Vec<(&'a Candidate, ModelError)>,
}

impl<'a> Failures<'a> {
    pub(super) fn new(skipped: Vec<(&'a Candidate, Unavailable)>) -> Self {
        Self { skipped, failed: Vec::new() }
    }

    /// It was not called. Where it has failed before, that is told.
    pub(super) fn skipped(&mut self, candidate: &'a Candidate, why: Unavailable) {
        if self.of(candidate).is_none() {
            self.skipped.push((candidate, why));
        }
    }

    /// Its last try ended so.
    pub(super) fn failed(&mut self, candidate: &'a Candidate, error: ModelError) {
        self.failed.retain(|(known, _)| !std::ptr::eq(*known, candidate));
        self.failed.push((candidate, error));
    }

    /// How it has failed.
    pub(super) fn of(&self, candidate: &Candidate) -> Option<ModelErrorKind> {
        self.failed.iter().find(|(known, _)| std::ptr::eq(*known, candidate)).map(|(_, error)| error.kind)
    }

    /// The error of a run for which there was no reply.
    pub(super) fn into_error(self) -> RunError {
        let failed = self.failed.iter().map(|(candidate, error)| format!("{} ({error})", candidate.provider));
        let skipped = self.skipped.iter().map(|(candidate, why)| format!("{} ({})", candidate.provider, why.phrase()));
        let list = failed.chain(skipped).collect::<Vec<_>>().join(", ");
        if self.failed.is_empty() {
            return self.none_available(&list);
        }
        let subject = match self.failed.len() + self.skipped.len() {
            1 => "The provider failed",
            2 => "Both providers failed",
            _ => "All providers failed",
        };
        if self.all(ModelErrorKind::Unauthorized) {
            let message = format!("{subject}: {list}. Check the Secret that the Provider's spec.auth names.");
            return RunError::new(ErrorCode::ProviderUnauthorized, message);
        }
        if self.all(ModelErrorKind::NotFound) {
            let message = format!("{subject}: {list}. Check the model's name and the Provider's endpoint.");
            return RunError::new(ErrorCode::ProviderModelNotFound, message);
        }
        let asked = self.failed.iter().filter_map(|(_, error)| error.retry_after);
        let wait = asked.chain(self.skipped.iter().map(|(_, why)| why.wait())).min();
        let again = wait.map_or_else(|| "Try again later.".to_owned(), again);
        let mut error = RunError::new(ErrorCode::AllProvidersFailed, format!("{subject}: {list}. {again}"));
        error.retry_after = wait;
        error
    }

    fn all(&self, kind: ModelErrorKind) -> bool {
        self.skipped.is_empty() && self.failed.iter().all(|(_, error)| error.kind == kind)
    }

    fn none_available(&self, list: &str) -> RunError {
        let open = |(_, why): &(&Candidate, Unavailable)| matches!(why, Unavailable::CircuitOpen(_));
        let code = if self.skipped.iter().all(open) { ErrorCode::AllCircuitsOpen } else { ErrorCode::AllCoolingDown };
        let wait = self.skipped.iter().map(|(_, why)| why.wait()).min().unwrap_or_default();
        RunError::new(code, format!("No provider can be called now: {list}. {}", again(wait))).retry_after(wait)
    }
}

fn again(wait: Duration) -> String {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    format!("Try again in {seconds} s.")
}

/// Nobody can tell when consent is given again: a minute is a polite pace to ask.
const CONSENT_WAIT: Duration = Duration::from_secs(60);

/// Every provider that the role named has withdrawn its consent.
pub(super) fn forsaken(role: &str) -> RunError {
    let message = format!(
        "no provider of this agent may be used any more for the role `{role}`; let the Providers' spec.allowedNamespaces \
         name the agent's namespace again, or name other candidates"
    );
    RunError::new(ErrorCode::Suspended, message).retry_after(CONSENT_WAIT)
}

/// No candidate can serve the request.
pub(super) fn incapable(lacks: &[(&Candidate, Lack)], images: bool) -> RunError {
    let any = |lack: Lack| lacks.iter().any(|(_, found)| *found == lack);
    if any(Lack::Context) {
        return RunError::new(
            ErrorCode::ContextTooLong,
            "the conversation exceeds the context window of every model of this agent; send less, or begin a new session",
        );
    }
    if images && any(Lack::Vision) {
        return RunError::new(
            ErrorCode::UnsupportedContent,
            "no model of this agent takes images; send the question as text, or add a model with the capability `vision`",
        );
    }
    let list: Vec<_> = lacks
        .iter()
        .map(|(candidate, lack)| format!("{}/{} lacks `{}`", candidate.provider, candidate.model, name(*lack)))
        .collect();
    RunError::new(
        ErrorCode::NoCapableProvider,
        format!(
            "no model of this agent has what the request needs: {}; add a candidate, or correct `capabilities` of the Provider's models",
            list.join(", ")
        ),
    )
}

fn name(lack: Lack) -> &'static str {
    match lack {
        Lack::Tools => "tools",
        Lack::Vision => "vision",
        Lack::JsonSchema => "json_schema",
        Lack::Context => "context",
    }
}

/// The provider finds the request at fault.
pub(super) fn rejected(candidate: &Candidate, error: &ModelError) -> RunError {
    RunError::new(
        ErrorCode::ProviderRejected,
        format!(
            "{} found the request at fault: {error}. Change the request; another try will fail too.",
            candidate.provider
        ),
    )
}

/// The provider broke off when some of its answer had gone out.
pub(super) fn broken_off(candidate: &Candidate, error: &ModelError) -> RunError {
    let mut failure = RunError::new(
        ErrorCode::AllProvidersFailed,
        format!("{} broke off in the middle of its answer ({error}). Try again.", candidate.provider),
    );
    failure.retry_after = error.retry_after;
    failure
}

/// The run's time is up.
pub(crate) fn deadline_exceeded() -> RunError {
    RunError::new(
        ErrorCode::DeadlineExceeded,
        "the run did not end in time; ask for less, or raise spec.orchestration.timeout and the caller's own deadline",
    )
}
