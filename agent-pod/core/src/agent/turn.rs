//! One turn, from the question to the answer.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::recall::Recall;
use super::{Agent, Booked, Events, Identity, Ledger, Turn};
use crate::error::{ErrorCode, RunError};
use crate::event::{RunAnswer, Status, TurnEvent, TurnRequest};
use crate::message::{Message, Role};
use crate::model::failures::deadline_exceeded;
use crate::pattern::PatternEnd;
use crate::ports::RunRecord;
use crate::tool::Desk;

/// Runs a turn under its deadline, tells its end, and books it, also when it is dropped half way.
pub(super) async fn run(
    agent: &Agent,
    request: TurnRequest,
    identity: Identity,
    limit: Duration,
    (events, desk): (Events, &Desk),
) {
    let mut booking =
        Booking { agent, identity, started: Instant::now(), ledger: Ledger::default(), outcome: "cancelled" };
    let Booking { identity, ledger, started, .. } = &booking;
    let turn = Turn { agent, request: &request, identity, deadline: *started + limit, ledger, events: &events, desk };
    let result = timeout_at(turn.deadline, story(turn)).await.unwrap_or_else(|_| Err(deadline_exceeded()));
    booking.outcome = result.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
    let end = match result {
        Ok(answer) => TurnEvent::Done(Box::new(answer)),
        Err(mut error) => {
            error.attempts = booking.ledger.booked().attempts;
            TurnEvent::Error(Box::new(error.in_run(&booking.identity.run_id)))
        }
    };
    // Booked before its end is told: who has read the answer finds it counted.
    drop(booking);
    events.send(end).await;
}

/// The story of a turn.
async fn story(turn: Turn<'_>) -> Result<RunAnswer, RunError> {
    let Turn { agent, request, identity, .. } = turn;
    turn.events.send(begun(agent, identity)).await;
    let mut memory = Recall::begin(&turn).await;
    let system = agent.system.render(&variables(agent, request, identity)).map_err(prompt_failed)?;
    let question = question(request);
    let conversation = conversation(request, system, &mut memory.history, &question);
    let end = agent.pattern.execute(&turn, conversation).await?;
    memory.remember(agent, question, &end, turn.ledger).await;
    Ok(answer(agent, identity, end, turn.ledger))
}

fn question(request: &TurnRequest) -> Message {
    Message { images: request.images.clone(), ..Message::new(Role::User, request.query.clone()) }
}

/// The system prompt, what was said before, and the question. A caller of the chat completions API brings all but the first.
fn conversation(
    request: &TurnRequest,
    mut system: String,
    history: &mut Vec<Message>,
    question: &Message,
) -> Vec<Message> {
    let Some(chat) = request.chat.as_deref() else {
        let mut conversation = vec![Message::new(Role::System, system)];
        conversation.append(history);
        conversation.push(question.clone());
        return conversation;
    };
    // One system message, because chat templates of many models take no second one.
    for text in &chat.system {
        system.push_str("\n\n");
        system.push_str(text);
    }
    std::iter::once(Message::new(Role::System, system)).chain(chat.messages.iter().cloned()).collect()
}

fn begun(agent: &Agent, identity: &Identity) -> TurnEvent {
    TurnEvent::Status(Status {
        status: "processing",
        agent: agent.name.clone(),
        run_id: identity.run_id.clone(),
        session_id: identity.session_id.clone(),
    })
}

/// What a prompt may name: the request's context at the top level, and our own names, which win.
fn variables(agent: &Agent, request: &TurnRequest, identity: &Identity) -> Map<String, Value> {
    let mut variables = request.context.clone();
    let own = json!({
        "query": request.query,
        "identity": {
            "name": agent.name,
            "displayName": agent.display_name.as_ref().unwrap_or(&agent.name),
            "description": agent.description,
        },
        "today": agent.environment.today(),
        "session": identity.session_id,
        "tools": agent.tools.specs().iter().map(|tool| &tool.name).collect::<Vec<_>>(),
    });
    if let Value::Object(own) = own {
        variables.extend(own);
    }
    variables
}

fn prompt_failed(error: crate::prompt::PromptError) -> RunError {
    tracing::error!(cause = %error, "prompt could not be rendered");
    RunError::new(
        ErrorCode::Internal,
        "the agent's prompt could not be rendered; its owner finds the cause in the pod's log",
    )
}

fn answer(agent: &Agent, identity: &Identity, end: PatternEnd, ledger: &Ledger) -> RunAnswer {
    let Booked { usage, attempts, steps, degraded } = ledger.booked();
    RunAnswer {
        run_id: identity.run_id.clone(),
        agent: agent.name.clone(),
        session_id: identity.session_id.clone(),
        session_id_original: identity.session_id.clone(),
        answer: end.answer,
        finish: end.finish,
        blocked: false,
        steps,
        usage,
        attempts,
        degraded,
        trace_id: identity.trace_id.clone(),
        truncated: end.truncated,
        client_calls: end.client_calls,
    }
}

/// Tells the observer when it is dropped: at the end of the run, or when its caller has gone.
struct Booking<'a> {
    agent: &'a Agent,
    identity: Identity,
    started: Instant,
    ledger: Ledger,
    outcome: &'static str,
}

impl Drop for Booking<'_> {
    fn drop(&mut self) {
        let booked = self.ledger.booked();
        self.agent.observer.finished(&RunRecord {
            agent: &self.agent.name,
            run_id: &self.identity.run_id,
            trace_id: &self.identity.trace_id,
            outcome: self.outcome,
            usage: &booked.usage,
            attempts: &booked.attempts,
            duration: self.started.elapsed(),
        });
    }
}
