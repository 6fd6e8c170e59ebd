//! The turns of a WebSocket: which run is in flight, and which session they share. Knows nothing of frames.

use std::future::pending;
use std::sync::Arc;

use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{TurnEvent, TurnRequest};
use agent_pod_core::service::{AgentService, RunOptions};
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};

use super::client_message::ClientMessage;
use crate::credentials::Credentials;
use crate::events::{is_end, until_end};

/// What is said on one WebSocket.
pub(crate) struct Conversation {
    agents: Arc<dyn AgentService>,
    agent: String,
    credentials: Credentials,
    /// Of the URL, else of the first run that was started without one.
    session_id: Option<String>,
    run: Option<RunInFlight>,
}

struct RunInFlight {
    run_id: String,
    events: BoxStream<'static, TurnEvent>,
    /// Whether the session that the run makes up is to be the socket's.
    founds_session: bool,
}

impl Conversation {
    /// A conversation with `agent`, in the session of the URL if it names one.
    pub(crate) fn new(
        agents: Arc<dyn AgentService>,
        agent: String,
        credentials: Credentials,
        session_id: Option<String>,
    ) -> Self {
        Self { agents, agent, credentials, session_id, run: None }
    }

    /// Whether a run is in flight.
    pub(crate) fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Takes a message of the client; gives the event to answer it with at once, if there is one.
    pub(crate) fn take(&mut self, text: &str) -> Option<TurnEvent> {
        let outcome = match ClientMessage::parse(text) {
            Ok(ClientMessage::Query(request)) => self.start(request),
            Ok(ClientMessage::Cancel) => return self.cancel(),
            Err(error) => Err(error),
        };
        outcome.err().map(|error| TurnEvent::Error(Box::new(error)))
    }

    /// The next event of the run in flight; never comes without one. Nothing is lost when this future is dropped.
    pub(crate) async fn next_event(&mut self) -> TurnEvent {
        loop {
            let Some(run) = &mut self.run else { return pending().await };
            let Some(event) = run.events.next().await else {
                self.run = None;
                continue;
            };
            if let TurnEvent::Status(status) = &event
                && run.founds_session
            {
                self.session_id.get_or_insert_with(|| status.session_id.clone());
            }
            if is_end(&event) {
                self.run = None;
            }
            return event;
        }
    }

    /// Access is checked for each run: a socket may be older than a change of the agent's rules, and than its token.
    fn start(&mut self, mut request: TurnRequest) -> Result<(), RunError> {
        if self.is_running() {
            let message = "a run is under way on this socket; wait for its end, or send {\"type\": \"cancel\"}";
            return Err(RunError::new(ErrorCode::Busy, message));
        }
        self.credentials.agent(&*self.agents, &self.agent)?;
        request.session_id = request.session_id.or_else(|| self.session_id.clone());
        let founds_session = request.session_id.is_none();
        let started = self.agents.start(&self.agent, request, RunOptions::default()).now_or_never();
        let run = started.unwrap_or_else(|| Err(RunError::new(ErrorCode::Overloaded, "the agent is busy")))?;
        self.run = Some(RunInFlight { run_id: run.run_id.clone(), events: until_end(run), founds_session });
        Ok(())
    }

    fn cancel(&mut self) -> Option<TurnEvent> {
        let run = self.run.take()?;
        let error = RunError::new(ErrorCode::Cancelled, "the run was cancelled by the client").in_run(&run.run_id);
        Some(TurnEvent::Error(Box::new(error)))
    }
}
