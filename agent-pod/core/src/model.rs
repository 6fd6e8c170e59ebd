//! The port to language models, and the router over several of them.

pub mod router;
pub mod strategy;

pub mod breaker;
pub mod rate;
pub mod retry;

pub mod estimate;

mod attempt;
mod call;
mod candidate;
pub(crate) mod failures;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::{Map, Value};

use crate::message::{Message, ToolCall};
use crate::tool::ToolSpec;
use crate::usage::Tokens;

/// One call of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelRequest<'a> {
    /// The model's name at its server.
    pub model: &'a str,
    /// The conversation.
    pub messages: &'a [Message],
    /// The tools that it may ask for; none: the wire names none.
    pub tools: &'a [ToolSpec],
    /// Which of them it must, may or must not ask for; absent: it may. Without tools it has no meaning.
    pub tool_choice: Option<&'a ToolChoice>,
    /// What form the reply shall have; absent: text.
    pub response_format: Option<&'a ResponseFormat>,
    /// Sampling parameters.
    pub parameters: &'a Parameters,
}

/// Which tools a model must, may or must not ask for, as in the chat completions API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// It may ask for any.
    Auto,
    /// It must ask for none.
    None,
    /// It must ask for at least one.
    Required,
    /// It must ask for this one.
    Named(String),
}

/// What form a reply shall have.
#[derive(Clone, Debug, PartialEq)]
pub enum ResponseFormat {
    /// Any JSON object.
    JsonObject,
    /// JSON of this schema.
    JsonSchema {
        /// A name for the schema.
        name: String,
        /// The schema (JSON Schema 2020-12).
        schema: Value,
        /// Whether the server shall enforce the schema word for word; absent: its default.
        strict: Option<bool>,
    },
}

/// Sampling parameters; absent ones are the server's defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// Randomness.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// The most tokens of a reply.
    pub max_tokens: Option<u32>,
    /// Texts that end a reply.
    pub stop: Vec<String>,
    /// Seed of the sampling.
    pub seed: Option<i64>,
    /// The vendor's own, merged into the request as written; they win over the ones above.
    pub extra: Map<String, Value>,
}

/// One event of a reply.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelEvent {
    /// A piece of text, never empty.
    Content(String),
    /// A piece of what the model thinks before it answers, never empty.
    Reasoning(String),
    /// A whole tool call.
    ToolCall(ToolCall),
    /// What the call used; the last one counts.
    Tokens(Tokens),
    /// Why the reply ended.
    Finish(FinishReason),
}

/// Why a reply ended. A reply of which nothing else is known ended by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinishReason {
    /// It was whole, or it asks for tools.
    #[default]
    Stop,
    /// The token limit cut it off.
    Length,
    /// The server's content filter cut it off.
    ContentFilter,
}

/// The events of a reply. Dropping it closes the connection.
pub type ModelStream = BoxStream<'static, Result<ModelEvent, ModelError>>;

/// A server that completes conversations.
#[async_trait]
pub trait Model: Send + Sync {
    /// Sends the request; the stream gives the reply as the server makes it.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses, before any of the reply.
    async fn call(&self, request: &ModelRequest<'_>) -> Result<ModelStream, ModelError>;

    /// The names of the models that the server offers, sorted. Costs no tokens.
    ///
    /// # Errors
    /// When the server cannot be reached, refuses, or has no such list ([`ModelErrorKind::NotFound`]).
    async fn models(&self) -> Result<Vec<String>, ModelError>;

    /// Changes whenever the credential does, so that a refusal of an earlier one is forgotten.
    fn credential_version(&self) -> u64 {
        0
    }

    /// Whether the credential is refused that was accepted before, so that another one may be on its way.
    fn awaits_credential(&self) -> bool {
        false
    }

    /// Waits for that, within bounds of its own; whether another try makes sense, because the credential is not that of the
    /// version `refused` any more, or is accepted again.
    async fn credential_renewed(&self, refused: u64) -> bool {
        self.credential_version() != refused
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// Whose fault it is, which decides what happens next.
    pub kind: ModelErrorKind,
    /// A short phrase that a caller may see, for example `429` or `connection refused`.
    pub message: String,
    /// When the server wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The status of the answer, where the server gave one.
    pub status: Option<u16>,
}

/// Whose fault a failed call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelErrorKind {
    /// The request's (400, 413, 422): no other candidate is tried.
    Rejected,
    /// The credentials are refused (401, 403).
    Unauthorized,
    /// The server has no such model or path (404).
    NotFound,
    /// The server asks for patience (429).
    RateLimited,
    /// The server is down, overloaded or cannot be reached (408, 5xx, connection errors).
    Unavailable,
    /// A wait has exceeded its bound.
    Timeout,
    /// The reply is not what the protocol says: broken, cut off or empty.
    Malformed,
    /// The pod has no memory for the reply. It says nothing of the server.
    NoMemory,
}

impl ModelErrorKind {
    /// The stable code of the failure in attempts, states and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::NoMemory => "no_memory",
        }
    }
}

impl fmt::Display for ModelErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ModelError {
    /// An error of `kind` with a phrase that a caller may see.
    #[must_use]
    pub fn new(kind: ModelErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, status: None }
    }
}
