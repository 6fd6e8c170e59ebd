//! The shapes on the wire as the OpenAPI document shows them.
//!
//! Core's types are what is sent; core knows nothing of OpenAPI, so these mirror them. A test holds the two together.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::handoff::{HandedOn, Handoff};

/// Whether the pod answers.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: &'static str,
    /// The version that runs.
    pub version: &'static str,
}

/// The agents that the caller may call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AgentList {
    /// By name.
    pub agents: Vec<AgentSummary>,
}

/// An agent in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSummary {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub display_name: Option<String>,
    /// One sentence of purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub description: Option<String>,
    /// The orchestration pattern.
    #[schema(example = "react")]
    pub pattern: String,
    /// The revision that it runs.
    pub revision: String,
    /// `ready`.
    pub status: String,
}

/// One agent: never a prompt, never a secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
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

/// A question. Null is the same as absent.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRequest {
    /// The question.
    #[schema(min_length = 1, example = "Where is order 7?")]
    pub query: String,
    /// The session to go on with; absent: a fresh one.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub session_id: Option<String>,
    /// The same under the name that the original system used; `sessionId` wins.
    #[serde(rename = "session_id")]
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub session_id_original: Option<String>,
    /// Variables for the prompt, at its top level.
    pub context: Option<Map<String, Value>>,
    /// Images as http or https URLs, or as data URLs with base64.
    #[schema(max_items = 64)]
    pub images: Option<Vec<String>>,
    /// Whether the answer shall be a stream of events.
    pub stream: Option<bool>,
    /// A conversation that an agent hands over with its question; agents set it when they hand over to another one.
    pub handoff: Option<Handoff>,
}

/// The answer of a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
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
    #[schema(nullable = false)]
    pub guardrail: Option<GuardrailHit>,
    /// What guardrails found and let pass; absent where there is nothing.
    #[schema(required = false)]
    pub warnings: Vec<GuardrailWarning>,
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
    #[schema(nullable = false)]
    pub data_error: Option<String>,
    /// What was missing while it ran, for example `memory`.
    pub degraded: Vec<String>,
    /// Id of the trace (W3C trace context).
    pub trace_id: String,
    /// True where a model's token limit cut the answer off, else absent.
    #[schema(required = false)]
    pub truncated: bool,
    /// Only for a question that came with `handoff`: to whom the conversation goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub handoff: Option<HandedOn>,
}

/// What a guardrail found, and what it did.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GuardrailHit {
    /// Which way the text went: `input` or `output`.
    #[schema(example = "input")]
    pub direction: String,
    /// The type of the rule.
    #[serde(rename = "type")]
    #[schema(example = "topic_filter")]
    pub kind: String,
    /// What the rule did.
    #[schema(example = "block")]
    pub action: String,
    /// What it found.
    #[schema(example = "topic `politics`")]
    pub reason: String,
}

/// What a guardrail found and let pass.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct GuardrailWarning {
    /// Which way the text went: `input` or `output`.
    pub direction: String,
    /// The type of the rule.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it found.
    pub reason: String,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model had its answer.
    Stop,
    /// The most model calls were made; the answer is the best so far.
    StepLimit,
    /// A guardrail stopped it.
    Blocked,
    /// Another agent than the one that was asked has the conversation, and the answer is its.
    Handoff,
}

/// One step of a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Counting up from 1.
    pub index: u32,
    /// `tool`, `approval`, `plan`, `stage`, `branch`, `delegate`, `handoff`.
    #[serde(rename = "type")]
    pub step_type: String,
    /// Name of the tool, of the plan's step, of the stage, of the agent that the conversation goes to.
    pub name: String,
    /// The agent that took it, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// Arguments of a tool call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
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
    #[schema(nullable = false)]
    pub approval: Option<ApprovalRecord>,
}

/// Who decided on a call, and when.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRecord {
    /// `approve` or `deny`.
    pub decision: String,
    /// Who has decided; absent where nobody did in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub by: Option<String>,
    /// When (RFC 3339).
    pub at: String,
    /// Why, in the decider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
}

/// The tools of the agents that the caller may call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ToolList {
    /// By agent and name.
    pub tools: Vec<AgentTool>,
}

/// A tool of an agent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AgentTool {
    /// Name of the agent.
    pub agent: String,
    /// Name of the tool.
    pub name: String,
    /// Who carries it out: `internal`, `webhook` or `client`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is for.
    pub description: String,
    /// JSON Schema of its arguments.
    pub parameters: Value,
}

/// A call of a tool. Null is the same as absent.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolRequest {
    /// Name of the agent.
    pub agent: String,
    /// Name of the tool; required, here or as `tool_name`.
    pub tool: Option<String>,
    /// The same under the name that the original system used; `tool` wins.
    #[serde(rename = "tool_name")]
    pub tool_original: Option<String>,
    /// Its arguments; absent: none.
    pub arguments: Option<Map<String, Value>>,
    /// The session, whose rate limits hold; absent: a fresh one.
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub session_id: Option<String>,
    /// The same under the name that the original system used; `sessionId` wins.
    #[serde(rename = "session_id")]
    #[schema(min_length = 1, max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub session_id_original: Option<String>,
}

