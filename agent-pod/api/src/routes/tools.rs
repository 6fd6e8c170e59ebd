//! `/v1/tools`: what agents can do, and a call of it; and the approvals that runs wait for.

use agent_pod_core::agent::{Executed, ToolRequest};
use agent_pod_core::byte_pool::RunBytes;
use agent_pod_core::error::{ErrorCode, FieldProblem, RunError};
use agent_pod_core::service::{RunOptions, ToolSummary};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::Value;

use crate::authority::Authority;
use crate::call_headers::CallHeaders;
use crate::credentials::{Admitted, Credentials, name_of};
use crate::error::ApiError;
use crate::fields::{Fields, problem, validation_failed};
use crate::json_body::{BodyLimits, JsonBody, read_json};
use crate::openapi::failures::{ApprovalFailures, ExecuteFailures, ShowFailures};
use crate::openapi::schemas;
use crate::rulings::ruling;
use crate::state::ApiState;
use crate::turn_request::session_id_problem;

/// The largest body of a decision.
const RULING_BYTES_MAX: usize = 16 * 1024;

#[derive(Serialize)]
pub(crate) struct ToolList {
    tools: Vec<AgentTool>,
}

#[derive(Serialize)]
struct AgentTool {
    agent: String,
    #[serde(flatten)]
    tool: ToolSummary,
}

/// The tools of the agents that the caller may call.
#[utoipa::path(
    get,
    path = "/v1/tools",
    tag = "tools",
    params(("agent" = Option<String>, Query, description = "Only the tools of this agent.")),
    responses((status = 200, description = "The tools.", body = schemas::ToolList), ShowFailures),
)]
pub(crate) async fn list(
    State(state): State<ApiState>,
    credentials: Credentials,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<ToolList>, ApiError> {
    let named = parameters.into_iter().find(|(name, _)| name == "agent").map(|(_, value)| value);
    let agents = match named {
        Some(name) => vec![credentials.agent(&*state.agents, &name)?.agent],
        None => credentials.agents(&*state.agents)?,
    };
    let tools = agents.iter().flat_map(|agent| {
        let name = &agent.details.summary.name;
        agent.tools.iter().map(move |tool| AgentTool { agent: name.clone(), tool: tool.clone() })
    });
    Ok(Json(ToolList { tools: tools.collect() }))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolAnswer {
    tool: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    duration_ms: u64,
    truncated: bool,
}

/// Carries out a call of a tool outside a run: with the permissions, rate limits, validation, guardrails and bounds of one.
#[utoipa::path(
    post,
    path = "/v1/tools/execute",
    tag = "tools",
    params(
        ("X-Request-Timeout-Ms" = Option<u64>, Header, minimum = 1, description = "Deadline of the call; the shortest one of it, the tool's and the agent's holds."),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "The call is carried out once for this key, for 24 hours; a repeated call gets the stored result. Calls that fail are not stored."),
        ("X-Astromesh-Depth" = Option<u32>, Header, maximum = 8, description = "How many agents have called each other to get here; taken from agents' tokens only."),
        ("X-Astromesh-Tokens-Left" = Option<u64>, Header, description = "What the agents that have called each other to get here may still use, in tokens; taken from agents' tokens only."),
        ("traceparent" = Option<String>, Header, description = "The caller's trace, as in W3C trace context."),
    ),
    request_body = schemas::ToolRequest,
    responses((status = 200, description = "How the call ended.", body = schemas::ToolAnswer), ExecuteFailures),
)]
pub(crate) async fn execute(
    State(state): State<ApiState>,
    credentials: Credentials,
    request: Request,
) -> Result<Response, ApiError> {
    // Which agent it is for, and so how much it takes, is in the body: at most what some agent here takes.
    let callable = credentials.agents(&*state.agents)?;
    let limits = BodyLimits::of(&state.pool, &callable);
    let (parts, body) = request.into_parts();
    let called = CallHeaders::read(&parts.headers);
    let JsonBody { value, bytes, held } = read_json(&parts.headers, body, &limits).await?;
    let fingerprint = called.fingerprint(&value);
    let (name, request) = tool_request(value, &called.problems)?;
    let Admitted { agent, caller } = credentials.agent(&*state.agents, &name)?;
    if bytes > agent.body_bytes_max {
        return Err(crate::json_body::too_large(agent.body_bytes_max).into());
    }
    let authority = Authority { credentials: &credentials, agents: &*state.agents, caller: caller.as_ref() };
    let options = authority.options(called.options(fingerprint, false));
    let account = RunBytes::new(held);
    let options = RunOptions { caller, bytes: account.clone(), ..options };
    let Executed { tool, outcome, duration_ms } = state.agents.execute(&name, request, options).await?;
    let (result, error) = if outcome.ok { (Some(outcome.result), None) } else { (None, Some(outcome.result)) };
    let answer = ToolAnswer { tool, ok: outcome.ok, result, error, duration_ms, truncated: outcome.truncated };
    Ok(crate::held::held(Json(answer).into_response(), account))
}

