//! What the doors may ask of the runtime: the whole interface of the API layer.

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

use crate::access::{AccessPolicy, Caller, TokenVerifier};
use crate::agent::{Executed, ToolRequest};
use crate::byte_pool::RunBytes;
use crate::error::{ErrorCode, RunError};
use crate::event::{RunAnswer, TurnEvent, TurnRequest};
use crate::memory::history::AgentHistory;
use crate::peer::{Bill, Family};
use crate::tool::{Desk, Ruling};

/// A run that has been let in. Dropping it cancels the run and everything that it does.
pub struct Run {
    /// Id of the run.
    pub run_id: String,
    /// Its events, ending with exactly one `Done` or `Error`.
    pub events: BoxStream<'static, TurnEvent>,
    /// Where it waits for approvals, and for its caller to carry out calls.
    pub desk: Arc<Desk>,
}

impl Run {
    /// Runs to the end and gives the answer.
    ///
    /// # Errors
    /// As the run's `error` event.
    pub async fn answer(mut self) -> Result<RunAnswer, RunError> {
        while let Some(event) = self.events.next().await {
            match event {
                TurnEvent::Done(answer) => return Ok(*answer),
                TurnEvent::Error(error) => return Err(*error),
                TurnEvent::Status(_)
                | TurnEvent::Token(_)
                | TurnEvent::ToolCall { .. }
                | TurnEvent::ToolResult { .. }
                | TurnEvent::ApprovalRequired { .. }
                | TurnEvent::Step(_) => {}
            }
        }
        Err(RunError::new(ErrorCode::Internal, "the run ended without an answer").in_run(&self.run_id))
    }
}

/// What a call carries beside its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// The caller's trace (`traceparent` of W3C trace context): its trace id.
    pub trace_id: Option<String>,
    /// The caller's deadline (`X-Request-Timeout-Ms`); the shorter one of it and the agent's holds.
    pub timeout: Option<Duration>,
    /// Who calls: runs wait in a queue of their caller's namespace, and idempotency keys are the caller's own.
    pub caller: Option<Caller>,
    /// The caller's key (`Idempotency-Key`): a repeated call gets the stored answer.
    pub idempotency: Option<IdempotencyKey>,
    /// Whether the caller reads events. Else nothing goes out before the run's end, and a provider that breaks off in
    /// the middle of its answer can still be followed by the next one.
    pub streaming: bool,
    /// Whether the caller carries out calls of client tools.
    pub attended: bool,
    /// How many agents have called each other to get here (`X-Astromesh-Depth`).
    pub depth: u32,
    /// The runs that are begun for the same call; only within a process.
    pub family: Family,
    /// What the agents that have called each other to get here may still use, in tokens (`X-Astromesh-Tokens-Left`).
    pub tokens_max: Option<u64>,
    /// Whether the caller wants no tokens, only what happens on the way: nothing of the answer goes out before its end.
    pub quiet: bool,
    /// Where what it uses is left for the run that has called it; only within a process.
    pub bill: Option<Bill>,
    /// The bytes that are held for it until it has ended.
    pub bytes: RunBytes,
}

/// A call that is to be carried out once, however often it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key, as the caller has chosen it.
    pub key: String,
    /// A hash of the call's body: another body under the same key is an error.
    pub fingerprint: [u8; 32],
}

/// An agent as callers may see it in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSummary {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// One sentence of purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The orchestration pattern.
    pub pattern: &'static str,
    /// The revision that it runs.
    pub revision: String,
    /// `ready`, or `suspended`.
    pub status: &'static str,
}

/// An agent as callers may see it alone: never a prompt, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentDetails {
    /// What the list says.
    #[serde(flatten)]
    pub summary: AgentSummary,
    /// Its models as `provider/model`, in the order in which they are tried.
    pub models: Vec<String>,
    /// The tools that the model sees.
    pub tools: Vec<String>,
    /// The model roles it has.
    pub roles: Vec<String>,
}

/// A tool as callers may see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolSummary {
    /// Its name.
    pub name: String,
    /// Who carries it out.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it is for.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: serde_json::Value,
}

/// An agent's side that the doors see.
pub struct AgentHandle {
    /// As callers may see it.
    pub details: AgentDetails,
    /// The tools that it may use.
    pub tools: Vec<ToolSummary>,
    /// Who may call.
    pub access: AccessPolicy,
    /// The largest request body.
    pub body_bytes_max: usize,
    /// How long a call waits for a place, and for the bytes that it takes.
    pub queue_timeout: Duration,
    /// Whether the chat completions door opens to it.
    pub openai: bool,
}

/// The agents of a pod.
#[async_trait]
pub trait AgentService: Send + Sync {
    /// Every agent, by name.
    fn agents(&self) -> Vec<Arc<AgentHandle>>;
    /// One agent.
    fn agent(&self, name: &str) -> Option<Arc<AgentHandle>>;
    /// Lets a run in, where need be after a wait in the queue, and gives its events; nothing happens until they are
    /// polled.
    ///
    /// # Errors
    /// `agent_not_found`, `overloaded`, `suspended`, `unsupported_content`, `deadline_exceeded` in the queue,
    /// `idempotency_mismatch`, `idempotency_in_progress`.
    async fn start(&self, agent: &str, request: TurnRequest, options: RunOptions) -> Result<Run, RunError>;
    /// What an agent remembers.
    fn memory(&self, agent: &str) -> Option<AgentHistory>;
    /// Carries out a call of a tool outside a run, with everything that holds within one.
    ///
    /// # Errors
    /// `agent_not_found`, `suspended`, `overloaded`, `tool_not_found`, `tool_forbidden`, `rate_limited`.
    async fn execute(&self, agent: &str, request: ToolRequest, options: RunOptions) -> Result<Executed, RunError>;
    /// The agent of a run that waits for approvals here, or did not long ago.
    fn agent_of_run(&self, run_id: &str) -> Option<String>;
    /// Answers an approval that a run waits for.
    ///
    /// # Errors
    /// `run_not_found` where no run here asks for it, `already_decided`.
    fn decide(&self, run_id: &str, approval: &str, ruling: Ruling) -> Result<(), RunError>;
    /// Verifies callers' tokens.
    fn verifier(&self) -> Arc<dyn TokenVerifier>;
}

/// The state of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct TaggedState {
    /// A hash of what an operator acts on, in characters that an HTTP header takes.
    pub tag: String,
    /// All of it.
    pub body: serde_json::Value,
}

/// What the admin port may ask of the runtime.
pub trait AdminService: Send + Sync {
    /// Whether the threads that serve callers do anything at all. Nothing outside of the process may decide this: a
    /// restart would not cure it.
    fn alive(&self) -> bool {
        true
    }
    /// Whether calls may come: a document is loaded and the pod is not stopping.
    fn ready(&self) -> bool;
    /// What `/internal/state` answers.
    fn state(&self) -> TaggedState;
    /// Sees when the tag of the state changes, from now on.
    fn state_changes(&self) -> watch::Receiver<String>;
    /// The metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
    /// Whether a call from elsewhere may read the state: `Err` for all but the operator.
    ///
    /// # Errors
    /// `unauthenticated` or `forbidden`.
    fn may_read_state(&self, token: Option<&str>) -> Result<(), RunError>;
}
