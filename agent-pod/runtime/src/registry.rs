//! The agents that serve now: one atomic pointer, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_pod_core::access::TokenVerifier;
use agent_pod_core::admission::{Gate, GateSettings};
use agent_pod_core::agent::{Agent, AgentMemory, Executed, ToolRequest};
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::TurnRequest;
use agent_pod_core::memory::history::AgentHistory;
use agent_pod_core::model::router::ModelState;
use agent_pod_core::service::{AgentHandle, AgentService, Run, RunOptions};
use agent_pod_core::tool::Ruling;
use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use futures::StreamExt as _;
use tokio::time::Instant;

use crate::afterwork::{self, Afterwork};
use crate::desks::Desks;
use crate::discovery::Endpoint;
use crate::idempotency::{Door, Idempotency, Scope};
use crate::sessions::Sessions;

/// What a run takes by itself: its state, and the connections of its caller and its model.
const RUN_BYTES: usize = 64 * 1024;

/// An agent that serves, with what its doors need.
pub struct Entry {
    /// The agent.
    pub agent: Arc<Agent>,
    /// As the doors see it.
    pub handle: Arc<AgentHandle>,
    /// Whether it answers nothing.
    pub suspended: bool,
    /// Lets runs in; shared with the entry's predecessors, so that a reload forgets none.
    pub gate: Gate,
    /// What the gate shall let in from when this entry serves.
    pub gate_settings: GateSettings,
}

impl Entry {
    /// Starts a run as soon as it is its turn in its session, and there is a place for it.
    async fn begin(
        &self,
        request: TurnRequest,
        options: RunOptions,
        deadline: Instant,
        within: Within<'_>,
    ) -> Result<Run, RunError> {
        let Within { sessions, desks, afterwork } = within;
        // Turns of a session follow each other where they are remembered. A fresh session has no other.
        let remembers = self.agent.memory.as_ref().is_some_and(|memory| memory.conversation.is_some());
        let session = request.session_id.as_deref().filter(|_| remembers && request.chat.is_none());
        let turn = match session {
            Some(session) => Some(sessions.turn(&self.key(), session, deadline).await?),
            None => None,
        };
        let lane = options.caller.as_ref().map_or("", |caller| caller.namespace.as_str());
        let place = self.gate.enter(lane, deadline).await?;
        options.bytes.draw(RUN_BYTES).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let options = RunOptions { timeout: Some(left), ..options };
        let run = Arc::clone(&self.agent).start(request, options, place);
        // Most runs have nothing left to do at their end, and most can ask nobody for anything.
        let works_on = self.agent.memory.as_ref().is_some_and(AgentMemory::works_afterwards);
        let run = if works_on { afterwork::detached(run, afterwork) } else { run };
        let asks = !self.agent.tools.specs().is_empty();
        let entered = asks.then(|| desks.enter(&run.run_id, &self.agent.name, &run.desk));
        if turn.is_none() && entered.is_none() {
            return Ok(run);
        }
        let events = run.events.inspect(move |_| {
            let _held = (&turn, &entered);
        });
        Ok(Run { events: events.boxed(), ..run })
    }

    /// Its `namespace/name`.
    fn key(&self) -> String {
        format!("{}/{}", self.agent.namespace, self.agent.name)
    }
}

/// What all runs share.
#[derive(Clone, Copy)]
struct Within<'a> {
    sessions: &'a Sessions,
    desks: &'a Desks,
    afterwork: &'a Afterwork,
}

/// A model at a provider that some agent uses.
pub struct ModelEntry {
    /// Name of the Provider.
    pub provider: String,
    /// Its namespace.
    pub namespace: String,
    /// The model.
    pub model: String,
    /// What the pod has learnt of it.
    pub state: Arc<ModelState>,
}

/// Everything that one revision serves.
pub struct Snapshot {
    /// The document's revision.
    pub revision: String,
    /// When it was loaded (RFC 3339).
    pub loaded_at: String,
    /// The agents by name.
    pub entries: BTreeMap<String, Entry>,
    /// The models that they call.
    pub models: Vec<ModelEntry>,
    /// The servers that these are at.
    pub endpoints: Vec<Endpoint>,
    /// The longest `drainTimeout` of its agents.
    pub drain_timeout: Duration,
    /// The longest `endpointDelay` of its agents.
    pub endpoint_delay: Duration,
}

/// The agents that serve now.
pub struct Registry {
    snapshot: ArcSwapOption<Snapshot>,
    verifier: ArcSwap<Box<dyn TokenVerifier>>,
    draining: AtomicBool,
    idempotency: Idempotency,
    sessions: Sessions,
    desks: Desks,
    afterwork: Afterwork,
}

impl Registry {
    /// A registry that serves nothing yet.
    #[must_use]
    pub fn new(verifier: Box<dyn TokenVerifier>) -> Self {
        Self {
            snapshot: ArcSwapOption::empty(),
            verifier: ArcSwap::from_pointee(verifier),
            draining: AtomicBool::new(false),
            idempotency: Idempotency::default(),
            sessions: Sessions::default(),
            desks: Desks::default(),
            afterwork: Afterwork::new(),
        }
    }

    /// Serves this from now on; runs under way finish on what they started with.
    pub fn swap(&self, snapshot: Snapshot) {
        self.snapshot.store(Some(Arc::new(snapshot)));
    }

