//! `GET /v1/ws/agent/{name}`: the handshake. What follows is `socket`'s.

use agent_pod_core::error::{ErrorCode, RunError};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::Response;
use tracing::Instrument as _;

use super::AgentName;
use crate::call_headers::of_handshake;
use crate::credentials::{Admitted, Credentials};
use crate::error::ApiError;
use crate::fields::{problem, validation_failed};
use crate::openapi::failures::SocketFailures;
use crate::socket::{Conversation, draining, serve};
use crate::state::ApiState;
use crate::turn_request::session_id_problem;

/// The buffer in which a socket's frames are read; grows for larger ones. The library's 128 KiB for each idle socket
/// would be 128 MiB for a thousand.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// Talks with the agent over a WebSocket, any number of turns.
///
/// The client sends text frames with JSON: `{"query": …, "sessionId"?, "context"?, "images"?}` starts a run and
/// `{"type": "cancel"}` ends it; `{"type": "tool_result", "id", "ok", "result" | "error"}` answers a call of a client
/// tool, `{"type": "approval", "id", "decision", "reason"?}` one that waits for an approval. The server sends the events of the runs, one a frame.
#[utoipa::path(
    get,
    path = "/v1/ws/agent/{name}",
    tag = "agents",
    params(
        ("name" = String, Path, description = "Name of the agent."),
        ("sessionId" = Option<String>, Query, description = "The session to go on with; `session_id` too. Absent: a fresh one for this socket."),
        ("X-Request-Timeout-Ms" = Option<u64>, Header, minimum = 1, description = "Deadline of each run on the socket; the shorter one of it and the agent's holds."),
        ("traceparent" = Option<String>, Header, description = "The caller's trace, as in W3C trace context, of each run on the socket."),
    ),
    responses((status = 101, description = "The WebSocket is open."), SocketFailures),
)]
pub(crate) async fn connect(
    State(state): State<ApiState>,
    AgentName(name): AgentName,
    credentials: Credentials,
    parts: Parts,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let Admitted { agent, caller: _ } = credentials.agent(&*state.agents, &name)?;
    let session_id = session_id(&parts.uri)?;
    let options = of_handshake(&parts.headers)?;
    let upgrade = upgrade.map_err(|_rejection| no_handshake())?;
    if state.shutdown.is_cancelled() {
        return Err(draining().into());
    }
    let open = state.sockets.token();
    let conversation = Conversation::new(state.agents, name, credentials, session_id, options);
    let upgrade = upgrade.read_buffer_size(READ_BUFFER_BYTES);
    let upgrade = upgrade.max_message_size(agent.body_bytes_max).max_frame_size(agent.body_bytes_max);
    let span = tracing::Span::current();
    Ok(upgrade.on_upgrade(async move |socket| {
        serve(socket, conversation, state.socket_limits, state.shutdown).instrument(span).await;
        drop(open);
    }))
}

fn session_id(uri: &Uri) -> Result<Option<String>, RunError> {
    let Query(parameters) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|_rejection| validation_failed(vec![problem("sessionId", "must be a parameter of the URL")]))?;
    let (mut named, mut original) = (None, None);
    for (name, value) in parameters {
        match name.as_str() {
            "sessionId" => named = Some(value),
            "session_id" => original = Some(value),
            _of_others => {}
        }
    }
    let session_id = named.or(original);
    match session_id.as_deref().and_then(|session_id| session_id_problem("sessionId", session_id)) {
        Some(problem) => Err(validation_failed(vec![problem])),
        None => Ok(session_id),
    }
}

fn no_handshake() -> RunError {
    RunError::new(ErrorCode::InvalidMessage, "this route opens a WebSocket: connect with a WebSocket client")
}
