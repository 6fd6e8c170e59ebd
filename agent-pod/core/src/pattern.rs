//! Orchestration patterns: how a run gets from the question to the answer.

mod react;

use crate::agent::Turn;
use crate::error::RunError;
use crate::event::Finish;
use crate::message::{Message, ToolCall};

/// The patterns and their settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Think, act, observe, until the model has its answer.
    React {
        /// The most model calls with tools; one more without them asks for the best answer.
        iterations_max: u32,
    },
}

/// How a pattern ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternEnd {
    /// The answer: everything that was streamed as tokens, joined.
    pub answer: String,
    /// Why it ended.
    pub finish: Finish,
    /// What was said since the question: tool calls, their results, the answer.
    pub transcript: Vec<Message>,
    /// Whether a model's token limit cut the answer off.
    pub truncated: bool,
    /// The calls of the caller's own tools with which it ended.
    pub client_calls: Vec<ToolCall>,
}

impl Pattern {
    /// The pattern's name in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::React { .. } => "react",
        }
    }

    /// Runs the pattern on a conversation that ends with the question.
    ///
    /// # Errors
    /// As the router: no candidate gave a reply.
    pub async fn execute(self, turn: &Turn<'_>, conversation: Vec<Message>) -> Result<PatternEnd, RunError> {
        match self {
            Self::React { iterations_max } => react::run(turn, conversation, iterations_max).await,
        }
    }
}
