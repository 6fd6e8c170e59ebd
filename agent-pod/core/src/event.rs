//! What a run says while it goes on, and its answer. The serialized forms are the wire's.

use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::{ErrorBody, RunError};
use crate::guardrail::{Direction, Hit, Kind};
use crate::message::{Message, ToolCall};
use crate::model::{Parameters, ResponseFormat, ToolChoice};
use crate::money::Money;
use crate::tool::ToolSpec;
use crate::usage::{Tokens, Usage};

/// What a caller asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TurnRequest {
    /// The question.
    pub query: String,
    /// The session to go on with; absent: a fresh one.
    pub session_id: Option<String>,
    /// Variables for the prompt, at its top level.
    pub context: Map<String, Value>,
    /// Images as URLs or data URLs.
    pub images: Vec<String>,
    /// What a caller of the chat completions API sends beside the question; absent at the other doors.
    pub chat: Option<Box<ChatRequest>>,
    /// The conversation that another agent hands over with the question.
    pub handoff: Option<Box<Handoff>>,
}

/// A conversation that one agent hands over to another: no memory is read or written, because whoever was asked first
/// keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handoff {
    /// Name of the agent that hands it over.
    pub from: String,
    /// What the next one should know of it.
    pub note: Option<String>,
    /// What was said before the question, as texts of user and assistant.
    pub transcript: Vec<Message>,
    /// How often it may still be handed on.
    pub left: u32,
    /// To whom it may be handed on, each as `namespace/name`.
    pub peers: Vec<String>,
}

/// A conversation that a run has not answered, but handed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HandedOn {
    /// The agent that shall have it, as `namespace/name`.
    pub agent: String,
    /// What that one should know of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A request of the chat completions API: its caller keeps the conversation, so that no memory is read or written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChatRequest {
    /// The whole conversation without its system messages; takes the place of history and question.
    pub messages: Vec<Message>,
    /// The caller's own system messages, which follow the agent's system prompt.
    pub system: Vec<String>,
    /// Tools that the caller carries out: a run ends with the calls of them.
    pub tools: Vec<ToolSpec>,
    /// Which tools the model must, may or must not ask for.
    pub tool_choice: Option<ToolChoice>,
    /// What form the answer shall have.
    pub response_format: Option<ResponseFormat>,
    /// Sampling parameters; those that are set win over the candidate's, and of two token limits the lower one.
    pub parameters: Parameters,
}

/// One event of a run. Exactly one [`TurnEvent::Done`] or [`TurnEvent::Error`] ends it.
#[derive(Clone, Debug)]
pub enum TurnEvent {
    /// The run has begun.
    Status(Status),
    /// A piece of the final answer; the pieces joined are the answer.
    Token(String),
    /// The model asks for a tool.
    ToolCall {
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
        /// Its arguments.
        arguments: Value,
    },
    /// The tool has answered.
    ToolResult {
        /// Id of the call.
        id: String,
        /// Name of the tool.
        name: String,
        /// Whether it succeeded.
        ok: bool,
        /// What the model gets to see.
        result: String,
    },
    /// A call waits for a person to agree.
    ApprovalRequired {
        /// Id of the approval, which is told here alone.
        id: String,
        /// Id of the call.
        call_id: String,
        /// Name of the tool.
        name: String,
        /// Its arguments.
        arguments: Value,
        /// When it counts as denied (RFC 3339).
        expires_at: String,
    },
    /// A part of the run that is no tool call has ended: a plan, a stage, a branch.
    Step(Box<Step>),
    /// The answer.
    Done(Box<RunAnswer>),
    /// The run failed.
    Error(Box<RunError>),
}

/// The run has begun.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `processing`.
    pub status: &'static str,
    /// Name of the agent.
    pub agent: String,
    /// Id of the run.
    pub run_id: String,
    /// The session, made up where the caller named none.
    pub session_id: String,
}

/// The answer of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunAnswer {
    /// Id of the run.
    pub run_id: String,
    /// Name of the agent.
    pub agent: String,
    /// The session, made up where the caller named none.
    pub session_id: String,
    /// The same under the name that the original system used.
    #[serde(rename = "session_id")]
    pub session_id_original: String,
    /// The answer.
    pub answer: String,
    /// Why the run ended.
    pub finish: Finish,
    /// Whether a guardrail stopped it.
    pub blocked: bool,
    /// The rule that stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<Hit>,
    /// What guardrails found and let pass.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "warnings")]
    pub warnings: Vec<Hit>,
    /// What happened on the way.
    pub steps: Vec<Step>,
    /// What it used.
    pub usage: Usage,
    /// Every provider that was tried.
    pub attempts: Vec<Attempt>,
    /// The answer as data, where the agent has an output schema; null when the answer does not fit it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
    /// Why there is no data, although the agent has an output schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_error: Option<String>,
    /// What was missing while it ran, for example `memory`.
    pub degraded: Vec<String>,
    /// Id of the trace (W3C trace context).
    pub trace_id: String,
    /// Whether a model's token limit cut the answer off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// To whom the conversation goes that was handed over to this run, if it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handoff: Option<HandedOn>,
    /// The calls of the caller's own tools with which the run has ended; for the chat completions door.
    #[serde(skip)]
    pub client_calls: Vec<ToolCall>,
}

