//! `/v1/agents`: what there is to call, and the call.

use agent_pod_core::error::RunError;
use agent_pod_core::service::{AgentDetails, AgentSummary, Run, RunOptions};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::AgentName;
use crate::authority::Authority;
use crate::credentials::{Admitted, Credentials};
use crate::error::{ApiError, X_RUN_ID};
use crate::events::{server_sent_events, whole_answer};
use crate::held::{held, held_stream};
use crate::json_body::BodyLimits;
use crate::openapi::failures::{ListFailures, RunFailures, ShowFailures};
use crate::openapi::schemas;
use crate::run_call::RunCall;
use crate::state::ApiState;

#[derive(Serialize)]
pub(crate) struct AgentList {
    agents: Vec<AgentSummary>,
}

/// The agents that the caller may call.
#[utoipa::path(
    get,
    path = "/v1/agents",
    tag = "agents",
    responses((status = 200, description = "The agents.", body = schemas::AgentList), ListFailures),
)]
pub(crate) async fn list(State(state): State<ApiState>, credentials: Credentials) -> Result<Json<AgentList>, ApiError> {
    let callable = credentials.agents(&*state.agents)?;
    let agents = callable.iter().map(|agent| agent.details.summary.clone()).collect();
    Ok(Json(AgentList { agents }))
}

/// One agent: what it is made of, never its prompt or a secret.
#[utoipa::path(
    get,
    path = "/v1/agents/{name}",
    tag = "agents",
    params(("name" = String, Path, description = "Name of the agent.")),
    responses((status = 200, description = "The agent.", body = schemas::AgentDetails), ShowFailures),
)]
pub(crate) async fn show(
    State(state): State<ApiState>,
    AgentName(name): AgentName,
    credentials: Credentials,
) -> Result<Json<AgentDetails>, ApiError> {
    let admitted = credentials.agent(&*state.agents, &name)?;
    Ok(Json(admitted.agent.details.clone()))
}

/// Asks the agent.
///
/// With `Accept: text/event-stream`, or `stream: true` in the body, the answer is a stream of server-sent events:
/// `event:` is the event's `type`, `data:` is the event, and exactly one `done` or `error` ends it.
#[utoipa::path(
    post,
    path = "/v1/agents/{name}/run",
    tag = "agents",
    params(
        ("name" = String, Path, description = "Name of the agent."),
        ("X-Request-Timeout-Ms" = Option<u64>, Header, minimum = 1, description = "Deadline of the run; the shorter one of it and the agent's holds."),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "The call is carried out once for this key, for 24 hours; a repeated call gets the stored answer."),
        ("X-Astromesh-Depth" = Option<u32>, Header, maximum = 8, description = "How many agents have called each other to get here; agents set it when they call one; taken from their tokens only."),
        ("X-Astromesh-Tokens-Left" = Option<u64>, Header, description = "What the agents that have called each other to get here may still use, in tokens; agents set it when they call one; taken from their tokens only."),
        ("traceparent" = Option<String>, Header, description = "The caller's trace, as in W3C trace context."),
    ),
    request_body = schemas::RunRequest,
    responses(
        (
            status = 200,
            description = "The answer, or the events of the run.",
            headers(("X-Run-Id" = String, description = "Id of the run.")),
            content((schemas::RunAnswer = "application/json"), (schemas::RunEventFrame = "text/event-stream")),
        ),
        RunFailures,
    ),
)]
pub(crate) async fn run(
    State(state): State<ApiState>,
    AgentName(name): AgentName,
    credentials: Credentials,
    request: Request,
) -> Result<Response, ApiError> {
    let Admitted { agent, caller } = credentials.agent(&*state.agents, &name)?;
    let (parts, body) = request.into_parts();
    let RunCall { turn, options } = RunCall::read(&parts.headers, body, &BodyLimits::of(&state.pool, &[agent])).await?;
    let authority = Authority { credentials: &credentials, agents: &*state.agents, caller: caller.as_ref() };
    authority.check(&turn)?;
    let options = authority.options(options);
    let (streaming, bytes) = (options.streaming, options.bytes.clone());
    let run = state.agents.start(&name, turn, RunOptions { caller, ..options }).await?;
    if streaming { Ok(held_stream(server_sent_events(run), bytes)) } else { Ok(held(answer(run).await?, bytes)) }
}

async fn answer(run: Run) -> Result<Response, RunError> {
    let run_id = run.run_id.clone();
    let answer = whole_answer(run).await?;
    Ok(([(X_RUN_ID, run_id)], Json(answer)).into_response())
}