/// The original system called it `tool_name`.
fn tool_name(fields: &mut Fields) -> Option<String> {
    let original = fields.take("tool_name");
    let (name, value) = match (fields.take("tool"), original) {
        (None, Some(original)) => ("tool_name", Some(original)),
        (tool, _) => ("tool", tool),
    };
    match value {
        Some(Value::String(tool)) => return Some(tool),
        Some(_no_text) => fields.refuse(name, "must be a string"),
        None => fields.refuse(name, "is required: the name of the tool"),
    }
    None
}

/// Reads the body; `of_headers` is what is wrong beside it.
fn tool_request(body: Value, of_headers: &[FieldProblem]) -> Result<(String, ToolRequest), RunError> {
    let Value::Object(object) = body else {
        let of_body = problem("", "must be an object with `agent`, `tool` and `arguments`");
        return Err(validation_failed([of_body].into_iter().chain(of_headers.iter().cloned()).collect()));
    };
    let mut fields = Fields::new(object, "");
    let agent = fields.required_text("agent", "the agent that has the tool");
    let tool = tool_name(&mut fields);
    let arguments = fields.object("arguments", "must be an object").unwrap_or_default();
    let (named, original) = (fields.text("sessionId"), fields.text("session_id"));
    let session_id = named.or(original);
    let bad_session = session_id.as_deref().and_then(|session| session_id_problem("sessionId", session));
    fields.add(bad_session);
    fields.add(of_headers.iter().cloned());
    match (agent, tool, fields.problems.is_empty()) {
        (Some(agent), Some(tool), true) => {
            Ok((agent, ToolRequest { tool, arguments: Value::Object(arguments), session_id }))
        }
        _ => Err(validation_failed(fields.problems)),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decided {
    run_id: String,
    id: String,
    decision: &'static str,
}

/// Approves or denies a call that a run of this pod waits for.
#[utoipa::path(
    post,
    path = "/v1/runs/{runId}/approvals/{id}",
    tag = "tools",
    params(
        ("runId" = String, Path, description = "Id of the run."),
        ("id" = String, Path, description = "Id of the approval, as the event `approval_required` names it."),
    ),
    request_body = schemas::ApprovalRequest,
    responses((status = 200, description = "It is decided.", body = schemas::Decided), ApprovalFailures),
)]
pub(crate) async fn decide(
    State(state): State<ApiState>,
    named: Result<Path<(String, String)>, PathRejection>,
    credentials: Credentials,
    request: Request,
) -> Result<Json<Decided>, ApiError> {
    // What does not decode to text names no run.
    let (run_id, id) = named.map_or_else(|_undecodable| Default::default(), |Path(named)| named);
    let Some(agent) = state.agents.agent_of_run(&run_id) else {
        credentials.agents(&*state.agents)?;
        let message = format!("no run `{run_id}` in this pod waits for an approval");
        return Err(RunError::new(ErrorCode::RunNotFound, message).into());
    };
    let Admitted { agent: _, caller } = credentials.agent(&*state.agents, &agent)?;
    let (parts, body) = request.into_parts();
    let limits = BodyLimits { bytes_max: RULING_BYTES_MAX, ..BodyLimits::of(&state.pool, &[]) };
    let body = read_json(&parts.headers, body, &limits).await?.value;
    let Value::Object(object) = body else {
        return Err(validation_failed(vec![problem("", "must be an object with `decision`")]).into());
    };
    let mut fields = Fields::new(object, "");
    let ruling = ruling(&mut fields, name_of(caller.as_ref()));
    let ruling = ruling.filter(|_| fields.problems.is_empty()).ok_or_else(|| validation_failed(fields.problems))?;
    let decision = match ruling.decision {
        agent_pod_core::tool::Decision::Approve => "approve",
        agent_pod_core::tool::Decision::Deny => "deny",
    };
    state.agents.decide(&run_id, &id, ruling)?;
    Ok(Json(Decided { run_id, id, decision }))
}