/// How a call of a tool ended: `result` where it succeeded, else `error`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolAnswer {
    /// Name of the tool.
    pub tool: String,
    /// Whether it succeeded.
    pub ok: bool,
    /// What a model would get to see.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub result: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// Whether the result was too long, and was cut.
    pub truncated: bool,
}

/// A decision on a call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ApprovalRequest {
    /// `approve` or `deny`.
    #[schema(pattern = "^(approve|deny)$", example = "approve")]
    pub decision: String,
    /// Why; the model is told.
    #[schema(max_length = 1000)]
    pub reason: Option<String>,
}

/// A call that has been decided.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// Id of the run.
    pub run_id: String,
    /// Id of the call.
    pub id: String,
    /// `approve` or `deny`.
    pub decision: String,
}

/// Tokens of a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens of all prompts.
    pub tokens_in: u64,
    /// Tokens of all replies.
    pub tokens_out: u64,
    /// Cached tokens of all prompts.
    pub tokens_cached: u64,
    /// What it cost by the prices of the Providers, as a decimal number.
    #[schema(example = "0.0000846")]
    pub cost: String,
    /// The currency of `cost`.
    #[schema(example = "USD")]
    pub currency: String,
    /// Whether some server did not count, so that these are estimates.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub estimated: Option<bool>,
    /// The same by model and role, in the order of their first call.
    pub by_model: Vec<ModelUsage>,
}

/// Tokens of one model within a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelUsage {
    /// Name of the Provider.
    pub provider: String,
    /// Name of the model.
    pub model: String,
    /// The role in which it was called.
    pub role: String,
    /// Calls that it answered.
    pub calls: u64,
    /// Tokens of its prompts.
    pub tokens_in: u64,
    /// Tokens of its replies.
    pub tokens_out: u64,
    /// Cached tokens of its prompts.
    pub tokens_cached: u64,
    /// What it cost, as a decimal number.
    #[schema(example = "0.0000846")]
    pub cost: String,
}

/// One try of one provider.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Name of the Provider.
    pub provider: String,
    /// Name of the model.
    pub model: String,
    /// `ok`, or the stable code of its failure.
    pub outcome: String,
    /// What failed, in words; absent when it worked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub message: Option<String>,
    /// The whole call.
    pub duration_ms: u64,
    /// Until its first content.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub time_to_first_token_ms: Option<u64>,
}

/// A server-sent event of a run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RunEventFrame {
    /// The `type` of the event.
    #[schema(example = "token")]
    pub event: String,
    /// Counting up from 1.
    pub id: String,
    /// A `RunEvent` as JSON.
    #[schema(content_media_type = "application/json")]
    pub data: String,
}

/// An event of a run. Exactly one `done` or `error` ends it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run has begun.
    Status(Status),
    /// A piece of the final answer; the pieces joined are the answer.
    Token {
        /// The piece.
        content: String,
    },
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
    /// A part of the run that is no tool call of the agent itself has ended: a plan, a stage, a branch, a step of another agent.
    Step(StepEvent),
    /// A call waits for a person to agree.
    ApprovalRequired(ApprovalRequired),
    /// The answer.
    Done(Box<RunAnswer>),
    /// The run failed.
    Error(ErrorAnswer),
}

/// A call that waits for a person to agree.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRequired {
    /// Id of the approval: whoever decides names it. Nobody can guess it.
    pub id: String,
    /// Id of the call, as in `tool_call`.
    pub call_id: String,
    /// Name of the tool.
    pub name: String,
    /// Its arguments.
    pub arguments: Value,
    /// When it counts as denied (RFC 3339).
    pub expires_at: String,
}

/// A part of the run that is no tool call has ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepEvent {
    /// Of the step in the answer's `steps`.
    pub index: u32,
    /// `plan`, `stage`, `branch`, `delegate`, `handoff`; of other agents also `tool`.
    pub step_type: String,
    /// Name of the plan's step, of the stage, of the agent, of the tool.
    pub name: String,
    /// The agent that took it, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// Whether it succeeded.
    pub ok: bool,
    /// What came of it.
    pub result: String,
}

/// The run has begun.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `processing`.
    pub status: String,
    /// Name of the agent.
    pub agent: String,
    /// Id of the run.
    pub run_id: String,
    /// The session, made up where the caller named none.
    pub session_id: String,
}

/// A failed call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorAnswer {
    /// What failed.
    pub error: ErrorBody,
}

/// What failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// The stable code.
    #[schema(example = "agent_not_found")]
    pub code: String,
    /// What went wrong and what to do.
    pub message: String,
    /// Who has to act.
    pub domain: Domain,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The run, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub run_id: Option<String>,
    /// More on the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub details: Option<ErrorDetails>,
}

/// Who has to act.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// The caller: the request must change.
    Caller,
    /// Whoever set the agent's rules and limits.
    Policy,
    /// Whoever runs the model server.
    Provider,
    /// The agent pod.
    #[serde(rename = "self")]
    Own,
}

/// More on the cause of an error; what does not apply is left out.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ErrorDetails {
    /// Every provider that was tried.
    #[schema(required = false)]
    pub attempts: Vec<Attempt>,
    /// What the run has used all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub usage: Option<Usage>,
    /// What is wrong with the request.
    #[schema(required = false)]
    pub problems: Vec<FieldProblem>,
}

/// One field of a request and what is wrong with it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Path of the field, for example `query`.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}
