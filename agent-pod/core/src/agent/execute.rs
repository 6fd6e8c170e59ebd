//! One call of a tool outside a run, for people who try tools out and for systems that use them directly.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::{Agent, Events, Identity, Ledger, Turn};
use crate::error::{ErrorCode, RunError};
use crate::event::TurnRequest;
use crate::model::failures::deadline_exceeded;
use crate::ports::RunRecord;
use crate::service::RunOptions;
use crate::tool::{Desk, Outcome, Refusal};

/// A tool ends its own wait at the deadline, and says why; what is not at its end so long after it is cut off.
const LAST_WORD: Duration = Duration::from_millis(50);

/// What a caller asks to be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolRequest {
    /// Name of the tool.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
    /// The session, whose calls count together against rate limits; absent: a fresh one, and the caller's calls do.
    pub session_id: Option<String>,
}

/// A call that has been carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Executed {
    /// Name of the tool.
    pub tool: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub duration_ms: u64,
}

impl Agent {
    /// Carries out one call, with the permissions, limits, rules and bounds that hold in a run.
    ///
    /// # Errors
    /// `tool_not_found`, `tool_forbidden`, `rate_limited`, `budget_exceeded`, `deadline_exceeded`.
    pub async fn execute(&self, request: ToolRequest, options: RunOptions) -> Result<Executed, RunError> {
        let ToolRequest { tool: name, arguments, session_id } = request;
        let identity = Identity::new(&*self.environment, session_id, &options);
        let started = Instant::now();
        let deadline = started + options.timeout.map_or(self.timeout, |asked| asked.min(self.timeout));
        let ledger = Ledger::bounded(options.tokens_max, options.bytes.clone());
        let mut booking = Booking { agent: self, identity, started, ledger, outcome: "cancelled" };
        let (events, desk, nothing) = (Events::silent(), Desk::default(), TurnRequest::default());
        let Booking { identity, ledger, .. } = &booking;
        let (agent, request, events, desk) = (self, &nothing, &events, &desk);
        let turn = Turn { agent, request, identity, deadline, ledger, events, desk, memory: &Value::Null };
        // Its rules and the check of its arguments take time, too.
        let done = timeout_at(deadline + LAST_WORD, turn.execute(&name, arguments)).await;
        let outcome = done.unwrap_or_else(|_elapsed| Err(deadline_exceeded()));
        booking.outcome = outcome.as_ref().map_or_else(|error| error.code.as_str(), |_| "ok");
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Executed { tool: name, outcome: outcome?, duration_ms })
    }
}

impl Turn<'_> {
    /// The call as its caller gets to see it.
    async fn execute(&self, name: &str, arguments: Value) -> Result<Outcome, RunError> {
        let arguments = self.given(arguments).await;
        if let Some(block) = self.ledger.block() {
            return Ok(Outcome::failed(block.message));
        }
        let outcome = self.outcome(name, &arguments).await?;
        self.ledger.affordable()?;
        if !outcome.ok && Instant::now() >= self.deadline {
            return Err(deadline_exceeded());
        }
        let (outcome, shown) = self.screened(outcome).await;
        self.ledger.affordable()?;
        // A rule that has blocked a model on the way has the words for it.
        Ok(self.ledger.block().map_or(Outcome { result: shown, ..outcome }, |block| Outcome::failed(block.message)))
    }

    async fn outcome(&self, name: &str, arguments: &Value) -> Result<Outcome, RunError> {
        let refused = |refusal: Refusal| match refusal {
            Refusal::Arguments(sentence) => Ok(Outcome::failed(sentence)),
            Refusal::Unknown(_) => Err(RunError::new(ErrorCode::ToolNotFound, refusal.to_string())),
            Refusal::Forbidden(_) => Err(RunError::new(ErrorCode::ToolForbidden, refusal.to_string())),
            Refusal::RateLimited { wait, .. } => {
                Err(RunError::new(ErrorCode::RateLimited, refusal.to_string()).retry_after(wait))
            }
        };
        let (tool, arguments) = match self.agent.tools.admit(name, arguments, &self.identity.counted_as).await {
            Ok(admitted) => admitted,
            Err(refusal) => return refused(refusal),
        };
        if tool.approval.is_some() {
            let message = format!("each call of the tool `{name}` needs an approval, which only a run can wait for");
            return Err(RunError::new(ErrorCode::ToolForbidden, message));
        }
        let Some(port) = &tool.port else {
            return Ok(Outcome::failed(format!("the tool `{name}` is carried out by the caller of a run")));
        };
        Ok(tool.run(port.as_ref(), &arguments, self).await)
    }
}

/// Tells the observer when it is dropped: at the end of the call, or when its caller has gone.
struct Booking<'a> {
    agent: &'a Agent,
    identity: Identity,
    started: Instant,
    ledger: Ledger,
    outcome: &'static str,
}

impl Drop for Booking<'_> {
    fn drop(&mut self) {
        let booked = self.ledger.close();
        // Most calls ask no model, and find nothing: they are no runs.
        if booked.attempts.is_empty() && booked.guardrail_hits.is_empty() {
            return;
        }
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
    }
}
