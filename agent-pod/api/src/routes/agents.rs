//! `/v1/agents`: what there is to call, and the call.

use agent_pod_core::error::RunError;
use agent_pod_core::service::{AgentDetails, AgentSummary, Run};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::AgentName;
use crate::credentials::Credentials;
use crate::error::{ApiError, X_RUN_ID};
use crate::events::server_sent_events;
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
    let agent = credentials.agent(&*state.agents, &name)?;
    Ok(Json(agent.details.clone()))
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
        ("traceparent" = Option<String>, Header, description = "The caller's trace, as in W3C trace context."),
    ),
    request_body = schemas::RunRequest,
    responses(
        (
            status = 200,
            description = "The answer, or the events of the run.",
            headers(("X-Run-Id" = String, description = "Id of the run.")),
            content((schemas::RunAnswer = "application/json"), (schemas::RunEvent = "text/event-stream")),
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
    let agent = credentials.agent(&*state.agents, &name)?;
    let (parts, body) = request.into_parts();
    let call = RunCall::read(&parts.headers, body, agent.body_bytes_max).await?;
    let run = state.agents.start(&name, call.turn, call.options).await?;
    if call.stream { Ok(server_sent_events(run)) } else { Ok(answer(run).await?) }
}

async fn answer(run: Run) -> Result<Response, RunError> {
    let run_id = run.run_id.clone();
    match run.answer().await {
        Ok(answer) => Ok(([(X_RUN_ID, run_id)], Json(answer)).into_response()),
        Err(error) => Err(RunError { run_id: error.run_id.or(Some(run_id)), ..error }),
    }
}
