//! What agents remember, as it is sent.

use agent_pod_core::memory::history::{HistoryMessage, HistoryPage};
use agent_pod_core::memory::semantic::Found;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One page of a session: oldest first within it, the newest page first.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Name of the agent.
    pub agent: String,
    /// The session.
    pub session_id: String,
    /// The same under the name that the original system used.
    #[serde(rename = "session_id")]
    pub session_id_original: String,
    /// The messages.
    pub history: Vec<HistoryEntry>,
    /// What older turns were folded into, with the strategy `summary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub summary: Option<String>,
    /// `cursor` of the page of older messages; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// A message of a session.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// `user`, `assistant` or `tool`.
    #[schema(value_type = String, example = "user")]
    pub role: agent_pod_core::message::Role,
    /// The text.
    pub content: String,
    /// The tools that an assistant's message asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub tool_calls: Vec<HistoryToolCall>,
    /// The call that a tool's message answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tool_call_id: Option<String>,
    /// When its turn ended (RFC 3339).
    pub timestamp: String,
}

/// A tool that was asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct HistoryToolCall {
    /// Id of the call.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// Its arguments.
    #[schema(value_type = Object)]
    pub arguments: Value,
}

/// A session that was forgotten.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cleared {
    /// `cleared`.
    pub status: &'static str,
    /// Name of the agent.
    pub agent: String,
    /// The session.
    pub session_id: String,
    /// The same under the name that the original system used.
    #[serde(rename = "session_id")]
    pub session_id_original: String,
    /// How many messages it had.
    pub deleted: u64,
}

/// What was said that is close to a query, the best first.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SemanticResults {
    /// Name of the agent.
    pub agent: String,
    /// The query.
    pub query: String,
    /// What was found.
    pub results: Vec<SemanticResult>,
}

/// Something that was said.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SemanticResult {
    /// The text.
    pub content: String,
    /// The cosine of the angle between its vector and the query's, from 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub score: f64,
    /// The session in which it was said.
    pub session_id: String,
    /// When it was said (RFC 3339).
    pub timestamp: String,
}

impl SemanticResults {
    pub(crate) fn new(agent: String, query: String, found: Vec<Found>) -> Self {
        let result =
            |Found { content, score, session_id, timestamp }| SemanticResult { content, score, session_id, timestamp };
        Self { agent, query, results: found.into_iter().map(result).collect() }
    }
}

impl History {
    pub(crate) fn new(agent: String, session_id: String, page: HistoryPage) -> Self {
        let HistoryPage { messages, summary, next_cursor } = page;
        let history = messages.into_iter().map(HistoryEntry::from).collect();
        Self { agent, session_id_original: session_id.clone(), session_id, history, summary, next_cursor }
    }
}

impl From<HistoryMessage> for HistoryEntry {
    /// What a model thought is for no caller, and images are not sent back.
    fn from(HistoryMessage { message, timestamp }: HistoryMessage) -> Self {
        let calls = message.tool_calls.into_iter();
        let tool_calls =
            calls.map(|call| HistoryToolCall { id: call.id, name: call.name, arguments: call.arguments }).collect();
        Self { role: message.role, content: message.content, tool_calls, tool_call_id: message.tool_call_id, timestamp }
    }
}
