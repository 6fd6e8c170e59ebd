//! The end of the time that a stopping pod gives its runs.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use agent_pod_core::access::TokenVerifier;
use agent_pod_core::agent::{Executed, ToolRequest};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{TurnEvent, TurnRequest};
use agent_pod_core::memory::history::AgentHistory;
use agent_pod_core::service::{AgentHandle, AgentService, Run, RunOptions};
use agent_pod_core::tool::Ruling;
use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

/// Agents whose runs end with `draining` from when `ending` is cancelled: those under way, those that wait for a place,
/// and those that are still to come.
pub struct Ending {
    /// The agents.
    pub agents: Arc<dyn AgentService>,
    /// Cancelled when the time of runs is over.
    pub ending: CancellationToken,
}

#[async_trait]
impl AgentService for Ending {
    fn agents(&self) -> Vec<Arc<AgentHandle>> {
        self.agents.agents()
    }

    fn agent(&self, name: &str) -> Option<Arc<AgentHandle>> {
        self.agents.agent(name)
    }

    async fn start(&self, agent: &str, request: TurnRequest, options: RunOptions) -> Result<Run, RunError> {
        let started = self.ending.run_until_cancelled(self.agents.start(agent, request, options)).await;
        Ok(until(started.ok_or_else(draining)??, &self.ending))
    }

    fn memory(&self, agent: &str) -> Option<AgentHistory> {
        self.agents.memory(agent)
    }

    async fn execute(&self, agent: &str, request: ToolRequest, options: RunOptions) -> Result<Executed, RunError> {
        let executed = self.ending.run_until_cancelled(self.agents.execute(agent, request, options)).await;
        executed.ok_or_else(draining)?
    }

    fn agent_of_run(&self, run_id: &str) -> Option<String> {
        self.agents.agent_of_run(run_id)
    }

    fn decide(&self, run_id: &str, approval: &str, ruling: Ruling) -> Result<(), RunError> {
        self.agents.decide(run_id, approval, ruling)
    }

    fn verifier(&self) -> Arc<dyn TokenVerifier> {
        self.agents.verifier()
    }
}

/// The same run, which ends with the error `draining` as soon as `ending` is cancelled: whatever it was doing stops in
/// the same moment, and its caller is told.
fn until(run: Run, ending: &CancellationToken) -> Run {
    let Run { run_id, events, desk } = run;
    let (mut events, mut ended) = (Some(events), Box::pin(ending.clone().cancelled_owned()));
    let id = run_id.clone();
    let events = stream::poll_fn(move |context| {
        let Some(going_on) = events.as_mut() else { return Poll::Ready(None) };
        if ended.poll_unpin(context).is_ready() {
            events = None;
            return Poll::Ready(Some(TurnEvent::Error(Box::new(draining().in_run(&id)))));
        }
        going_on.poll_next_unpin(context)
    });
    Run { run_id, events: events.boxed(), desk }
}

/// What whoever waits for something is told at that end.
fn draining() -> RunError {
    let message = "this pod is stopping, and the time that it gives its runs is over; ask again to reach another one";
    RunError::new(ErrorCode::Draining, message).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream::pending;

    use super::*;

    #[tokio::test]
    async fn a_run_that_is_ended_says_so_once_and_stops() {
        let (ending, held) = (CancellationToken::new(), Arc::new(()));
        let holds = Arc::clone(&held);
        let first = stream::iter([TurnEvent::Token("a".to_owned())]);
        let events = first.chain(pending()).inspect(move |_| drop(Arc::clone(&holds))).boxed();
        let mut run = until(Run { run_id: "r-1".to_owned(), events, desk: Arc::default() }, &ending);
        assert!(matches!(run.events.next().await, Some(TurnEvent::Token(_))));
        assert!(run.events.next().now_or_never().is_none());
        ending.cancel();
        let Some(TurnEvent::Error(error)) = run.events.next().await else { panic!("no error") };
        assert_eq!((error.code, error.run_id.as_deref()), (ErrorCode::Draining, Some("r-1")));
        assert_eq!(Arc::strong_count(&held), 1, "the run itself is gone");
        assert!(run.events.next().await.is_none());
    }
}