/// The action of a warning says nothing: it is always the same.
fn warnings<S: Serializer>(hits: &[Hit], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Warning<'a> {
        direction: Direction,
        #[serde(rename = "type")]
        kind: Kind,
        reason: &'a str,
    }
    serializer.collect_seq(hits.iter().map(|hit| Warning {
        direction: hit.direction,
        kind: hit.kind,
        reason: &hit.reason,
    }))
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model had its answer.
    #[default]
    Stop,
    /// The most model calls were made; the answer is the best so far.
    StepLimit,
    /// A guardrail stopped it.
    Blocked,
    /// Another agent has the conversation now: the answer is its.
    Handoff,
}

/// One step of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Counting up from 1.
    pub index: u32,
    /// `tool`, `approval`, `plan`, `stage`, `branch`, `delegate`, `handoff`.
    #[serde(rename = "type")]
    pub step_type: &'static str,
    /// Name of the tool, of the plan's step, of the stage.
    pub name: String,
    /// The agent that took it, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Arguments of a tool call.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub arguments: Value,
    /// What came of it: what the model got to see.
    pub result: String,
    /// Whether it succeeded.
    pub ok: bool,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether the result was too long for the model, and was cut.
    pub truncated: bool,
    /// Who decided what, of an `approval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRecord>,
}

/// Who decided on a call, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRecord {
    /// `approve` or `deny`.
    pub decision: &'static str,
    /// Who has decided; absent where nobody did in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When (RFC 3339).
    pub at: String,
    /// Why, in the decider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One try of one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Name of the Provider.
    pub provider: String,
    /// Name of the model.
    pub model: String,
    /// `ok`, or the stable code of its failure.
    pub outcome: &'static str,
    /// What failed, in words; absent when it worked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The whole call.
    pub duration_ms: u64,
    /// Until its first content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_first_token_ms: Option<u64>,
    /// The same and what it used, for metrics.
    #[serde(skip)]
    pub measures: Measures,
}

/// What was measured of a try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// The whole call.
    pub duration: Duration,
    /// Until its first content.
    pub first: Option<Duration>,
    /// What it used; nothing where nothing came.
    pub tokens: Tokens,
    /// What that costs.
    pub cost: Money,
}

impl TurnEvent {
    /// The `type` of the event.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Token(_) => "token",
            Self::ToolCall { .. } => "tool_call",
            Self::ToolResult { .. } => "tool_result",
            Self::ApprovalRequired { .. } => "approval_required",
            Self::Step(_) => "step",
            Self::Done(_) => "done",
            Self::Error(_) => "error",
        }
    }

    /// Whether it ends its run.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match self {
            Self::Done(_) | Self::Error(_) => true,
            Self::Status(_)
            | Self::Token(_)
            | Self::ToolCall { .. }
            | Self::ToolResult { .. }
            | Self::ApprovalRequired { .. }
            | Self::Step(_) => false,
        }
    }

    /// The event as one JSON object with its `type`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let body = match self {
            Self::Status(status) => Body::Status(status),
            Self::Token(content) => Body::Token { content },
            Self::ToolCall { id, name, arguments } => Body::ToolCall { id, name, arguments },
            Self::ToolResult { id, name, ok, result } => Body::ToolResult { id, name, ok: *ok, result },
            Self::ApprovalRequired { id, call_id, name, arguments, expires_at } => {
                Body::ApprovalRequired { id, call_id, name, arguments, expires_at }
            }
            Self::Step(step) => Body::Step {
                index: step.index,
                step_type: step.step_type,
                name: &step.name,
                agent: step.agent.as_deref(),
                ok: step.ok,
                result: &step.result,
            },
            Self::Done(answer) => Body::Done(answer),
            Self::Error(error) => Body::Error { error: error.body() },
        };
        serde_json::to_string(&body).expect("events have string keys and finite numbers only")
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Body<'a> {
    Status(&'a Status),
    Token {
        content: &'a str,
    },
    ToolCall {
        id: &'a str,
        name: &'a str,
        arguments: &'a Value,
    },
    ToolResult {
        id: &'a str,
        name: &'a str,
        ok: bool,
        result: &'a str,
    },
    #[serde(rename_all = "camelCase")]
    ApprovalRequired {
        id: &'a str,
        call_id: &'a str,
        name: &'a str,
        arguments: &'a Value,
        expires_at: &'a str,
    },
    #[serde(rename_all = "camelCase")]
    Step {
        index: u32,
        step_type: &'a str,
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        agent: Option<&'a str>,
        ok: bool,
        result: &'a str,
    },
    Done(&'a RunAnswer),
    Error {
        error: ErrorBody,
    },
}
