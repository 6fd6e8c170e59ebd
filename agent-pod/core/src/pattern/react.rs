//! `react`: the model thinks, asks for tools, sees their results, until it asks for none.

use futures::future::join_all;
use tokio::time::Instant;

use super::PatternEnd;
use crate::agent::{Agent, Events, Ledger};
use crate::error::RunError;
use crate::event::{Finish, Step, TurnEvent};
use crate::message::{Message, Role, ToolCall};
use crate::model::router::Reply;

/// Between the text of two replies of one run, so that joined tokens read as paragraphs.
const PARAGRAPH: &str = "\n\n";

/// Said to a model that has used up its calls.
const LAST_CALL: &str = "You cannot use tools any more. Give the best answer you have now.";

pub(super) async fn run(
    agent: &Agent,
    mut conversation: Vec<Message>,
    iterations_max: u32,
    (ledger, events): (&mut Ledger, &Events),
) -> Result<PatternEnd, RunError> {
    let question = conversation.len();
    let tools = agent.tools.specs();
    let mut answer = String::new();
    for _ in 0..iterations_max {
        let reply = agent.router.complete(&conversation, &tools, ledger, events).await?;
        let done = reply.tool_calls.is_empty();
        let calls = take_in(reply, &mut conversation, &mut answer);
        if done {
            let transcript = conversation.split_off(question);
            return Ok(PatternEnd { answer, finish: Finish::Stop, transcript });
        }
        if !answer.is_empty() && !answer.ends_with(PARAGRAPH) {
            answer.push_str(PARAGRAPH);
            events.send(TurnEvent::Token(PARAGRAPH.to_owned())).await;
        }
        conversation.extend(act(agent, calls, ledger, events).await);
    }
    conversation.push(Message::new(Role::User, LAST_CALL));
    let reply = agent.router.complete(&conversation, &[], ledger, events).await?;
    conversation.pop();
    take_in(Reply { tool_calls: Vec::new(), ..reply }, &mut conversation, &mut answer);
    Ok(PatternEnd { answer, finish: Finish::StepLimit, transcript: conversation.split_off(question) })
}

/// Puts a reply into the conversation and gives the calls that it asks for.
fn take_in(reply: Reply, conversation: &mut Vec<Message>, answer: &mut String) -> Vec<ToolCall> {
    answer.push_str(&reply.content);
    let calls = reply.tool_calls.clone();
    let mut message = Message::new(Role::Assistant, reply.content);
    message.tool_calls = reply.tool_calls;
    conversation.push(message);
    calls
}

/// Carries out the calls of one reply at the same time; results keep the order of the calls.
async fn act(agent: &Agent, calls: Vec<ToolCall>, ledger: &mut Ledger, events: &Events) -> Vec<Message> {
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
        ledger.steps.push(Step {
            index: u32::try_from(ledger.steps.len() + 1).unwrap_or(u32::MAX),
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
