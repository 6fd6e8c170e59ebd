//! The turns of a WebSocket: which run is in flight, and which session they share. Knows nothing of frames.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::byte_pool::{ByteReservation, RunBytes};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{TurnEvent, TurnRequest};
use agent_pod_core::service::{AgentService, Run, RunOptions};
use agent_pod_core::tool::{Desk, DeskError, Ruling};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};

use super::client_message::ClientMessage;
use crate::authority::Authority;
use crate::credentials::{Admitted, Credentials, name_of};
use crate::error::report;
use crate::events::{report_failure, until_end};
use crate::json_body::parse;

/// What is said on one WebSocket.
pub(crate) struct Conversation {
    agents: Arc<dyn AgentService>,
    agent: String,
    credentials: Credentials,
    /// Of the URL, else of the first run that was started without one.
    session_id: Option<String>,
    /// What the handshake says of each run.
    options: RunOptions,
    /// How long a message waits for memory.
    wait: Duration,
    turn: Option<Turn>,
    /// What the turn that has ended last holds, until its end has been sent.
    ended: Option<RunBytes>,
}

/// The turn under way.
struct Turn {
    /// Whether the session that the run makes up is to be the socket's.
    founds_session: bool,
    /// Who has asked, and decides on what waits for an approval.
    by: String,
    /// What it holds of the pool.
    bytes: RunBytes,
    phase: Phase,
}

