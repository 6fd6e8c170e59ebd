//! Agents as models.

use std::sync::Arc;

use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::service::{AgentHandle, AgentService};
use serde::Serialize;
use utoipa::ToSchema;

use crate::credentials::{Admitted, Credentials};

/// The agents that the caller may call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// `list`.
    pub(crate) object: ListObject,
    /// By name.
    pub(crate) data: Vec<ModelObject>,
}

/// The kind of a list.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ListObject {
    /// The only one.
    List,
}

/// An agent as a model.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ModelObject {
    /// Name of the agent.
    pub(crate) id: String,
    /// `model`.
    pub(crate) object: ModelKind,
    /// Always 0: agents change in place, when they were made tells nothing.
    pub(crate) created: u64,
    /// `astromesh`.
    pub(crate) owned_by: &'static str,
}

/// The kind of a model.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModelKind {
    /// The only one.
    Model,
}

impl ModelObject {
    /// The agent as a model.
    pub(crate) fn of(agent: &AgentHandle) -> Self {
        let id = agent.details.summary.name.clone();
        Self { id, object: ModelKind::Model, created: 0, owned_by: "astromesh" }
    }
}

/// The agents behind this door that the caller may call.
///
/// # Errors
/// As [`Credentials::agents`].
pub(crate) fn callable(
    agents: &dyn AgentService,
    credentials: &Credentials,
) -> Result<Vec<Arc<AgentHandle>>, RunError> {
    let mut callable = credentials.agents(agents)?;
    callable.retain(|agent| agent.openai);
    Ok(callable)
}

/// The agent of this name, if it is behind this door and the caller may call it.
///
/// # Errors
/// As [`Credentials::agent`].
pub(crate) fn admit(agents: &dyn AgentService, credentials: &Credentials, name: &str) -> Result<Admitted, RunError> {
    match credentials.agent(agents, name) {
        Ok(admitted) if admitted.agent.openai => Ok(admitted),
        Err(error) if error.code != ErrorCode::AgentNotFound => Err(error),
        Ok(_) | Err(_) => {
            let message = format!("there is no model `{name}` here; GET /v1/models lists those that you may call");
            Err(RunError::new(ErrorCode::AgentNotFound, message))
        }
    }
}
