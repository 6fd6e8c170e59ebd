//! A turn has another agent answer, within what is left of it, and accounts for what that one does.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use futures::future::{BoxFuture, Either, select};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::Value;
use tokio::time::Instant;

use super::act::{APPROVAL, verdict};
use super::{Booked, Turn};
use crate::access::Caller;
use crate::byte_pool::weight::{COPIES, of_step};
use crate::error::{ErrorCode, RunError};
use crate::event::{RunAnswer, Step, TurnEvent, TurnRequest};
use crate::peer::{Bill, DEPTH_MAX, Target};
use crate::service::RunOptions;
use crate::tool::{Decision, Ruling};

/// What becomes of the other agent's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// They are material for this agent.
    Inner,
    /// They are the answer of this run.
    Answer,
}

impl Turn<'_> {
    /// Whether its time is up, with that of all that it calls.
    pub(crate) fn out_of_time(&self) -> bool {
        Instant::now() + LAST_MOMENT >= self.deadline
    }

    /// Has another agent answer. What it does is told as it happens, what it uses counts as this run's, and dropping the
    /// wait stops it.
    ///
    /// # Errors
    /// As its run; and when too many agents have called each other to get here.
    pub(crate) async fn consult(
        &self,
        target: &Target,
        request: TurnRequest,
        voice: Voice,
    ) -> Result<RunAnswer, RunError> {
        if self.identity.depth >= DEPTH_MAX {
            let message = format!(
                "agents may call each other {DEPTH_MAX} deep at most, and this is as deep; do without `{}`",
                target.name
            );
            return Err(RunError::new(ErrorCode::ValidationFailed, message));
        }
        self.may_ask()?;
        let _member = self.identity.family.join(&target.name)?;
        let mut account = Account {
            turn: self,
            target,
            bill: Bill::default(),
            told: Vec::new(),
            open: HashMap::new(),
            asked: HashMap::new(),
        };
        let options = self.options_of_other(voice, account.bill.clone());
        // After the account, so that it is dropped before: then the bill is there.
        let mut run = target.port.start(request, options).await?;
        let mut rulings: Rulings<'_> = FuturesUnordered::new();
        loop {
            let event = match select(run.events.next(), pin!(next_of(&mut rulings))).await {
                Either::Left((Some(event), _)) => event,
                Either::Left((None, _)) => break,
                Either::Right((((id, call_id), ruling), _)) => {
                    account.asked.insert(call_id, Some(ruling.clone()));
                    target.port.decide((&run.run_id, &run.desk), &id, ruling).await;
                    continue;
                }
            };
            match event {
                TurnEvent::Token(text) if voice == Voice::Answer => {
                    self.events.token(text).await;
                    self.unless_silenced()?;
                }
                TurnEvent::Done(answer) => {
                    account.settle_answer(&answer).await;
                    return Ok(*answer);
                }
                TurnEvent::Error(error) => {
                    account.settle_failure(&error).await;
                    return Err(*error);
                }
                TurnEvent::Status(_) | TurnEvent::Token(_) => {}
                TurnEvent::ApprovalRequired { id, call_id, name, arguments, expires_at } => {
                    // Whoever decides on this run decides on what is done for it; ids of two agents may be the same.
                    let own = format!("{}.{id}", target.name);
                    account.asked.insert(call_id.clone(), None);
                    let mut waited = self.desk.approval(&own);
                    let asked = (id, call_id.clone());
                    rulings.push(async move { (asked, waited.answer().await) }.boxed());
                    let (name, arguments) = (self.shown(&name).await, self.shown_json(&arguments).await);
                    let required = TurnEvent::ApprovalRequired { id: own, call_id, name, arguments, expires_at };
                    self.events.send(required).await;
                }
                TurnEvent::ToolCall { id, name: _, arguments } => account.begun(id, arguments),
                TurnEvent::ToolResult { id, name, ok, result } => account.tool(&id, name, ok, result).await,
                TurnEvent::Step(step) => account.tell(*step).await,
            }
        }
        Err(RunError::new(ErrorCode::Internal, "the run ended without an answer"))
    }

    /// What another agent's run gets of this one: its trace, and what is left of it.
    fn options_of_other(&self, voice: Voice, bill: Bill) -> RunOptions {
        RunOptions {
            trace_id: Some(self.identity.trace_id.clone()),
            timeout: Some(self.deadline.saturating_duration_since(Instant::now())),
            caller: Some(Caller::agent(&self.agent.namespace, &self.agent.name)),
            streaming: self.events.streaming,
            quiet: voice == Voice::Inner,
            depth: self.identity.depth + 1,
            family: self.identity.family.clone(),
            bytes: self.identity.family.bytes(),
            tokens_max: self.tokens_left(),
            bill: Some(bill),
            ..RunOptions::default()
        }
    }
}

/// Approvals that another agent waits for, by its own ids of them and of their calls.
type Rulings<'a> = FuturesUnordered<BoxFuture<'a, ((String, String), Option<Ruling>)>>;

/// The next ruling; for ever, where nothing is waited for.
async fn next_of(rulings: &mut Rulings<'_>) -> ((String, String), Ruling) {
    loop {
        match rulings.next().await {
            Some((ids, Some(ruling))) => return (ids, ruling),
            Some((_, None)) => {}
            None => std::future::pending().await,
        }
    }
}

/// What is left of a run when another agent's failure is taken to be the end of its time: over the network that one's time
/// is up a little earlier.
const LAST_MOMENT: Duration = Duration::from_millis(50);

