//! One call of a tool outside a run, for people who try tools out and for systems that use them directly.

use serde_json::Value;
use tokio::time::Instant;

use super::{Agent, Events, Identity, Ledger, Turn};
use crate::error::{ErrorCode, RunError};
use crate::event::TurnRequest;
use crate::ports::RunRecord;
use crate::service::RunOptions;
use crate::tool::{Desk, Outcome, Refusal};

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
    /// Carries out one call, with the permissions, limits and bounds that hold in a run.
    ///
    /// # Errors
    /// `tool_not_found`, `tool_forbidden`, `rate_limited`.
    pub async fn execute(&self, request: ToolRequest, options: RunOptions) -> Result<Executed, RunError> {
        let ToolRequest { tool: name, arguments, session_id } = request;
        let identity = Identity::new(&*self.environment, session_id, &options);
        let started = Instant::now();
        let deadline = started + options.timeout.map_or(self.timeout, |asked| asked.min(self.timeout));
        let (ledger, events, desk) = (Ledger::default(), Events::silent(), Desk::default());
        let nothing = TurnRequest::default();
        let (agent, identity, ledger, events, desk) = (self, &identity, &ledger, &events, &desk);
        let turn = Turn { agent, request: &nothing, identity, deadline, ledger, events, desk, memory: &Value::Null };
        let outcome = self.outcome(&name, &arguments, &turn).await?;
        let booked = turn.ledger.booked();
        // Only a tool that asks models uses anything.
        if !booked.attempts.is_empty() {
            self.observer.finished(&RunRecord {
                agent: &self.name,
                run_id: &turn.identity.run_id,
                trace_id: &turn.identity.trace_id,
                outcome: "ok",
                usage: &booked.usage,
                attempts: &booked.attempts,
                guardrail_hits: &booked.guardrail_hits,
                duration: started.elapsed(),
            });
        }
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Executed { tool: name, outcome, duration_ms })
    }

    async fn outcome(&self, name: &str, arguments: &Value, turn: &Turn<'_>) -> Result<Outcome, RunError> {
        let refused = |refusal: Refusal| match refusal {
            Refusal::Arguments(sentence) => Ok(Outcome::failed(sentence)),
            Refusal::Unknown(_) => Err(RunError::new(ErrorCode::ToolNotFound, refusal.to_string())),
            Refusal::Forbidden(_) => Err(RunError::new(ErrorCode::ToolForbidden, refusal.to_string())),
            Refusal::RateLimited { wait, .. } => {
                Err(RunError::new(ErrorCode::RateLimited, refusal.to_string()).retry_after(wait))
            }
        };
        let (tool, arguments) = match self.tools.admit(name, arguments, &turn.identity.counted_as).await {
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
        Ok(tool.run(port.as_ref(), &arguments, turn).await.within(self.tools.limits()))
    }
}
