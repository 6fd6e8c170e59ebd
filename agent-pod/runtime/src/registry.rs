//! The agents that serve now: one atomic pointer, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use agent_pod_core::access::TokenVerifier;
use agent_pod_core::agent::Agent;
use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::TurnRequest;
use agent_pod_core::model::router::Health;
use agent_pod_core::service::{AgentHandle, AgentService, Run, RunOptions};
use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;

/// An agent that serves, with what its doors need.
pub struct Entry {
    /// The agent.
    pub agent: Arc<Agent>,
    /// As the doors see it.
    pub handle: Arc<AgentHandle>,
    /// Runs at the same time.
    pub runs_max: u32,
    /// Whether it answers nothing.
    pub suspended: bool,
    /// Runs under way; shared with the entry's predecessors, so that a reload does not forget them.
    pub in_flight: Arc<AtomicU32>,
}

/// A model at a provider that some agent uses.
pub struct ModelEntry {
    /// Name of the Provider.
    pub provider: String,
    /// Its namespace.
    pub namespace: String,
    /// The model.
    pub model: String,
    /// How its last call ended.
    pub health: Arc<Health>,
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
}

impl Registry {
    /// A registry that serves nothing yet.
    #[must_use]
    pub fn new(verifier: Box<dyn TokenVerifier>) -> Self {
        Self {
            snapshot: ArcSwapOption::empty(),
            verifier: ArcSwap::from_pointee(verifier),
            draining: AtomicBool::new(false),
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

    /// Runs under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let snapshot = self.snapshot.load();
        let Some(snapshot) = snapshot.as_ref() else { return 0 };
        snapshot.entries.values().map(|entry| u64::from(entry.in_flight.load(Ordering::Relaxed))).sum()
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

    async fn start(&self, agent: &str, request: TurnRequest, options: RunOptions) -> Result<Run, RunError> {
        let snapshot = self.snapshot.load_full();
        let entry =
            snapshot.as_ref().and_then(|snapshot| snapshot.entries.get(agent)).ok_or_else(|| not_found(agent))?;
        if entry.suspended {
            return Err(suspended(agent));
        }
        if !request.images.is_empty() {
            return Err(RunError::new(
                ErrorCode::UnsupportedContent,
                "no model of this agent takes images; send the question as text",
            ));
        }
        let permit = Permit::take(&entry.in_flight, entry.runs_max)?;
        Ok(Arc::clone(&entry.agent).start(request, options, permit))
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

/// A place among the runs of an agent, given back when it is dropped.
struct Permit(Arc<AtomicU32>);

impl Permit {
    fn take(in_flight: &Arc<AtomicU32>, runs_max: u32) -> Result<Self, RunError> {
        let more = |now: u32| (now < runs_max).then_some(now + 1);
        match in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(Self(Arc::clone(in_flight))),
            Err(_) => Err(RunError::new(
                ErrorCode::Overloaded,
                format!(
                    "{runs_max} runs of this agent are under way, as many as this pod takes on; try again in a second"
                ),
            )
            .retry_after(Duration::from_secs(1))),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
