//! Errors as callers see them: a stable code, a sentence that says what to do, and nothing internal.

use std::time::Duration;

use serde::Serialize;

use crate::event::Attempt;
use crate::usage::Usage;

/// A failed run or a refused call.
///
/// `message` is written for the caller. Causes that only an operator may see are logged where they occur.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    /// The stable code.
    pub code: ErrorCode,
    /// What went wrong and what to do.
    pub message: String,
    /// The run, where there was one.
    pub run_id: Option<String>,
    /// When it may work again.
    pub retry_after: Option<Duration>,
    /// Every provider that was tried.
    pub attempts: Vec<Attempt>,
    /// What the run has used all the same, where it has used anything.
    pub usage: Option<Box<Usage>>,
    /// What is wrong with a request, field by field.
    pub problems: Vec<FieldProblem>,
}

/// One field of a request and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    /// Path of the field, for example `query`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// The stable codes. Every one has a status, a fault domain and a word on retrying; see the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The body is not JSON.
    InvalidJson,
    /// A WebSocket message is not one of the known ones.
    InvalidMessage,
    /// The request holds content that no model of the agent takes.
    UnsupportedContent,
    /// A provider found the request at fault.
    ProviderRejected,
    /// No token, or one that does not verify.
    Unauthenticated,
    /// A caller that may not call.
    Forbidden,
    /// There is no such agent here.
    AgentNotFound,
    /// The agent has no such tool.
    ToolNotFound,
    /// The agent's permissions exclude the tool.
    ToolForbidden,
    /// No run of this id waits for that here.
    RunNotFound,
    /// The approval has been decided, or its time was up.
    AlreadyDecided,
    /// The session has called the tool too often of late.
    RateLimited,
    /// There is no such route.
    NotFound,
    /// The route does not take this method.
    MethodNotAllowed,
    /// A run is under way on this socket.
    Busy,
    /// A call of the same idempotency key is still under way.
    IdempotencyInProgress,
    /// The body exceeds the agent's limit.
    BodyTooLarge,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The conversation exceeds what any model of the agent takes in.
    ContextTooLong,
    /// The body is not JSON by its content type.
    UnsupportedMediaType,
    /// JSON of the wrong shape.
    ValidationFailed,
    /// The idempotency key has come before with another body.
    IdempotencyMismatch,
    /// As many runs as the pod takes on are under way.
    Overloaded,
    /// Too many runs wait for the session.
    SessionBusy,
    /// The agent has used up what it may in this window of time.
    BudgetExceeded,
    /// Every candidate has asked for patience, or has used up its rate limit.
    AllCoolingDown,
    /// A fault of ours.
    Internal,
    /// Every candidate failed.
    AllProvidersFailed,
    /// No candidate has what the request needs.
    NoCapableProvider,
    /// Every candidate refused the credentials.
    ProviderUnauthorized,
    /// Every candidate lacks the model.
    ProviderModelNotFound,
    /// The pod is stopping.
    Draining,
    /// Every candidate has failed too often of late and is left alone for a while.
    AllCircuitsOpen,
    /// The agent is suspended.
    Suspended,
    /// There is no such session in the agent's memory.
    SessionNotFound,
    /// The store of the agent's memory is down.
    MemoryUnavailable,
    /// The run's time is up.
    DeadlineExceeded,
    /// The caller has cancelled the run; only ever said on a WebSocket.
    Cancelled,
}

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// The caller: the request must change.
    Caller,
    /// Whoever set the agent's rules and limits.
    Policy,
    /// Whoever runs the model server.
    Provider,
    /// We.
    #[serde(rename = "self")]
    Own,
}

impl ErrorCode {
    /// The whole set.
    pub const ALL: &[Self] = &[
        Self::InvalidJson,
        Self::InvalidMessage,
        Self::UnsupportedContent,
        Self::ProviderRejected,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::AgentNotFound,
        Self::ToolNotFound,
        Self::ToolForbidden,
        Self::RunNotFound,
        Self::AlreadyDecided,
        Self::RateLimited,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Busy,
        Self::IdempotencyInProgress,
        Self::BodyTooLarge,
        Self::RequestTimeout,
        Self::ContextTooLong,
        Self::UnsupportedMediaType,
        Self::ValidationFailed,
        Self::IdempotencyMismatch,
        Self::Overloaded,
        Self::SessionBusy,
        Self::BudgetExceeded,
        Self::AllCoolingDown,
        Self::Internal,
        Self::AllProvidersFailed,
        Self::NoCapableProvider,
        Self::ProviderUnauthorized,
        Self::ProviderModelNotFound,
        Self::Draining,
        Self::AllCircuitsOpen,
        Self::Suspended,
        Self::SessionNotFound,
        Self::MemoryUnavailable,
        Self::DeadlineExceeded,
        Self::Cancelled,
    ];

