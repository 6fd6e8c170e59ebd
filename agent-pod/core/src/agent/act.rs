//! A turn carries out what its model asks for.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::{FutureExt as _, stream};
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::Turn;
use crate::byte_pool::weight::COPIES;
use crate::error::RunError;
use crate::event::{ApprovalRecord, Step, TurnEvent};
use crate::message::{Message, ToolCall};
use crate::pattern::Pattern;
use crate::tool::{ApprovalSettings, Decision, Outcome, Registered, Ruling};

/// The most calls of one reply; those beyond are told so, and a model that means them asks again.
const CALLS_MAX: usize = 64;

/// The sort of most steps.
const TOOL: &str = "tool";

/// The sort of a step in which a person has decided.
pub(super) const APPROVAL: &str = "approval";

/// What became of one call.
struct Done {
    call: ToolCall,
    approval: Option<Step>,
    /// What the model gets to see.
    outcome: Outcome,
    /// What callers get to see of that.
    shown: String,
    duration: Duration,
}

impl Turn<'_> {
    /// Books a step that is no tool call, and says it.
    pub async fn took_step(
        &self,
        step_type: &'static str,
        name: &str,
        result: Result<&str, &RunError>,
        started: Instant,
    ) {
        let mut step = Step {
            step_type,
            name: self.shown(name).await,
            result: self.shown(&result.map_or_else(ToString::to_string, ToOwned::to_owned)).await,
            ok: result.is_ok(),
            duration_ms: millis(started.elapsed()),
            ..Step::default()
        };
        step.index = self.ledger.step(step.clone());
        self.events.send(TurnEvent::Step(Box::new(step))).await;
    }

    /// Carries out the calls of one reply, at the same time unless the agent says otherwise; results keep the order of the
    /// calls.
    pub async fn act(&self, calls: Vec<ToolCall>) -> Vec<Message> {
        let limits = self.agent.tools.limits();
        let running: Vec<BoxFuture<'_, Done>> =
            calls.into_iter().enumerate().map(|(place, call)| self.carry_out(place, call).boxed()).collect();
        let mut finished = stream::iter(running).buffered(limits.parallel_max.max(1));
        let mut messages = Vec::new();
        while let Some(Done { call, approval, outcome, shown, duration }) = finished.next().await {
            messages.push(Message::tool_result(call.id, outcome.result));
            if let Some(approval) = approval {
                self.ledger.step(approval);
            }
            let (step_type, name) = self.sort_of(self.shown_name(call.name).await);
            let mut step = Step {
                step_type,
                name,
                arguments: self.shown_json(&call.arguments).await,
                result: shown,
                ok: outcome.ok,
                duration_ms: millis(duration),
                truncated: outcome.truncated,
                ..Step::default()
            };
            step.index = self.ledger.step(step.clone());
            if step_type != TOOL {
                self.events.send(TurnEvent::Step(Box::new(step))).await;
            }
        }
        messages
    }

    /// What sort of step a call is, and what it is called.
    fn sort_of(&self, call: String) -> (&'static str, String) {
        match (&self.agent.pattern, self.agent.tools.target(&call)) {
            (Pattern::Supervisor { .. }, Some(_)) => ("delegate", call),
            (Pattern::Swarm(_), Some(target)) => ("handoff", target.name.clone()),
            _ => (TOOL, call),
        }
    }

    async fn carry_out(&self, place: usize, call: ToolCall) -> Done {
        let started = Instant::now();
        let (approval, outcome) = if place < CALLS_MAX {
            self.attempt(&call).await
        } else {
            self.announce(&call).await;
            (None, Outcome::failed(format!("a reply may ask for at most {CALLS_MAX} tools; ask again for the others")))
        };
        let (outcome, shown) = self.screened(outcome).await;
        let (id, name) = (call.id.clone(), self.shown_name(call.name.clone()).await);
        self.events.send(TurnEvent::ToolResult { id, name, ok: outcome.ok, result: shown.clone() }).await;
        Done { call, approval, outcome, shown, duration: started.elapsed() }
    }

    /// What the model gets to see of how a call ended, and what callers get to see of that. It is drawn here, before it
    /// waits for the results of earlier calls.
    pub(super) async fn screened(&self, outcome: Outcome) -> (Outcome, String) {
        let Outcome { mut result, ok, truncated } = outcome.within(self.agent.tools.limits());
        if let Err(error) = self.ledger.draw(COPIES * result.len()).await {
            result = String::new();
            self.ledger.refuse(error);
        }
        let (result, ok) = self.tool_result(result, ok).await;
        let shown = self.shown(&result).await;
        (Outcome { result, ok, truncated }, shown)
    }

    async fn attempt(&self, call: &ToolCall) -> (Option<Step>, Outcome) {
        let admitted = self.agent.tools.admit(&call.name, &call.arguments, &self.identity.counted_as).await;
        // A client carries out what is announced to it: not before that is approved, and the desk is open.
        let by_client = admitted.as_ref().is_ok_and(|(tool, _)| tool.port.is_none());
        if !by_client {
            self.announce(call).await;
        }
        let (tool, arguments) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return (None, Outcome::failed(refusal.to_string())),
        };
        let approval = match tool.approval {
            Some(settings) => Some(self.approve(call, settings).await),
            None => None,
        };
        if let Some(denied) = approval.as_ref().filter(|step| !step.ok) {
            if by_client {
                self.announce(call).await;
            }
            let outcome = Outcome::failed(format!("the call was not approved: {}", denied.result));
            return (approval, outcome);
        }
        let outcome = match &tool.port {
            Some(port) => tool.run(port.as_ref(), &arguments, self).await,
            None => self.by_client(call, tool).await,
        };
        (approval, outcome)
    }

    /// The name of a tool as callers see it. One that a model has made up is its own words.
    pub(super) async fn shown_name(&self, name: String) -> String {
        if self.agent.tools.knows(&name) { name } else { self.shown(&name).await }
    }

    async fn announce(&self, call: &ToolCall) {
        let announced = TurnEvent::ToolCall {
            id: call.id.clone(),
            name: self.shown_name(call.name.clone()).await,
            arguments: self.shown_json(&call.arguments).await,
        };
        self.events.send(announced).await;
    }

    /// Waits for a person. Time that runs out denies. Its id is told to those who follow the run and to nobody else: the
    /// model's own id of the call is one that anybody can guess, and so could approve.
    async fn approve(&self, call: &ToolCall, settings: ApprovalSettings) -> Step {
        let started = Instant::now();
        let id = self.agent.environment.fresh_secret();
        let mut waited = self.desk.approval(&id);
        let required = TurnEvent::ApprovalRequired {
            id,
            call_id: call.id.clone(),
            name: call.name.clone(),
            arguments: self.shown_json(&call.arguments).await,
            expires_at: self.time_after(settings.timeout.min(self.deadline.saturating_duration_since(started))),
        };
        self.events.send(required).await;
        let mut ruling = timeout_at(started + settings.timeout, waited.answer()).await.ok().flatten();
        if let Some(reason) = ruling.as_mut().and_then(|ruling| ruling.reason.as_mut()) {
            *reason = self.shown(reason).await;
        }
        let record = ApprovalRecord {
            decision: match ruling.as_ref().map(|ruling| ruling.decision) {
                Some(Decision::Approve) => "approve",
                Some(Decision::Deny) | None => "deny",
            },
            by: ruling.as_ref().map(|ruling| ruling.by.clone()),
            at: self.agent.environment.timestamp(),
            reason: ruling.as_ref().and_then(|ruling| ruling.reason.clone()),
        };
        Step {
            step_type: APPROVAL,
            name: call.name.clone(),
            arguments: self.shown_json(&call.arguments).await,
            result: verdict(ruling.as_ref()),
            ok: record.decision == "approve",
            duration_ms: millis(started.elapsed()),
            approval: Some(record),
            ..Step::default()
        }
    }

    /// The caller carries the call out, where it can.
    async fn by_client(&self, call: &ToolCall, tool: &Registered) -> Outcome {
        if !self.desk.is_attended() {
            self.announce(call).await;
            return Outcome::failed(format!(
                "the tool `{}` is carried out by a caller over a WebSocket, and this caller is not on one; go on without it",
                call.name
            ));
        }
        // Opened before it is announced: the answer may be quick.
        let mut waited = self.desk.result(&call.id);
        self.announce(call).await;
        match timeout_at(Instant::now() + tool.timeout, waited.answer()).await {
            Ok(Some(Ok(result))) => Outcome { ok: true, result, truncated: false },
            Ok(Some(Err(sentence))) => Outcome::failed(sentence),
            Ok(None) => Outcome::failed("another call of the same id took the place of this one"),
            Err(_elapsed) => {
                Outcome::failed(format!("the caller did not carry out `{}` within {:?}", call.name, tool.timeout))
            }
        }
    }

    /// The time after a wait, as RFC 3339.
    fn time_after(&self, wait: Duration) -> String {
        let now = self.agent.environment.timestamp();
        let then = now.parse::<Timestamp>().ok().and_then(|now| now.checked_add(wait).ok());
        then.map_or(now, |then| format!("{then:.3}"))
    }
}

pub(super) fn verdict(ruling: Option<&Ruling>) -> String {
    match ruling {
        None => "nobody decided in time".to_owned(),
        Some(Ruling { decision: Decision::Approve, reason, .. }) => reason.clone().unwrap_or_else(|| "approved".into()),
        Some(Ruling { decision: Decision::Deny, reason, .. }) => reason.clone().unwrap_or_else(|| "denied".into()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
