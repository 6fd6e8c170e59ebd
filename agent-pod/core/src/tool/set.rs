//! The tools of an agent, and the way that every call of them goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::arguments::normalized;
use super::rate::Windows;
use super::{ApprovalSettings, Arguments, Permissions, RateLimit, Tool, ToolKind, ToolSpec, cut};
use crate::agent::Turn;
use crate::model::breaker::{Breaker, BreakerSettings, Circuit};
use crate::peer::Target;

/// A tool that has failed so often in a row is left alone …
const FAILURES_MAX: u32 = 3;
/// … for so long.
const COOLDOWN: Duration = Duration::from_secs(60);

/// How long a call may take where nothing is said.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What has been learnt of a tool; outlives reloads.
#[derive(Debug)]
pub struct ToolState {
    breaker: Breaker,
    windows: Windows,
}

impl Default for ToolState {
    fn default() -> Self {
        let breaker = Breaker::new(BreakerSettings { failures_max: FAILURES_MAX, cooldown: COOLDOWN });
        Self { breaker, windows: Windows::default() }
    }
}

/// What a tool of an agent is made of.
pub struct ToolSettings {
    /// As the model sees it.
    pub spec: ToolSpec,
    /// Who carries it out.
    pub kind: ToolKind,
    /// The schema of its arguments, compiled.
    pub arguments: Arguments,
    /// How often a session, or a caller without one, may call it; absent: as often as it likes.
    pub rate: Option<RateLimit>,
    /// How long one call may take.
    pub timeout: Duration,
    /// Whether a person has to agree to each call.
    pub approval: Option<ApprovalSettings>,
    /// What carries it out; absent: the caller of the run.
    pub port: Option<Arc<dyn Tool>>,
    /// What has been learnt of it.
    pub state: Arc<ToolState>,
}

/// A tool of an agent.
pub type Registered = ToolSettings;

/// What holds for all tools of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most tokens of a result that reach the model.
    pub result_tokens_max: u64,
    /// Calls of one reply that go on at the same time.
    pub parallel_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { result_tokens_max: 8000, parallel_max: 16 }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it succeeded.
    pub ok: bool,
    /// What the model gets to see.
    pub result: String,
    /// Whether the result was too long, and was cut.
    pub truncated: bool,
}

/// Why a tool is not called at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none of this name.
    #[error("there is no tool `{0}`")]
    Unknown(String),
    /// The agent's permissions exclude it.
    #[error("the agent may not use the tool `{0}`")]
    Forbidden(String),
    /// The session, or the caller without one, has called it too often of late.
    #[error("the rate limit of the tool `{tool}` is used up; call it again in {} s", seconds(*.wait))]
    RateLimited {
        /// Its name.
        tool: String,
        /// How long until it may be called.
        wait: Duration,
    },
    /// The arguments do not match its schema.
    #[error("{0}")]
    Arguments(String),
}

/// In whole seconds, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// The tools of an agent by name.
#[derive(Clone, Default)]
pub struct ToolSet {
    tools: Arc<BTreeMap<String, Arc<Registered>>>,
    specs: Arc<[ToolSpec]>,
    permissions: Permissions,
    limits: Limits,
}

