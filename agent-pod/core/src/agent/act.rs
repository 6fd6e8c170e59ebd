//! A turn carries out what its model asks for.

use futures::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use super::Turn;
use crate::error::RunError;
use crate::event::{Step, TurnEvent};
use crate::message::{Message, ToolCall};

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
            index: 0,
            step_type,
            name: self.shown(name),
            agent: None,
            arguments: Value::Null,
            result: self.shown(&result.map_or_else(ToString::to_string, ToOwned::to_owned)),
            ok: result.is_ok(),
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        step.index = self.ledger.step(step.clone());
        self.events.send(TurnEvent::Step(Box::new(step))).await;
    }

    /// Carries out the calls of one reply at the same time; results keep the order of the calls.
    pub async fn act(&self, calls: Vec<ToolCall>) -> Vec<Message> {
        let (agent, events) = (self.agent, self.events);
        let running = calls.into_iter().map(|call| async move {
            let arguments = self.shown_json(&call.arguments);
            let announced =
                TurnEvent::ToolCall { id: call.id.clone(), name: call.name.clone(), arguments: arguments.clone() };
            events.send(announced).await;
            let started = Instant::now();
            let outcome = agent.tools.call(&call.name, &call.arguments).await;
            let ok = outcome.is_ok();
            let (result, ok) = self.tool_result(outcome.unwrap_or_else(|sentence| sentence), ok);
            let shown = self.shown(&result);
            let told =
                TurnEvent::ToolResult { id: call.id.clone(), name: call.name.clone(), ok, result: shown.clone() };
            events.send(told).await;
            (ToolCall { arguments, ..call }, ok, (result, shown), started.elapsed())
        });
        let mut messages = Vec::new();
        for (call, ok, (result, shown), duration) in join_all(running).await {
            messages.push(Message::tool_result(call.id, result));
            self.ledger.step(Step {
                index: 0,
                step_type: "tool",
                name: call.name,
                agent: None,
                arguments: call.arguments,
                result: shown,
                ok,
                duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            });
        }
        messages
    }
}
