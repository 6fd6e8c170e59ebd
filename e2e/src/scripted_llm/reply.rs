//! The answer of a model server, chunk by chunk.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

/// Tells when a stream is dropped before its end, which is what a caller that hangs up leads to.
struct Hangup {
    ended: bool,
    count: watch::Sender<usize>,
}

impl Drop for Hangup {
    fn drop(&mut self) {
        if !self.ended {
            self.count.send_modify(|count| *count += 1);
        }
    }
}

/// A stream of these pieces, each of which waits at the gate, if there is one.
pub(super) fn stream(pieces: Vec<String>, gate: Option<Arc<Semaphore>>, count: watch::Sender<usize>) -> Response {
    let content = pieces.into_iter().map(|piece| (true, chunk(&json!({"content": piece}), None)));
    let end = [(false, chunk(&json!({}), Some("stop"))), (false, usage()), (false, "data: [DONE]\n\n".to_owned())];
    let parts = content.chain(end).collect::<Vec<_>>().into_iter();
    let start = (parts, gate, Hangup { ended: false, count });
    let body = stream::unfold(start, async |(mut parts, gate, mut hangup)| {
        let Some((gated, text)) = parts.next() else {
            hangup.ended = true;
            return None;
        };
        if let Some(gate) = gate.as_ref().filter(|_| gated)
            && let Ok(permit) = gate.acquire().await
        {
            permit.forget();
        }
        Some((Ok::<_, Infallible>(text), (parts, gate, hangup)))
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
}

/// A call of a tool with this query.
pub(super) fn tool_call(tool: &str, query: &str) -> Response {
    let function = json!({"name": tool, "arguments": json!({"query": query}).to_string()});
    let call = json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]});
    let text = format!("{}{}data: [DONE]\n\n", chunk(&call, Some("tool_calls")), usage());
    ([(CONTENT_TYPE, "text/event-stream")], text).into_response()
}

/// The refusal of a credential.
pub(super) fn unauthorized() -> Response {
    let error =
        json!({"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"});
    (StatusCode::UNAUTHORIZED, Json(json!({"error": error}))).into_response()
}

/// A server that fails.
pub(super) fn failure(status: u16) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({"error": {"message": "scripted to fail", "type": "server_error"}}))).into_response()
}

/// The list of models.
pub(super) fn models(names: &[&str]) -> Response {
    let data: Vec<_> = names.iter().map(|name| json!({"id": name, "object": "model", "owned_by": "test"})).collect();
    Json(json!({"object": "list", "data": data})).into_response()
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    event(&json!({"id": "c-1", "object": "chat.completion.chunk", "model": "scripted", "choices": [choice]}))
}

fn usage() -> String {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    event(&json!({"id": "c-1", "object": "chat.completion.chunk", "model": "scripted", "choices": [], "usage": usage}))
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}
