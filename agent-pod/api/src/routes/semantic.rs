//! `/v1/memory/{agent}/semantic`: what was said in any session of an agent, by its meaning.

use agent_pod_core::error::{FieldProblem, RunError};
use agent_pod_core::memory::history::FOUND_MAX;
use axum::Json;
use axum::extract::{Query, State};

use super::{AgentName, memory};
use crate::credentials::Credentials;
use crate::error::ApiError;
use crate::fields::validation_failed;
use crate::openapi::failures::SemanticFailures;
use crate::openapi::memory::SemanticResults;
use crate::state::ApiState;

/// The most characters of a query.
const QUERY_CHARS_MAX: usize = 2_000;

/// What was said in any session of an agent that is close to a query.
///
/// The best come first; none has a score under the agent's `minScore`.
#[utoipa::path(
    get,
    path = "/v1/memory/{agent}/semantic",
    tag = "memory",
    params(
        ("agent" = String, Path, description = "Name of the agent."),
        ("query" = String, Query, min_length = 1, max_length = 2000, description = "What to look for."),
        ("topK" = Option<u32>, Query, minimum = 1, maximum = 100, description = "The most results; the agent's `topK` if absent."),
    ),
    responses((status = 200, description = "What was found.", body = SemanticResults), SemanticFailures),
)]
pub(crate) async fn search(
    State(state): State<ApiState>,
    AgentName(agent): AgentName,
    credentials: Credentials,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<SemanticResults>, ApiError> {
    credentials.agent(&*state.agents, &agent)?;
    let Asked { query, top_k } = Asked::read(parameters)?;
    let found = memory::of(&state, &agent)?.search(&query, top_k).await?;
    Ok(Json(SemanticResults::new(agent, query, found)))
}

struct Asked {
    query: String,
    top_k: Option<usize>,
}

impl Asked {
    fn read(parameters: Vec<(String, String)>) -> Result<Self, RunError> {
        let (mut asked, mut problems) = (Self { query: String::new(), top_k: None }, Vec::new());
        let mut refuse = |path: &str, message: String| problems.push(FieldProblem { path: path.to_owned(), message });
        for (name, value) in parameters {
            match name.as_str() {
                "query" => asked.query = value,
                // The second is the name that the original system used.
                "topK" | "top_k" => {
                    asked.top_k = value.parse().ok().filter(|top_k| (1..=FOUND_MAX).contains(top_k));
                    if asked.top_k.is_none() {
                        refuse("topK", format!("must be a whole number from 1 to {FOUND_MAX}"));
                    }
                }
                _of_others => {}
            }
        }
        if asked.query.trim().is_empty() {
            refuse("query", "is missing: say what to look for".to_owned());
        } else if asked.query.chars().count() > QUERY_CHARS_MAX {
            refuse("query", format!("must have at most {QUERY_CHARS_MAX} characters"));
        }
        if problems.is_empty() { Ok(asked) } else { Err(validation_failed(problems)) }
    }
}
