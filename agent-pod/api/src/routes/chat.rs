//! `/v1/chat/completions` and `/v1/models`: agents for the clients of the chat completions API.

use agent_pod_core::error::RunError;
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};

use super::AgentName;
use crate::credentials::Credentials;
use crate::error::X_RUN_ID;
use crate::events::whole_answer;
use crate::held::{held, held_stream};
use crate::openai::answer::{ChatCompletion, completion};
use crate::openai::call::{ChatCall, ChatRun};
use crate::openai::error::ChatError;
use crate::openai::models::{self, ListObject, ModelList, ModelObject};
use crate::openai::stream::{Chunks, respond};
use crate::openapi::chat::{ChatCompletionRequest, ChatEventFrame};
use crate::openapi::failures::{ChatFailures, ModelFailures, ModelsFailures};
use crate::state::ApiState;

/// The agents that the caller may call, as models.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "openai",
    responses((status = 200, description = "The agents.", body = ModelList), ModelsFailures),
)]
pub(crate) async fn models(
    State(state): State<ApiState>,
    credentials: Credentials,
) -> Result<Json<ModelList>, ChatError> {
    let callable = models::callable(&*state.agents, &credentials)?;
    let data = callable.iter().map(|agent| ModelObject::of(agent)).collect();
    Ok(Json(ModelList { object: ListObject::List, data }))
}

/// One agent, as a model.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "openai",
    params(("model" = String, Path, description = "Name of the agent.")),
    responses((status = 200, description = "The agent.", body = ModelObject), ModelFailures),
)]
pub(crate) async fn model(
    State(state): State<ApiState>,
    AgentName(name): AgentName,
    credentials: Credentials,
) -> Result<Json<ModelObject>, ChatError> {
    let admitted = models::admit(&*state.agents, &credentials, &name)?;
    Ok(Json(ModelObject::of(&admitted.agent)))
}

/// Asks an agent as the clients of OpenAI do: `model` is its name.
///
/// The caller keeps the conversation, so that the agent's memory is neither read nor written. `tools` are the caller's
/// own: a run ends with the calls of them. With `stream: true` the answer is a stream of server-sent events: `data:` is
/// a chunk, and `[DONE]` ends a whole answer; a failure on the way is an `error` object, and no `[DONE]` follows it.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "openai",
    params(
        ("X-Request-Timeout-Ms" = Option<u64>, Header, minimum = 1, description = "Deadline of the run; the shorter one of it and the agent's holds."),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$", description = "The call is carried out once for this key, for 24 hours; a repeated call gets the stored answer."),
        ("traceparent" = Option<String>, Header, description = "The caller's trace, as in W3C trace context."),
    ),
    request_body = ChatCompletionRequest,
    responses(
        (
            status = 200,
            description = "The answer, or its chunks.",
            headers(("X-Run-Id" = String, description = "Id of the run.")),
            content((ChatCompletion = "application/json"), (ChatEventFrame = "text/event-stream")),
        ),
        ChatFailures,
    ),
)]
pub(crate) async fn complete(
    State(state): State<ApiState>,
    credentials: Credentials,
    request: Request,
) -> Result<Response, ChatError> {
    let (parts, body) = request.into_parts();
    let call = ChatCall::read(&state, &credentials, &parts.headers, body).await?;
    let (streaming, include_usage, bytes) = (call.streaming(), call.include_usage, call.bytes());
    let run = call.start(&*state.agents).await?;
    if streaming {
        Ok(held_stream(respond(run.run, Chunks::new(run.head, include_usage)).await?, bytes))
    } else {
        Ok(held(answer(run).await?, bytes))
    }
}

async fn answer(ChatRun { head, run }: ChatRun) -> Result<Response, RunError> {
    let run_id = run.run_id.clone();
    let answer = whole_answer(run).await?;
    Ok(([(X_RUN_ID, run_id)], Json(completion(head, answer))).into_response())
}
