//! What is asked of the subjects: questions of about 0.25 KB.

use http::{HeaderMap, HeaderValue};
use hyper::body::Bytes;
use serde_json::{Value, json};

const QUESTION: &str = "Where is my order number 7? I ordered two lamps and a table on the third of the month, the \
                        shop wrote that both would arrive within a week, and I have heard nothing since then.";

const SYSTEM: &str = "You are Orders, a friendly assistant.";

/// A request, and what a good answer to it holds.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) holds: &'static str,
}

/// The model called through the bare proxy, with the request that agent-pod would make.
pub(crate) fn direct(model: &str) -> Call {
    let streamed = model.starts_with("stream-");
    let body = json!({
        "model": model,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
        "stream": streamed,
    });
    call("/v1/chat/completions".to_owned(), &body, if streamed { "[DONE]" } else { "\"finish_reason\"" })
}

/// The agent asked for one JSON document.
pub(crate) fn run(agent: &str) -> Call {
    call(format!("/v1/agents/{agent}/run"), &json!({"query": QUESTION}), "\"finish\":\"stop\"")
}

/// The agent asked for events.
pub(crate) fn run_events(agent: &str) -> Call {
    let mut call = run(agent);
    call.headers.insert(http::header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    call
}

/// The first half of a tool round trip at the chat completions door: the model wants the caller's tool.
pub(crate) fn tool_question() -> Call {
    let body = json!({"model": "tool", "messages": [{"role": "user", "content": QUESTION}], "tools": tools()});
    call("/v1/chat/completions".to_owned(), &body, "\"tool_calls\"")
}

/// The second half: the caller has used its tool.
pub(crate) fn tool_answer() -> Call {
    let called =
        json!([{"id": "call_1", "type": "function", "function": {"name": "get_order", "arguments": "{\"id\":7}"}}]);
    let messages = json!([
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": null, "tool_calls": called},
        {"role": "tool", "tool_call_id": "call_1", "content": "{\"state\":\"shipped\",\"due\":\"Friday\"}"},
    ]);
    let body = json!({"model": "tool", "messages": messages, "tools": tools()});
    call("/v1/chat/completions".to_owned(), &body, "\"finish_reason\":\"stop\"")
}

/// A turn of a WebSocket.
pub(crate) fn socket_question() -> String {
    json!({"query": QUESTION}).to_string()
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]});
    json!([{"type": "function", "function": {"name": "get_order", "description": "State of an order", "parameters": parameters}}])
}

fn call(path: String, body: &Value, holds: &'static str) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::HOST, HeaderValue::from_static("bench"));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Call { path, headers, body: Bytes::from(body.to_string()), holds }
}
