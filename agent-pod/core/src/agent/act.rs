//! A turn carries out what its model asks for.

use futures::future::join_all;
use tokio::time::Instant;

use super::Turn;
use crate::event::{Step, TurnEvent};
use crate::message::{Message, ToolCall};

impl Turn<'_> {
    /// Carries out the calls of one reply at the same time; results keep the order of the calls.
    pub async fn act(&self, calls: Vec<ToolCall>) -> Vec<Message> {
        let (agent, events) = (self.agent, self.events);
        let running = calls.into_iter().map(|call| async move {
            let announced =
                TurnEvent::ToolCall { id: call.id.clone(), name: call.name.clone(), arguments: call.arguments.clone() };
            events.send(announced).await;
            let started = Instant::now();
            let outcome = agent.tools.call(&call.name, &call.arguments).await;
            let ok = outcome.is_ok();
            let result = outcome.unwrap_or_else(|sentence| sentence);
            let told =
                TurnEvent::ToolResult { id: call.id.clone(), name: call.name.clone(), ok, result: result.clone() };
            events.send(told).await;
            (call, ok, result, started.elapsed())
        });
        let mut messages = Vec::new();
        for (call, ok, result, duration) in join_all(running).await {
            messages.push(Message::tool_result(call.id, result.clone()));
            self.ledger.step(Step {
                index: 0,
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
}
