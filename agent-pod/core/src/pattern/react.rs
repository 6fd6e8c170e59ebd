//! `react`: the model thinks, asks for tools, sees their results, until it asks for none.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures::future::join_all;
use tokio::time::Instant;

use super::PatternEnd;
use crate::agent::Turn;
use crate::error::{ErrorCode, FieldProblem, RunError};
use crate::event::{Finish, Step, TurnEvent};
use crate::message::{Message, Role, ToolCall};
use crate::model::FinishReason;
use crate::model::router::{Ask, Reply};
use crate::tool::ToolSpec;

/// Its models are those of this role, if there are any.
const ROLE: &str = "reasoner";

/// Between the text of two replies of one run, so that joined tokens read as paragraphs.
const PARAGRAPH: &str = "\n\n";

/// Said to a model that has used up its calls.
const LAST_CALL: &str = "You cannot use tools any more. Give the best answer you have now.";

pub(super) async fn run(
    turn: &mut Turn<'_>,
    mut conversation: Vec<Message>,
    iterations_max: u32,
) -> Result<PatternEnd, RunError> {
    let question = conversation.len();
    let tools = tools(turn)?;
    let mut answer = String::new();
    for iteration in 0..iterations_max {
        let reply = ask(turn, &conversation, &tools, iteration == 0).await?;
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
        conversation.extend(act(turn, calls).await);
    }
    conversation.push(Message::new(Role::User, LAST_CALL));
    let reply = ask(turn, &conversation, &[], false).await?;
    conversation.pop();
    let truncated = reply.finish == FinishReason::Length;
    take_in(Reply { tool_calls: Vec::new(), ..reply }, &mut conversation, &mut answer);
    let transcript = conversation.split_off(question);
    Ok(PatternEnd { answer, finish: Finish::StepLimit, transcript, truncated, client_calls: Vec::new() })
}

/// One call of the model. The caller's choice of tools holds for the first one: a model that must call a tool every time
/// would never answer.
async fn ask(turn: &mut Turn<'_>, messages: &[Message], tools: &[ToolSpec], first: bool) -> Result<Reply, RunError> {
    let chat = turn.request.chat.as_deref();
    let ask = Ask {
        messages,
        tools,
        tool_choice: chat.filter(|_| first).and_then(|chat| chat.tool_choice.as_ref()),
        response_format: chat.and_then(|chat| chat.response_format.as_ref()),
        parameters: chat.map(|chat| &chat.parameters),
        deadline: turn.deadline,
        seed: seed(&turn.identity.run_id),
    };
    turn.agent.models.of(ROLE).complete(&ask, turn.ledger, turn.events).await
}

fn seed(run_id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    run_id.hash(&mut hasher);
    hasher.finish()
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

/// Takes the calls of the caller's own tools out of `calls`. The run ends with them: only the caller can carry them out,
/// and the model asks anew for what else it wanted.
fn client_calls(turn: &Turn<'_>, calls: &mut Vec<ToolCall>) -> Vec<ToolCall> {
    let Some(chat) = turn.request.chat.as_deref() else { return Vec::new() };
    calls.extract_if(.., |call| chat.tools.iter().any(|tool| tool.name == call.name)).collect()
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

/// Carries out the calls of one reply at the same time; results keep the order of the calls.
async fn act(turn: &mut Turn<'_>, calls: Vec<ToolCall>) -> Vec<Message> {
    let (agent, events) = (turn.agent, turn.events);
    let running = calls.into_iter().map(|call| async move {
        let announced =
            TurnEvent::ToolCall { id: call.id.clone(), name: call.name.clone(), arguments: call.arguments.clone() };
        events.send(announced).await;
        let started = Instant::now();
        let outcome = agent.tools.call(&call.name, &call.arguments).await;
        let ok = outcome.is_ok();
        let result = outcome.unwrap_or_else(|sentence| sentence);
        let told = TurnEvent::ToolResult { id: call.id.clone(), name: call.name.clone(), ok, result: result.clone() };
        events.send(told).await;
        (call, ok, result, started.elapsed())
    });
    let mut messages = Vec::new();
    for (call, ok, result, duration) in join_all(running).await {
        messages.push(Message::tool_result(call.id, result.clone()));
        turn.ledger.steps.push(Step {
            index: u32::try_from(turn.ledger.steps.len() + 1).unwrap_or(u32::MAX),
            step_type: "tool",
            name: call.name,
            arguments: call.arguments,
            result,
            ok,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        });
    }
    messages
}