    /// The code on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidMessage => "invalid_message",
            Self::UnsupportedContent => "unsupported_content",
            Self::ProviderRejected => "provider_rejected",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::AgentNotFound => "agent_not_found",
            Self::ToolNotFound => "tool_not_found",
            Self::ToolForbidden => "tool_forbidden",
            Self::RunNotFound => "run_not_found",
            Self::AlreadyDecided => "already_decided",
            Self::RateLimited => "rate_limited",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Busy => "busy",
            Self::IdempotencyInProgress => "idempotency_in_progress",
            Self::BodyTooLarge => "body_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::ContextTooLong => "context_too_long",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::ValidationFailed => "validation_failed",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::Overloaded => "overloaded",
            Self::SessionBusy => "session_busy",
            Self::BudgetExceeded => "budget_exceeded",
            Self::AllCoolingDown => "all_cooling_down",
            Self::Internal => "internal",
            Self::AllProvidersFailed => "all_providers_failed",
            Self::NoCapableProvider => "no_capable_provider",
            Self::ProviderUnauthorized => "provider_unauthorized",
            Self::ProviderModelNotFound => "provider_model_not_found",
            Self::Draining => "draining",
            Self::AllCircuitsOpen => "all_circuits_open",
            Self::Suspended => "suspended",
            Self::SessionNotFound => "session_not_found",
            Self::MemoryUnavailable => "memory_unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Cancelled => "cancelled",
        }
    }

    /// Who has to act.
    #[must_use]
    pub fn domain(self) -> Domain {
        match self {
            Self::InvalidJson
            | Self::InvalidMessage
            | Self::UnsupportedContent
            | Self::ProviderRejected
            | Self::AgentNotFound
            | Self::SessionNotFound
            | Self::ToolNotFound
            | Self::RunNotFound
            | Self::AlreadyDecided
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Busy
            | Self::Cancelled
            | Self::BodyTooLarge
            | Self::RequestTimeout
            | Self::ContextTooLong
            | Self::IdempotencyInProgress
            | Self::IdempotencyMismatch
            | Self::UnsupportedMediaType
            | Self::ValidationFailed => Domain::Caller,
            Self::Unauthenticated
            | Self::Forbidden
            | Self::ToolForbidden
            | Self::RateLimited
            | Self::Overloaded
            | Self::SessionBusy
            | Self::BudgetExceeded
            | Self::NoCapableProvider
            | Self::Suspended => Domain::Policy,
            Self::AllProvidersFailed
            | Self::AllCoolingDown
            | Self::AllCircuitsOpen
            | Self::ProviderUnauthorized
            | Self::ProviderModelNotFound => Domain::Provider,
            Self::Internal | Self::Draining | Self::MemoryUnavailable | Self::DeadlineExceeded => Domain::Own,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retryable(self) -> bool {
        match self {
            Self::Busy
            | Self::IdempotencyInProgress
            | Self::RateLimited
            | Self::Overloaded
            | Self::SessionBusy
            | Self::BudgetExceeded
            | Self::AllCoolingDown
            | Self::AllCircuitsOpen
            | Self::AllProvidersFailed
            | Self::Draining
            | Self::Suspended
            | Self::MemoryUnavailable
            | Self::RequestTimeout
            | Self::DeadlineExceeded => true,
            Self::InvalidJson
            | Self::InvalidMessage
            | Self::UnsupportedContent
            | Self::ProviderRejected
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::AgentNotFound
            | Self::SessionNotFound
            | Self::ToolNotFound
            | Self::ToolForbidden
            | Self::RunNotFound
            | Self::AlreadyDecided
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::BodyTooLarge
            | Self::ContextTooLong
            | Self::IdempotencyMismatch
            | Self::NoCapableProvider
            | Self::UnsupportedMediaType
            | Self::ValidationFailed
            | Self::Internal
            | Self::Cancelled
            | Self::ProviderUnauthorized
            | Self::ProviderModelNotFound => false,
        }
    }
}

impl RunError {
    /// An error of `code` with a sentence for the caller.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            run_id: None,
            retry_after: None,
            attempts: Vec::new(),
            usage: None,
            problems: Vec::new(),
        }
    }

    /// The same error, of this run.
    #[must_use]
    pub fn in_run(mut self, run_id: &str) -> Self {
        self.run_id = Some(run_id.to_owned());
        self
    }

    /// The same error, with the time after which to try again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The body as callers get it: `{"code", "message", "domain", "retryable", "runId"?, "details"?}`.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let Self { attempts, usage, problems, .. } = self;
        let anything = !attempts.is_empty() || usage.is_some() || !problems.is_empty();
        let details = || ErrorDetails {
            attempts: attempts.clone(),
            usage: usage.as_deref().cloned(),
            problems: problems.clone(),
        };
        ErrorBody {
            code: self.code.as_str(),
            message: self.message.clone(),
            domain: self.code.domain(),
            retryable: self.code.retryable(),
            run_id: self.run_id.clone(),
            details: anything.then(details),
        }
    }
}

/// The `error` object of every failed answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// The stable code.
    pub code: &'static str,
    /// What went wrong and what to do.
    pub message: String,
    /// Who has to act.
    pub domain: Domain,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The run, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// More on the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<ErrorDetails>,
}

/// More on the cause of an error.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDetails {
    /// Every provider that was tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// What the run has used all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What is wrong with the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<FieldProblem>,
}