    /// Verifies with this from now on.
    pub fn trust(&self, verifier: Box<dyn TokenVerifier>) {
        self.verifier.store(Arc::new(verifier));
    }

    /// What serves now; none before the first document has loaded.
    #[must_use]
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshot.load_full()
    }

    /// No longer ready; runs are still let in, until the listener takes no more connections.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether the pod is stopping.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Waits until what runs had left to remember is written, for a few seconds at most.
    pub async fn settle(&self) {
        self.afterwork.settle().await;
    }

    /// How often a run's rest was left undone, because too much was under way.
    #[must_use]
    pub fn left_undone(&self) -> u64 {
        self.afterwork.left_undone()
    }

    /// Runs under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.count(Gate::running)
    }

    /// Runs that wait for a place.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.count(Gate::queued)
    }

    fn count(&self, of: fn(&Gate) -> u32) -> u64 {
        let snapshot = self.snapshot.load();
        snapshot.iter().flat_map(|snapshot| snapshot.entries.values()).map(|entry| u64::from(of(&entry.gate))).sum()
    }
}

#[async_trait]
impl AgentService for Registry {
    fn agents(&self) -> Vec<Arc<AgentHandle>> {
        let snapshot = self.snapshot.load();
        snapshot.iter().flat_map(|snapshot| snapshot.entries.values()).map(|entry| Arc::clone(&entry.handle)).collect()
    }

    fn agent(&self, name: &str) -> Option<Arc<AgentHandle>> {
        let snapshot = self.snapshot.load();
        snapshot.as_ref()?.entries.get(name).map(|entry| Arc::clone(&entry.handle))
    }

    async fn start(&self, agent: &str, request: TurnRequest, mut options: RunOptions) -> Result<Run, RunError> {
        let snapshot = self.snapshot.load_full();
        let entry =
            snapshot.as_ref().and_then(|snapshot| snapshot.entries.get(agent)).ok_or_else(|| not_found(agent))?;
        if entry.suspended {
            return Err(suspended(agent));
        }
        // One deadline from here on: time in the queue is time of the run.
        let limit = options.timeout.map_or(entry.agent.timeout, |asked| asked.min(entry.agent.timeout));
        let deadline = Instant::now() + limit;
        let within = Within { sessions: &self.sessions, desks: &self.desks, afterwork: &self.afterwork };
        let Some(key) = options.idempotency.take() else {
            return entry.begin(request, options, deadline, within).await;
        };
        let scope = Scope { door: Door::Run, agent: entry.key(), caller: options.caller.clone() };
        let bytes = options.bytes.clone();
        self.idempotency.once(scope, key, (deadline, bytes), || entry.begin(request, options, deadline, within)).await
    }

    async fn execute(&self, agent: &str, request: ToolRequest, mut options: RunOptions) -> Result<Executed, RunError> {
        let snapshot = self.snapshot.load_full();
        let entry =
            snapshot.as_ref().and_then(|snapshot| snapshot.entries.get(agent)).ok_or_else(|| not_found(agent))?;
        if entry.suspended {
            return Err(suspended(agent));
        }
        let limit = options.timeout.map_or(entry.agent.timeout, |asked| asked.min(entry.agent.timeout));
        let deadline = Instant::now() + limit;
        let (key, caller, bytes) = (options.idempotency.take(), options.caller.clone(), options.bytes.clone());
        let call = async || {
            let lane = options.caller.as_ref().map_or("", |caller| caller.namespace.as_str());
            let _place = entry.gate.enter(lane, deadline).await?;
            let timeout = Some(deadline.saturating_duration_since(Instant::now()));
            entry.agent.execute(request, RunOptions { timeout, ..options }).await
        };
        let Some(key) = key else { return call().await };
        let scope = Scope { door: Door::Tool, agent: entry.key(), caller };
        self.idempotency.once_executed(scope, key, (deadline, bytes), call).await
    }

    fn agent_of_run(&self, run_id: &str) -> Option<String> {
        self.desks.agent(run_id)
    }

    fn decide(&self, run_id: &str, approval: &str, ruling: Ruling) -> Result<(), RunError> {
        self.desks.decide(run_id, approval, ruling)
    }

    fn memory(&self, agent: &str) -> Option<AgentHistory> {
        let snapshot = self.snapshot.load();
        snapshot.as_ref()?.entries.get(agent).map(|entry| AgentHistory::of(&entry.agent))
    }

    fn verifier(&self) -> Arc<dyn TokenVerifier> {
        Arc::new(Current(self.verifier.load_full()))
    }
}

/// The verifier of the moment, kept for one call.
struct Current(Arc<Box<dyn TokenVerifier>>);

impl TokenVerifier for Current {
    fn verify(&self, token: &str) -> Result<agent_pod_core::access::Caller, RunError> {
        self.0.verify(token)
    }
}

fn not_found(agent: &str) -> RunError {
    RunError::new(
        ErrorCode::AgentNotFound,
        format!("there is no agent `{agent}` here; GET /v1/agents lists those that are"),
    )
}

/// Nobody can tell when a person will unset it: a minute is a polite pace to ask again.
fn suspended(agent: &str) -> RunError {
    RunError::new(ErrorCode::Suspended, format!("agent `{agent}` is suspended; unset spec.suspend to let it answer"))
        .retry_after(Duration::from_secs(60))
}
