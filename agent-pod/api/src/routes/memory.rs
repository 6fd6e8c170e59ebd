//! `/v1/memory`: what agents remember, for whoever may call them.

use agent_pod_core::byte_pool::weight::{COPIES, of_message};
use agent_pod_core::byte_pool::{PoolError, Priority, RunBytes};
use agent_pod_core::error::{ErrorCode, FieldProblem, RunError};
use agent_pod_core::memory::history::{AgentHistory, PAGE_MAX};
use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};

use super::AgentSession;
use crate::credentials::Credentials;
use crate::error::ApiError;
use crate::fields::validation_failed;
use crate::held::held;
use crate::openapi::failures::{ClearFailures, HistoryFailures};
use crate::openapi::memory::{Cleared, History};
use crate::state::ApiState;

/// Messages of a page, where the caller does not say.
const PAGE_DEFAULT: usize = 50;

/// A page that is being read is taken to have this share of the pool of bytes, which is what a session in memory may have.
const PAGE_SHARE: usize = 8;

/// A page is there as text and as messages while it is read.
const FORMS: usize = 2;

/// What was said in a session.
///
/// The first page has the newest messages, oldest first within it; `nextCursor` leads to the one before.
#[utoipa::path(
    get,
    path = "/v1/memory/{agent}/history/{session}",
    tag = "memory",
    params(
        ("agent" = String, Path, description = "Name of the agent."),
        ("session" = String, Path, description = "The session."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "The most messages of a page; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before."),
    ),
    responses((status = 200, description = "A page.", body = History), HistoryFailures),
)]
pub(crate) async fn history(
    State(state): State<ApiState>,
    names: AgentSession,
    credentials: Credentials,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let wait = credentials.agent(&*state.agents, &names.agent)?.agent.queue_timeout;
    let Page { limit, cursor } = Page::read(parameters)?;
    let no_memory = |_: PoolError| PoolError::Exhausted.for_caller();
    // How large it is turns out when it has been read.
    let mut reserved = state.pool.reservation();
    let room = state.pool.capacity() / PAGE_SHARE;
    reserved.grow(room, Priority::Call, wait).await.map_err(no_memory)?;
    let page = of(&state, &names.agent)?.page(&names.session, limit, cursor.as_deref(), room / FORMS).await?;
    let weight = COPIES * page.messages.iter().map(|message| of_message(&message.message)).sum::<usize>();
    reserved.resize(weight, Priority::Call.of(weight), wait).await.map_err(no_memory)?;
    let answer = Json(History::new(names.agent, names.session, page)).into_response();
    Ok(held(answer, RunBytes::new(reserved)))
}

/// Forgets a session: its turns, what became of its runs, and what of it could be found by its meaning.
#[utoipa::path(
    delete,
    path = "/v1/memory/{agent}/history/{session}",
    tag = "memory",
    params(
        ("agent" = String, Path, description = "Name of the agent."),
        ("session" = String, Path, description = "The session."),
    ),
    responses((status = 200, description = "It is forgotten.", body = Cleared), ClearFailures),
)]
pub(crate) async fn clear(
    State(state): State<ApiState>,
    names: AgentSession,
    credentials: Credentials,
) -> Result<Json<Cleared>, ApiError> {
    credentials.agent(&*state.agents, &names.agent)?;
    let deleted = of(&state, &names.agent)?.clear(&names.session).await?;
    let AgentSession { agent, session } = names;
    Ok(Json(Cleared { status: "cleared", agent, session_id_original: session.clone(), session_id: session, deleted }))
}

/// The memory of an agent.
pub(super) fn of(state: &ApiState, agent: &str) -> Result<AgentHistory, RunError> {
    // The agent may have gone since its door was opened.
    let gone = || RunError::new(ErrorCode::AgentNotFound, format!("there is no agent `{agent}` here"));
    state.agents.memory(agent).ok_or_else(gone)
}

struct Page {
    limit: usize,
    cursor: Option<String>,
}

impl Page {
    fn read(parameters: Vec<(String, String)>) -> Result<Self, RunError> {
        let mut page = Self { limit: PAGE_DEFAULT, cursor: None };
        for (name, value) in parameters {
            match name.as_str() {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    page.limit = limit.ok_or_else(|| {
                        let message = format!("must be a whole number from 1 to {PAGE_MAX}");
                        validation_failed(vec![FieldProblem { path: "limit".to_owned(), message }])
                    })?;
                }
                "cursor" if !value.is_empty() => page.cursor = Some(value),
                _of_others => {}
            }
        }
        Ok(page)
    }
}
