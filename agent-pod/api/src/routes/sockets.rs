//! `GET /v1/ws/agent/{name}`: the handshake. What follows is `socket`'s.

use agent_pod_core::error::{ErrorCode, RunError};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::Instrument as _;

use super::AgentName;
use crate::call_headers::of_handshake;
use crate::credentials::{Admitted, Credentials};
use crate::error::ApiError;
use crate::fields::{problem, validation_failed};
use crate::json_body::BodyLimits;
use crate::openapi::failures::SocketFailures;
use crate::presence::Presence;
use crate::socket::{Conversation, Wire, draining, serve};
use crate::state::ApiState;
use crate::turn_request::session_id_problem;

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
    drop(upgrade.map_err(|_rejection| no_handshake())?);
    let (Some(upgraded), Some(key)) = (parts.extensions.get::<OnUpgrade>(), parts.headers.get(SEC_WEBSOCKET_KEY))
    else {
        return Err(no_handshake().into());
    };
    let ApiState { agents, shutdown, sockets, pool, socket_limits, version: _ } = state;
    if shutdown.is_cancelled() {
        return Err(draining().into());
    }
    let presence = parts.extensions.get::<Presence>().cloned().unwrap_or_default();
    let conversation = Conversation::new(agents, name, credentials, session_id, options);
    // Axum's own upgrade, whose check of the handshake has passed, leaves no way to meter what the connection reads.
    let upgraded = upgraded.clone();
    let serving = async move {
        let limits = BodyLimits::of(&pool, &[agent]);
        match upgraded.await {
            Ok(connection) => {
                let wire = Wire::new(connection, socket_limits, &limits).await;
                serve(wire, conversation, presence, shutdown).await;
            }
            Err(error) => tracing::debug!(cause = %error, "the connection did not become a WebSocket"),
        }
    };
    sockets.spawn(serving.instrument(tracing::Span::current()));
    let accepted = derive_accept_key(key.as_bytes());
    let headers =
        [(CONNECTION, "upgrade".to_owned()), (UPGRADE, "websocket".to_owned()), (SEC_WEBSOCKET_ACCEPT, accepted)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
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
