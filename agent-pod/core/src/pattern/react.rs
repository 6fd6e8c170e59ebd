//! `react`: the model thinks, asks for tools, sees their results, until it asks for none.

use super::PatternEnd;
use super::tool_loop::{self, Job};
use crate::agent::Turn;
use crate::error::RunError;
use crate::message::Message;

/// Its models are those of this role, if there are any.
const ROLE: &str = "reasoner";

pub(super) async fn run(
    turn: &Turn<'_>,
    conversation: Vec<Message>,
    iterations_max: u32,
) -> Result<PatternEnd, RunError> {
    tool_loop::run(turn, Job { role: ROLE, conversation, iterations_max }).await
}