impl ToolSet {
    /// The set of these tools, without limits of their own; a later one of the same name wins.
    ///
    /// # Panics
    /// When a tool's own schema is none.
    #[must_use]
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        let registered = tools.into_iter().map(|port| {
            let spec = port.spec();
            Arc::new(Registered {
                arguments: Arguments::compile(&spec.parameters).expect("a tool's own schema is a schema"),
                spec,
                kind: ToolKind::Internal,
                rate: None,
                timeout: TIMEOUT,
                approval: None,
                port: Some(port),
                state: Arc::default(),
            })
        });
        Self::configured(registered, Permissions::default(), Limits::default())
    }

    /// The set of these tools; a later one of the same name wins. The model sees those that the permissions let through.
    #[must_use]
    pub fn configured(
        tools: impl IntoIterator<Item = Arc<Registered>>,
        permissions: Permissions,
        limits: Limits,
    ) -> Self {
        let tools: BTreeMap<_, _> = tools.into_iter().map(|tool| (tool.spec.name.clone(), tool)).collect();
        let specs = tools.values().map(|tool| &tool.spec).filter(|spec| permissions.permit(&spec.name)).cloned();
        Self { specs: specs.collect(), tools: Arc::new(tools), permissions, limits }
    }

    /// The tools as the model sees them, by name.
    #[must_use]
    pub fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Whether there is a tool of this name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.tools.contains_key(name)
    }

    /// Every tool, by name.
    pub fn all(&self) -> impl Iterator<Item = &Registered> {
        self.tools.values().map(AsRef::as_ref)
    }

    /// Every tool that may be used, by name.
    pub fn permitted(&self) -> impl Iterator<Item = &Registered> {
        self.all().filter(|tool| self.permissions.permit(&tool.spec.name))
    }

    /// What holds for all of them.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether calls of this name are the caller's to carry out.
    #[must_use]
    pub fn is_client(&self, name: &str) -> bool {
        self.permissions.permit(name) && self.tools.get(name).is_some_and(|tool| tool.port.is_none())
    }

    /// The agent that calls of this name are for, if it is one.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&Target> {
        self.tools.get(name)?.port.as_ref()?.target()
    }

    /// The tool that a call is for, and the arguments that it means, if it may be made. Counts the call
    /// among those of `counted_as`.
    ///
    /// # Errors
    /// Why it may not.
    pub async fn admit(
        &self,
        name: &str,
        arguments: &Value,
        counted_as: &str,
    ) -> Result<(&Registered, Value), Refusal> {
        let tool = self.tools.get(name).ok_or_else(|| Refusal::Unknown(name.to_owned()))?;
        if !self.permissions.permit(name) {
            return Err(Refusal::Forbidden(name.to_owned()));
        }
        let arguments = tool.arguments.check(normalized(arguments)).await.map_err(Refusal::Arguments)?;
        if let Some(limit) = tool.rate {
            let taken = tool.state.windows.take(counted_as, limit);
            taken.map_err(|wait| Refusal::RateLimited { tool: name.to_owned(), wait })?;
        }
        Ok((tool, arguments))
    }
}

impl Outcome {
    /// A call that gave no result, for this reason.
    #[must_use]
    pub fn failed(sentence: impl Into<String>) -> Self {
        Self { ok: false, result: sentence.into(), truncated: false }
    }

    /// The same within a budget.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        let (result, truncated) = cut(self.result, limits.result_tokens_max);
        Self { ok: self.ok, result, truncated }
    }
}

impl Registered {
    /// Whether it is left alone because it has failed too often.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.state.breaker.circuit() == Circuit::Open
    }

    /// Calls the tool with arguments that have been admitted. One that does not work is booked as missing.
    pub async fn run(&self, port: &dyn Tool, arguments: &Value, turn: &Turn<'_>) -> Outcome {
        let name = &self.spec.name;
        let permit = match self.state.breaker.acquire() {
            Ok(permit) => permit,
            Err(wait) => {
                turn.ledger.degrade(name);
                return Outcome::failed(format!(
                    "the tool `{name}` has failed too often and is left alone for another {} s; go on without it",
                    seconds(wait)
                ));
            }
        };
        let own = Instant::now() + self.timeout;
        let deadline = own.min(turn.deadline);
        let inner = Turn { deadline, ..*turn };
        match timeout_at(deadline, port.call(arguments, &inner)).await {
            Ok(Ok(result)) => {
                permit.success();
                Outcome { ok: true, result, truncated: false }
            }
            Ok(Err(error)) if error.broken => {
                turn.ledger.degrade(name);
                if permit.failure() {
                    tracing::warn!(tool = %name, cause = %error, "a tool is left alone after failures in a row");
                }
                Outcome::failed(error.sentence)
            }
            Ok(Err(error)) => {
                permit.success();
                Outcome::failed(error.sentence)
            }
            Err(_elapsed) => {
                // A caller in a hurry proves nothing of the tool.
                if deadline == own {
                    turn.ledger.degrade(name);
                    if permit.failure() {
                        tracing::warn!(tool = %name, "a tool is left alone after it was too slow in a row");
                    }
                }
                Outcome::failed(format!("the tool `{name}` did not answer within {:?}", self.timeout))
            }
        }
    }
}

/// The schema of a tool that takes any object.
#[must_use]
pub fn any_object() -> Value {
    json!({"type": "object"})
}