/// What another agent does and uses for a turn. Whatever becomes of it, it is booked.
struct Account<'a> {
    turn: &'a Turn<'a>,
    target: &'a Target,
    bill: Bill,
    /// The steps that have been told, as the other agent has told them, with the index that they have here.
    told: Vec<(u32, Step)>,
    /// Arguments and beginning of its tool calls under way, by their ids.
    open: HashMap<String, (Value, Instant)>,
    /// What was decided on those of them that wait for a person, by the ids of the calls.
    asked: HashMap<String, Option<Ruling>>,
}

impl Account<'_> {
    fn begun(&mut self, id: String, arguments: Value) {
        self.open.insert(id, (arguments, Instant::now()));
    }

    async fn tool(&mut self, id: &str, name: String, ok: bool, result: String) {
        let (arguments, begun) = self.open.remove(id).unwrap_or_else(|| (Value::Null, Instant::now()));
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(ruling) = self.asked.remove(id) {
            self.approval(&name, arguments.clone(), ruling.as_ref()).await;
        }
        self.tell(Step { step_type: "tool", name, arguments, result, ok, duration_ms, ..Step::default() }).await;
    }

    /// Keeps the place of an approval before its call, as in a run of the other agent's own: what it says of it comes last.
    async fn approval(&mut self, name: &str, arguments: Value, ruling: Option<&Ruling>) {
        let step = Step {
            step_type: APPROVAL,
            name: name.to_owned(),
            arguments,
            result: verdict(ruling),
            ok: ruling.is_some_and(|ruling| ruling.decision == Decision::Approve),
            ..Step::default()
        };
        let seen = self.seen(step.clone()).await;
        let index = self.turn.ledger.step(seen);
        self.told.push((index, step));
    }

    async fn tell(&mut self, step: Step) {
        // A call of an agent and a handoff are told twice: as the call of a tool by its name, and as a step.
        let twin = |(_, told): &&(u32, Step)| {
            told.step_type == "tool" && told.agent == step.agent && told.ok == step.ok && told.result == step.result
        };
        if matches!(step.step_type, "delegate" | "handoff")
            && let Some(index) = self.told.iter().find(twin).map(|(index, _)| *index)
        {
            let seen = self.seen(step.clone()).await;
            self.turn.ledger.amend(index, seen);
            self.told.iter_mut().filter(|(told, _)| *told == index).for_each(|(_, told)| *told = step.clone());
            return;
        }
        let mut seen = self.seen(step.clone()).await;
        // Its own run holds what it has done no longer than it lasts; here it is kept to the end.
        if let Err(error) = self.turn.ledger.draw(COPIES * of_step(&seen)).await {
            return self.turn.ledger.refuse(error);
        }
        seen.index = self.turn.ledger.step(seen.clone());
        self.told.push((seen.index, step));
        self.turn.events.send(TurnEvent::Step(Box::new(seen))).await;
    }

    /// The step as callers of this run see it.
    async fn seen(&self, step: Step) -> Step {
        Step {
            name: self.turn.shown(&step.name).await,
            agent: step.agent.or_else(|| Some(self.target.name.clone())),
            arguments: self.turn.shown_json(&step.arguments).await,
            result: self.turn.shown(&step.result).await,
            ..step
        }
    }

    /// The same where nobody can wait for it.
    fn seen_at_once(&self, step: Step) -> Step {
        let arguments = step.arguments.to_string();
        let shown = self.turn.shown_at_once(&arguments);
        Step {
            name: self.turn.shown_at_once(&step.name),
            agent: step.agent.or_else(|| Some(self.target.name.clone())),
            arguments: if shown == arguments { step.arguments } else { Value::String(shown) },
            result: self.turn.shown_at_once(&step.result),
            ..step
        }
    }

    async fn settle_answer(&mut self, answer: &RunAnswer) {
        drop(self.bill.take());
        for what in &answer.degraded {
            self.turn.ledger.degrade(&format!("{}/{what}", self.target.name));
        }
        // What it has used is booked before anything is waited for.
        self.turn.ledger.used_by_other(&answer.usage, answer.attempts.clone());
        self.settle_steps(answer.steps.clone()).await;
    }

    async fn settle_failure(&mut self, error: &RunError) {
        // Within a process the bill says more.
        let Some(booked) = self.bill.take().map(Booked::with_others) else {
            let usage = error.usage.as_deref().cloned().unwrap_or_default();
            self.turn.ledger.used_by_other(&usage, error.attempts.clone());
            return;
        };
        self.turn.ledger.used_by_other(&booked.usage, booked.attempts);
        self.settle_steps(booked.steps).await;
    }

    /// Steps that were told get their full form, the others follow them.
    async fn settle_steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            let seen = self.seen(step.clone()).await;
            self.settle_step(&step, seen);
        }
    }

    fn settle_step(&mut self, step: &Step, seen: Step) {
        let place = self.told.iter().position(|(_, told)| same_call(told, step) && told.agent == step.agent);
        match place.map(|place| self.told.remove(place)) {
            Some((index, _)) => self.turn.ledger.amend(index, seen),
            None => drop(self.turn.ledger.step(seen)),
        }
    }
}

/// Whether two accounts are of one step.
fn same_call(a: &Step, b: &Step) -> bool {
    let approvals = [a, b].map(|step| step.step_type == APPROVAL);
    match approvals {
        // Who has decided may stand in the result of one of them.
        [true, true] => a.name == b.name && a.arguments == b.arguments && a.ok == b.ok,
        [false, false] => a.name == b.name && a.result == b.result && a.ok == b.ok,
        [true, false] | [false, true] => false,
    }
}

/// A run that was given up half way has used something too.
impl Drop for Account<'_> {
    fn drop(&mut self) {
        let Some(booked) = self.bill.take().map(Booked::with_others) else { return };
        self.turn.ledger.used_by_other(&booked.usage, booked.attempts);
        for step in booked.steps {
            let seen = self.seen_at_once(step.clone());
            self.settle_step(&step, seen);
        }
    }
}
