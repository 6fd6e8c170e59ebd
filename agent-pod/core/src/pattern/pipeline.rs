//! `pipeline`: stages, each with its own instructions and models, each fed by the one before.

use tokio::time::Instant;

use super::tool_loop::{self, Job};
use super::{PatternEnd, Stage};
use crate::agent::Turn;
use crate::error::RunError;
use crate::message::{Message, Role};

/// The first stage works on the conversation, every further one on what the one before it has said.
pub(super) async fn run(
    turn: &Turn<'_>,
    conversation: Vec<Message>,
    iterations_max: u32,
    stages: &[Stage],
) -> Result<PatternEnd, RunError> {
    let events = turn.events.quiet();
    let quiet = Turn { events: &events, ..*turn };
    let system = conversation.first().map(|message| message.content.clone()).unwrap_or_default();
    let mut conversation = conversation;
    let mut input = String::new();
    for (index, stage) in stages.iter().enumerate() {
        let started = Instant::now();
        let instructions = turn.render(&stage.prompt, &[("input", &input)]).await?;
        if index > 0 {
            conversation = vec![Message::new(Role::System, ""), Message::new(Role::User, input)];
        }
        if let Some(first) = conversation.first_mut() {
            first.content = format!("{system}\n\n{instructions}");
        }
        let last = index + 1 == stages.len();
        let role = format!("stage:{}", stage.name);
        let job = Job { role: &role, conversation: std::mem::take(&mut conversation), iterations_max, answers: last };
        let end = tool_loop::run(if last { turn } else { &quiet }, job).await?;
        if !end.client_calls.is_empty() {
            return Ok(end);
        }
        turn.took_step("stage", &stage.name, Ok(&end.answer), started).await;
        if last {
            return Ok(end);
        }
        input = end.answer;
    }
    // A pipeline has at least one stage: the last one has returned.
    Err(RunError::new(crate::error::ErrorCode::Internal, "the agent's pipeline has no stage"))
}