enum Phase {
    /// The run has not been let in yet: it may wait in a queue.
    Starting(BoxFuture<'static, Result<Run, RunError>>),
    /// The run is under way.
    Running { run_id: String, events: BoxStream<'static, TurnEvent>, desk: Arc<Desk> },
}

impl Conversation {
    /// A conversation with `agent`, in the session of the URL if it names one.
    pub(crate) fn new(
        agents: Arc<dyn AgentService>,
        agent: String,
        credentials: Credentials,
        session_id: Option<String>,
        options: RunOptions,
    ) -> Self {
        let wait = agents.agent(&agent).map_or(Duration::ZERO, |agent| agent.queue_timeout);
        Self { agents, agent, credentials, session_id, options, wait, turn: None, ended: None }
    }

    /// Whether a turn is under way, be it in the queue.
    pub(crate) fn is_busy(&self) -> bool {
        self.turn.is_some()
    }

    /// Takes a message of the client; gives the event to answer it with at once, if there is one.
    pub(crate) async fn take(&mut self, text: Bytes, held: ByteReservation) -> Option<TurnEvent> {
        let (message, held) = match parse(text, held, self.wait).await {
            Ok(parsed) => parsed,
            Err(error) => return Some(failed(error)),
        };
        let outcome = match ClientMessage::read(message) {
            Ok(ClientMessage::Query(request)) => self.start(request, RunBytes::new(held)),
            Ok(ClientMessage::Cancel) => return self.cancel(),
            Ok(ClientMessage::ToolResult { id, result }) => self.at_desk(&id, |desk, _| desk.give(&id, result)),
            Ok(ClientMessage::Approval { id, ruling }) => {
                self.at_desk(&id, |desk, by| desk.decide(&id, Ruling { by: by.to_owned(), ..ruling }))
            }
            Err(error) => Err(error),
        };
        outcome.err().map(failed)
    }

    /// The next event of the turn under way; never comes without one. Nothing is lost when this future is dropped. Whoever
    /// asks has sent the one before.
    pub(crate) async fn next_event(&mut self) -> TurnEvent {
        self.ended = None;
        loop {
            let Some(turn) = &mut self.turn else { return pending().await };
            match &mut turn.phase {
                Phase::Starting(start) => match start.await {
                    Ok(run) => turn.phase = Phase::running(run),
                    Err(error) => {
                        self.turn = None;
                        report(&error);
                        return failed(error);
                    }
                },
                Phase::Running { events, .. } => match events.next().await {
                    Some(event) => return self.told(event),
                    None => self.turn = None,
                },
            }
        }
    }

    /// The pod stops: a run that is under way goes on to its end, one that still waits to be let in does not start.
    /// Gives the event that says so.
    pub(crate) fn stop(&mut self) -> Option<TurnEvent> {
        let turn = self.turn.as_mut()?;
        let Phase::Starting(start) = &mut turn.phase else { return None };
        // It may have been let in without anybody having looked yet.
        let error = match start.now_or_never() {
            Some(Ok(run)) => {
                turn.phase = Phase::running(run);
                return None;
            }
            Some(Err(error)) => error,
            None => draining(),
        };
        self.turn = None;
        Some(failed(error))
    }

    /// Access is checked for each run: a socket may be older than a change of the agent's rules, and than its token.
    fn start(&mut self, mut request: TurnRequest, bytes: RunBytes) -> Result<(), RunError> {
        if self.is_busy() {
            let message = "a run is under way on this socket; wait for its end, or send {\"type\": \"cancel\"}";
            return Err(RunError::new(ErrorCode::Busy, message));
        }
        let Admitted { agent: _, caller } = self.credentials.agent(&*self.agents, &self.agent)?;
        let (credentials, agents) = (&self.credentials, &*self.agents);
        Authority { credentials, agents, caller: caller.as_ref() }.check(&request)?;
        request.session_id = request.session_id.or_else(|| self.session_id.clone());
        let founds_session = request.session_id.is_none();
        let (agents, agent) = (Arc::clone(&self.agents), self.agent.clone());
        let by = name_of(caller.as_ref());
        let options = RunOptions { caller, bytes: bytes.clone(), ..self.options.clone() };
        let start = async move { agents.start(&agent, request, options).await };
        self.turn = Some(Turn { founds_session, by, bytes, phase: Phase::Starting(start.boxed()) });
        Ok(())
    }

    /// Answers what the run in flight waits for.
    fn at_desk(&self, id: &str, answer: impl FnOnce(&Desk, &str) -> Result<(), DeskError>) -> Result<(), RunError> {
        let nothing = || {
            RunError::new(ErrorCode::InvalidMessage, format!("the message is not valid: no run here waits for `{id}`"))
        };
        let Some(Turn { by, phase: Phase::Running { desk, .. }, .. }) = &self.turn else { return Err(nothing()) };
        answer(desk, by).map_err(|error| match error {
            DeskError::Unknown => nothing(),
            DeskError::Over => {
                RunError::new(ErrorCode::AlreadyDecided, format!("`{id}` has been answered, or its time was up"))
            }
        })
    }

    fn told(&mut self, event: TurnEvent) -> TurnEvent {
        report_failure(&event);
        if let TurnEvent::Status(status) = &event
            && self.turn.as_ref().is_some_and(|turn| turn.founds_session)
        {
            self.session_id.get_or_insert_with(|| status.session_id.clone());
        }
        if event.is_end() {
            self.ended = self.turn.take().map(|turn| turn.bytes);
        }
        event
    }

    fn cancel(&mut self) -> Option<TurnEvent> {
        let turn = self.turn.take()?;
        let error = RunError::new(ErrorCode::Cancelled, "the run was cancelled by the client");
        Some(failed(match turn.phase {
            Phase::Starting(_) => error,
            Phase::Running { run_id, .. } => error.in_run(&run_id),
        }))
    }
}

impl Phase {
    fn running(run: Run) -> Self {
        Self::Running { run_id: run.run_id.clone(), desk: Arc::clone(&run.desk), events: until_end(run) }
    }
}

/// What a client gets to hear where this pod no longer takes runs or sockets.
pub(crate) fn draining() -> RunError {
    let error = RunError::new(ErrorCode::Draining, "this pod is stopping; connect again to reach another one");
    error.retry_after(Duration::from_secs(1))
}

fn failed(error: RunError) -> TurnEvent {
    TurnEvent::Error(Box::new(error))
}
