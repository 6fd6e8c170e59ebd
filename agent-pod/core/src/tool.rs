//! Tools: what the model may ask for, behind one port.
//!
//! ```text
//!  ToolCall ─► known? permitted? arguments valid? within its rate? ─► approved? ─► Tool, within its time ─► cut ─► result
//! ```
//!
//! Whatever goes wrong on the way is a result that the model can react to; nothing of it ends a run.

mod agent;
mod arguments;
mod budget;
mod desk;
pub mod internal;
mod permissions;
mod rate;
mod set;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::agent::Turn;
use crate::peer::Target;

pub use agent::AgentTool;
pub use agent_pod_schema::SchemaError;
pub use arguments::Arguments;
pub use budget::cut;
pub use desk::{Decision, Desk, DeskError, Ruling};
pub use permissions::Permissions;
pub use rate::RateLimit;
pub use set::{Limits, Outcome, Refusal, Registered, ToolSet, ToolSettings, ToolState, any_object};

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Value,
}

/// Who carries a tool out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolKind {
    /// The runtime itself.
    Internal,
    /// A web service.
    Webhook,
    /// Another agent.
    Agent,
    /// The caller of the run.
    Client,
}

impl ToolKind {
    /// The kind's name in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Webhook => "webhook",
            Self::Agent => "agent",
            Self::Client => "client",
        }
    }
}

/// Why a call gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct ToolError {
    /// What the model is told.
    pub sentence: String,
    /// Whether the tool itself is at fault, rather than what was asked of it: too often in a row, and it is left alone.
    pub broken: bool,
}

impl ToolError {
    /// The tool is down, or does not do what it should.
    #[must_use]
    pub fn broken(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), broken: true }
    }

    /// The tool works, and does not do this.
    #[must_use]
    pub fn refused(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), broken: false }
    }
}

/// Something that an agent can do.
#[async_trait]
pub trait Tool: Send + Sync {
    /// As the model sees it, where the manifest says nothing else.
    fn spec(&self) -> ToolSpec;
    /// Carries out a call with valid arguments, before the turn's deadline.
    ///
    /// # Errors
    /// A sentence for the model.
    async fn call(&self, arguments: &Value, turn: &Turn<'_>) -> Result<String, ToolError>;
    /// The agent that it calls, if it is one.
    fn target(&self) -> Option<&Target> {
        None
    }
}

/// When a person has to agree to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApprovalSettings {
    /// How long a call waits to be approved; then it is denied.
    pub timeout: Duration,
}
