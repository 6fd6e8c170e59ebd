//! One turn, from the question to the answer.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::guard::{admit, refusal, warnings};
use super::recall::{Recall, Unwritten};
use super::{Agent, Booked, Events, Identity, Ledger, Turn};
use crate::byte_pool::RunBytes;
use crate::error::RunError;
use crate::event::{Finish, RunAnswer, Status, TurnEvent, TurnRequest};
use crate::message::{Message, Role};
use crate::model::failures::deadline_exceeded;
use crate::pattern::PatternEnd;
use crate::peer::Bill;
use crate::ports::RunRecord;
use crate::prompt::{CONTEXT, SYSTEM};
use crate::tool::Desk;

/// Runs a turn under its deadline, tells its end, and books it, also when it is dropped half way. Returns what of its
/// memory can wait until the end is told.
pub(super) async fn run(
    agent: &Agent,
    request: TurnRequest,
    (identity, (bill, tokens_max, bytes)): (Identity, (Option<Bill>, Option<u64>, RunBytes)),
    limit: Duration,
    (events, desk): (Events, &Desk),
) -> Unwritten {
    let mut booking = Booking {
        agent,
        identity,
        bill,
        started: Instant::now(),
        ledger: Ledger::bounded(tokens_max, bytes),
        outcome: "cancelled",
    };
    let Booking { identity, ledger, started, .. } = &booking;
    let (events, memory, deadline) = (&events, &Value::Null, *started + limit);
    let mut unwritten = Unwritten::default();
    let result = match timeout_at(deadline, admit(agent, request, ledger)).await {
        Ok(request) => {
            let turn = Turn { agent, request: &request, identity, deadline, ledger, events, desk, memory };
            let told = timeout_at(deadline, story(turn, &mut unwritten)).await;
            let result = told.unwrap_or_else(|_| Err(deadline_exceeded()));
            let result = match result {
                Err(error) => Err(turn.shown_failure(error).await),
                Ok(answer) => Ok(answer),
            };
            if let Err(error) = &result {
                unwritten = Unwritten::of_failed(&turn, error);
            }
            result
        }
        Err(_elapsed) => Err(deadline_exceeded()),
    };
    booking.outcome = result.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
    let end = match result {
        Ok(answer) => TurnEvent::Done(Box::new(answer)),
        Err(mut error) => {
            let booked = booking.ledger.booked().with_others();
            error.attempts = booked.attempts;
            error.usage = (!booked.usage.by_model.is_empty()).then(|| Box::new(booked.usage));
            TurnEvent::Error(Box::new(error.in_run(&booking.identity.run_id)))
        }
    };
    // Booked before its end is told: who has read the answer finds it counted.
    drop(booking);
    events.send(end).await;
    unwritten
}

/// The story of a turn.
async fn story(turn: Turn<'_>, unwritten: &mut Unwritten) -> Result<RunAnswer, RunError> {
    let Turn { agent, request, identity, .. } = turn;
    turn.events.send(begun(agent, identity)).await;
    if let Some(block) = turn.ledger.block() {
        return Ok(answer(&turn, refusal(&block), None));
    }
    let mut memory = Recall::begin(&turn).await;
    let remembered = memory.variables(&agent.prompts);
    let turn = Turn { memory: &remembered, ..turn };
    let question = question(request);
    let conversation = conversation(&turn, &mut memory, &question).await?;
    let end = agent.pattern.execute(&turn, conversation).await;
    turn.ledger.affordable()?;
    let mut end = turn.conclude(end).await?;
    let data = match agent
        .output
        .as_ref()
        .filter(|_| end.client_calls.is_empty() && end.finish != Finish::Blocked && !turn.hands_on(&end))
    {
        Some(schema) => match turn.data(&end.answer, schema).await {
            Ok(data) => Some(Ok(turn.screened_data(data).await)),
            Err(problem) => Some(Err(problem)),
        },
        None => None,
    };
    turn.ledger.affordable()?;
    if let Some(block) = turn.ledger.block() {
        end = refusal(&block);
    }
    *unwritten = memory.remember(&turn, question, &end).await;
    Ok(answer(&turn, end, data))
}

fn question(request: &TurnRequest) -> Message {
    Message { images: request.images.clone(), ..Message::new(Role::User, request.query.clone()) }
}

