//! The loop that every pattern is made of: a model thinks, asks for tools, sees their results, until it asks for none.

use std::borrow::Cow;

use super::PatternEnd;
use crate::agent::{Asking, Turn};
use crate::error::{ErrorCode, FieldProblem, RunError};
use crate::event::Finish;
use crate::message::{Message, Role, ToolCall};
use crate::model::FinishReason;
use crate::model::router::Reply;
use crate::output::OutputSchema;
use crate::tool::ToolSpec;

/// Between the text of two replies of one run, so that joined tokens read as paragraphs.
pub(super) const PARAGRAPH: &str = "\n\n";

/// Said to a model that has used up its calls.
const LAST_CALL: &str = "You cannot use tools any more. Give the best answer you have now.";

/// One job for the loop.
pub(super) struct Job<'a> {
    /// Whose models do it.
    pub(super) role: &'a str,
    /// What was said so far; ends with what is asked.
    pub(super) conversation: Vec<Message>,
    /// The most model calls with tools.
    pub(super) iterations_max: u32,
    /// Whether its text is the run's answer, or may become it: then it has the form that answers have.
    pub(super) answers: bool,
}

/// Tells a model in words what form the answer has.
pub(super) fn say_form(turn: &Turn<'_>, conversation: &mut [Message]) {
    if let (Some(schema), Some(system)) = (&turn.agent.output, conversation.first_mut()) {
        system.content.push_str(PARAGRAPH);
        system.content.push_str(&schema.instruction());
    }
}

/// Does a job, with the agent's tools and those of the caller.
pub(super) async fn run(turn: &Turn<'_>, job: Job<'_>) -> Result<PatternEnd, RunError> {
    let Job { role, mut conversation, iterations_max, answers } = job;
    if answers {
        say_form(turn, &mut conversation);
    }
    let question = conversation.len();
    let tools = tools(turn)?;
    // Servers refuse to hold a model to a schema and to let it ask for tools at once.
    let format = turn.agent.output.as_ref().filter(|_| answers && tools.is_empty()).map(OutputSchema::format);
    let mut answer = String::new();
    for iteration in 0..iterations_max {
        let first = iteration == 0;
        let offered = turn.ledger.offered(turn.agent, &tools);
        let reply =
            turn.ask(&Asking { role, messages: &conversation, tools: &offered, first, format, answers }).await?;
        let truncated = reply.finish == FinishReason::Length;
        let mut calls = take_in(reply, &mut conversation, &mut answer);
        let client_calls = client_calls(turn, &mut calls);
        if calls.is_empty() || !client_calls.is_empty() {
            let transcript = conversation.split_off(question);
            return Ok(PatternEnd { answer, finish: Finish::Stop, transcript, truncated, client_calls });
        }
        if !answer.is_empty() && !answer.ends_with(PARAGRAPH) {
            answer.push_str(PARAGRAPH);
            turn.events.token(PARAGRAPH.to_owned()).await;
        }
        conversation.extend(turn.act(calls).await);
        if turn.ledger.passed().is_some() {
            let transcript = conversation.split_off(question);
            return Ok(PatternEnd { answer, finish: Finish::Handoff, transcript, truncated, client_calls });
        }
    }
    conversation.push(Message::new(Role::User, LAST_CALL));
    let reply = turn.ask(&Asking { answers, ..Asking::plain(role, &conversation) }).await?;
    conversation.pop();
    let truncated = reply.finish == FinishReason::Length;
    take_in(Reply { tool_calls: Vec::new(), ..reply }, &mut conversation, &mut answer);
    let transcript = conversation.split_off(question);
    Ok(PatternEnd { answer, finish: Finish::StepLimit, transcript, truncated, client_calls: Vec::new() })
}

/// The agent's tools and those that the caller carries out.
fn tools<'a>(turn: &Turn<'a>) -> Result<Cow<'a, [ToolSpec]>, RunError> {
    let own = turn.agent.tools.specs();
    let Some(chat) = turn.request.chat.as_deref().filter(|chat| !chat.tools.is_empty()) else {
        return Ok(Cow::Borrowed(own));
    };
    if let Some(twin) = chat.tools.iter().find(|tool| own.iter().any(|own| own.name == tool.name)) {
        let problem = FieldProblem {
            path: "tools".to_owned(),
            message: format!("`{}` is the name of a tool of the agent; give yours another one", twin.name),
        };
        let error =
            RunError::new(ErrorCode::ValidationFailed, format!("the request is not valid: {}", problem.message));
        return Err(RunError { problems: vec![problem], ..error });
    }
    Ok(own.iter().chain(&chat.tools).cloned().collect::<Vec<_>>().into())
}

/// Takes the calls that the caller of the chat completions door carries out out of `calls`: those of its own tools, and
/// of the agent's client tools. The run ends with them: only the caller can carry them out, and the model asks anew for what else it wanted.
fn client_calls(turn: &Turn<'_>, calls: &mut Vec<ToolCall>) -> Vec<ToolCall> {
    let Some(chat) = turn.request.chat.as_deref() else { return Vec::new() };
    let is_callers = |call: &mut ToolCall| {
        turn.agent.tools.is_client(&call.name) || chat.tools.iter().any(|tool| tool.name == call.name)
    };
    calls.extract_if(.., is_callers).collect()
}

/// Puts a reply into the conversation and gives the calls that it asks for.
fn take_in(reply: Reply, conversation: &mut Vec<Message>, answer: &mut String) -> Vec<ToolCall> {
    answer.push_str(&reply.content);
    let calls = reply.tool_calls.clone();
    let mut message = Message::new(Role::Assistant, reply.content);
    message.reasoning = Some(reply.reasoning).filter(|thoughts| !thoughts.is_empty() && !calls.is_empty());
    message.tool_calls = reply.tool_calls;
    conversation.push(message);
    calls
}
