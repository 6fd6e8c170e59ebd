//! `react`: the model thinks, asks for tools, sees their results, until it asks for none. `supervisor` is the same, with
//! agents as its tools.

use super::PatternEnd;
use super::tool_loop::{self, Job};
use crate::agent::Turn;
use crate::error::RunError;
use crate::message::Message;

/// Its models are those of the role, if there are any.
pub(super) async fn run(
    turn: &Turn<'_>,
    role: &str,
    conversation: Vec<Message>,
    iterations_max: u32,
) -> Result<PatternEnd, RunError> {
    tool_loop::run(turn, Job { role, conversation, iterations_max, answers: true }).await
}