/// The system prompt, what was said before, and the question with what the agent puts before it. A caller of the chat
/// completions API brings all but the first.
async fn conversation(turn: &Turn<'_>, memory: &mut Recall<'_>, question: &Message) -> Result<Vec<Message>, RunError> {
    let mut system = turn.render(SYSTEM, &[]).await?;
    // One system message, because chat templates of many models take no second one.
    let mut add = |text: &str| {
        system.push_str("\n\n");
        system.push_str(text);
    };
    let chat = turn.request.chat.as_deref();
    chat.iter().flat_map(|chat| &chat.system).for_each(|text| add(text));
    memory.notes(&turn.agent.prompts).for_each(|note| add(&note));
    let handed_over = turn.request.handoff.as_deref();
    handed_over.iter().for_each(|handoff| add(&handoff.introduction()));
    let mut conversation = vec![Message::new(Role::System, system)];
    match chat {
        Some(chat) => conversation.extend(chat.messages.iter().cloned()),
        None => {
            conversation.extend(memory.history(&turn.agent.prompts));
            conversation.extend(handed_over.iter().flat_map(|handoff| handoff.transcript.iter().cloned()));
            let mut asked = question.clone();
            if let Some(handoff) = handed_over {
                asked.content = handoff.noted(&asked.content);
            }
            conversation.push(asked);
        }
    }
    if turn.agent.prompts.has(CONTEXT) {
        let context = turn.render(CONTEXT, &[]).await?;
        // In front of the newest question, in its own message: two of one role in a row are refused by many templates.
        if let Some(newest) = conversation.iter_mut().rfind(|message| message.role == Role::User) {
            newest.content = format!("{context}\n\n{}", newest.content);
        }
    }
    Ok(conversation)
}

fn begun(agent: &Agent, identity: &Identity) -> TurnEvent {
    TurnEvent::Status(Status {
        status: "processing",
        agent: agent.name.clone(),
        run_id: identity.run_id.clone(),
        session_id: identity.session_id.clone(),
    })
}

fn answer(turn: &Turn<'_>, end: PatternEnd, data: Option<Result<Value, String>>) -> RunAnswer {
    let Booked {
        usage,
        attempts,
        steps,
        degraded,
        guardrail_hits,
        block,
        others: _,
        baton: _,
        holder: _,
        tokens_max: _,
        refusal: _,
    } = turn.ledger.booked().with_others();
    let (data, data_error) = match data.filter(|_| block.is_none()) {
        Some(Ok(data)) => (Some(data), None),
        Some(Err(problem)) => (Some(Value::Null), Some(problem)),
        None => (None, None),
    };
    RunAnswer {
        handoff: if turn.hands_on(&end) { turn.ledger.passed() } else { None },
        run_id: turn.identity.run_id.clone(),
        agent: turn.agent.name.clone(),
        session_id: turn.identity.session_id.clone(),
        session_id_original: turn.identity.session_id.clone(),
        answer: end.answer,
        finish: end.finish,
        blocked: block.is_some(),
        guardrail: block.map(|block| block.hit),
        warnings: warnings(&guardrail_hits),
        steps,
        usage,
        attempts,
        data,
        data_error,
        degraded,
        trace_id: turn.identity.trace_id.clone(),
        truncated: end.truncated,
        client_calls: end.client_calls,
    }
}

/// Tells the observer when it is dropped: at the end of the run, or when its caller has gone.
struct Booking<'a> {
    agent: &'a Agent,
    identity: Identity,
    bill: Option<Bill>,
    started: Instant,
    ledger: Ledger,
    outcome: &'static str,
}

impl Drop for Booking<'_> {
    fn drop(&mut self) {
        let booked = self.ledger.close();
        self.agent.observer.finished(&RunRecord {
            agent: &self.agent.name,
            run_id: &self.identity.run_id,
            trace_id: &self.identity.trace_id,
            outcome: self.outcome,
            usage: &booked.usage,
            attempts: &booked.attempts,
            guardrail_hits: &booked.guardrail_hits,
            duration: self.started.elapsed(),
        });
        if let Some(bill) = self.bill.take() {
            bill.put(booked);
        }
    }
}
