//! The events of a run as the chunks of a chat completion.

use std::time::Duration;

use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{RunAnswer, TurnEvent};
use agent_pod_core::service::Run;
use axum::response::Response;
use axum::response::sse::Event;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::answer::{AssistantRole, ChatFinish, ChatToolCall, ChatUsage, Head, finish, tool_call, usage};
use super::error::envelope;
use crate::events::{event_stream, report_failure, until_end};

/// What ends a stream that went well.
const END: &str = "[DONE]";

/// A piece of a chat completion.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatCompletionChunk {
    /// `chatcmpl-` and the id of the run.
    pub(crate) id: String,
    /// `chat.completion.chunk`.
    pub(crate) object: ChatChunkObject,
    /// When the run began, in seconds since 1970.
    pub(crate) created: u64,
    /// Name of the agent.
    pub(crate) model: String,
    /// One; none in the chunk that tells the tokens.
    #[schema(max_items = 1)]
    pub(crate) choices: Vec<ChatChunkChoice>,
    /// With `stream_options.include_usage` only: null in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ChatUsage>)]
    pub(crate) usage: Option<Option<ChatUsage>>,
}

/// The kind of a chunk.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) enum ChatChunkObject {
    /// The only one.
    #[serde(rename = "chat.completion.chunk")]
    Chunk,
}

/// A piece of the answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatChunkChoice {
    /// 0.
    pub(crate) index: u32,
    /// What is new.
    pub(crate) delta: ChatDelta,
    /// Why the answer ended; null before its end.
    pub(crate) finish_reason: Option<ChatFinish>,
    /// Always null.
    pub(crate) logprobs: Option<bool>,
}

/// What is new in a chunk.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct ChatDelta {
    /// In the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) role: Option<AssistantRole>,
    /// A piece of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) content: Option<String>,
    /// Calls of the caller's own tools, each whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) tool_calls: Option<Vec<ChatToolCall>>,
}

/// How long the head of an answer waits for the run's first word. A failure until then is an answer with a status of its
/// own, which clients know how to repeat; a run that works longer than that has its head, so that nobody on the way takes
/// the connection for dead.
const HEAD_WAIT: Duration = Duration::from_secs(1);

/// Answers with the chunks of the run. The head of the answer waits for the run's first word, and no longer than
/// [`HEAD_WAIT`]; from then on a failure is told in the stream. The caller that leaves takes the run along.
///
/// # Errors
/// As the run's `error` event, if it comes before the head.
pub(crate) async fn respond(run: Run, mut chunks: Chunks) -> Result<Response, RunError> {
    let run_id = run.run_id.clone();
    let mut events = until_end(run);
    let first = match timeout(HEAD_WAIT, first_word(&mut events)).await {
        Ok(Some(TurnEvent::Error(error))) => return Err(error.in_run(&run_id)),
        Ok(None) => return Err(RunError::new(ErrorCode::Internal, "the run ended without an answer").in_run(&run_id)),
        Ok(first @ Some(_)) => first,
        Err(_elapsed) => None,
    };
    let told = stream::iter(first).chain(events).inspect(report_failure);
    let frames = told.flat_map(move |event| stream::iter(chunks.of(&event))).map(|data| Event::default().data(data));
    Ok(event_stream(run_id, frames))
}

/// The first event that chunks tell of. Nothing of it is lost when the wait for it is dropped.
async fn first_word(events: &mut BoxStream<'static, TurnEvent>) -> Option<TurnEvent> {
    loop {
        match events.next().await? {
            event @ (TurnEvent::Token(_) | TurnEvent::Done(_) | TurnEvent::Error(_)) => return Some(event),
            TurnEvent::Status(_)
            | TurnEvent::ToolCall { .. }
            | TurnEvent::ToolResult { .. }
            | TurnEvent::ApprovalRequired { .. }
            | TurnEvent::Step(_) => {}
        }
    }
}

/// Makes chunks of events.
pub(crate) struct Chunks {
    head: Head,
    include_usage: bool,
    /// Whether the role has gone out.
    opened: bool,
    /// Whether any text has gone out.
    spoken: bool,
}

impl Chunks {
    /// Chunks of the run of `head`.
    pub(crate) fn new(head: Head, include_usage: bool) -> Self {
        Self { head, include_usage, opened: false, spoken: false }
    }

    /// The data of the chunks that tell of `event`. What the agent does with its own tools is not told.
    pub(crate) fn of(&mut self, event: &TurnEvent) -> Vec<String> {
        match event {
            TurnEvent::Token(content) => self.text(content),
            TurnEvent::Done(answer) => self.end(answer),
            // No end mark follows: clients take it for the sign of a whole answer.
            TurnEvent::Error(error) => vec![json(&envelope(error))],
            TurnEvent::Status(_)
            | TurnEvent::ToolCall { .. }
            | TurnEvent::ToolResult { .. }
            | TurnEvent::ApprovalRequired { .. }
            | TurnEvent::Step(_) => Vec::new(),
        }
    }

    fn text(&mut self, content: &str) -> Vec<String> {
        let mut told = self.open();
        self.spoken = true;
        told.push(self.delta(ChatDelta { content: Some(content.to_owned()), ..ChatDelta::default() }, None));
        told
    }

    fn open(&mut self) -> Vec<String> {
        if std::mem::replace(&mut self.opened, true) {
            return Vec::new();
        }
        let role = Some(AssistantRole::Assistant);
        vec![self.delta(ChatDelta { role, content: Some(String::new()), tool_calls: None }, None)]
    }

    fn end(&mut self, answer: &RunAnswer) -> Vec<String> {
        // The words of a guardrail take the place of an answer of which nothing has gone out.
        let unsaid = !self.spoken && !answer.answer.is_empty();
        let mut told = if unsaid { self.text(&answer.answer) } else { self.open() };
        if !answer.client_calls.is_empty() {
            let calls = answer.client_calls.iter().enumerate().map(|(index, call)| tool_call(call, Some(index)));
            told.push(self.delta(ChatDelta { tool_calls: Some(calls.collect()), ..ChatDelta::default() }, None));
        }
        told.push(self.delta(ChatDelta::default(), Some(finish(answer))));
        if self.include_usage {
            told.push(self.chunk(Vec::new(), Some(usage(&answer.usage))));
        }
        told.push(END.to_owned());
        told
    }

    fn delta(&self, delta: ChatDelta, finish_reason: Option<ChatFinish>) -> String {
        self.chunk(vec![ChatChunkChoice { index: 0, delta, finish_reason, logprobs: None }], None)
    }

    fn chunk(&self, choices: Vec<ChatChunkChoice>, usage: Option<ChatUsage>) -> String {
        let Head { id, created, model } = self.head.clone();
        let usage = self.include_usage.then_some(usage);
        json(&ChatCompletionChunk { id, object: ChatChunkObject::Chunk, created, model, choices, usage })
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("chunks have string keys and finite numbers only")
}
