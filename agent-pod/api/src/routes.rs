//! The routes of the public port. Each is documented where it is handled; `/openapi.json` is made of that.

mod agents;
mod chat;
pub(crate) mod docs;
mod health;
mod memory;
mod semantic;
mod sockets;
mod tools;

use std::convert::Infallible;

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::layers::surround;
use crate::openapi::base_document;
use crate::state::ApiState;

/// The public port. Serve it with upgrades, and with the peer's address as the request extension
/// `ConnectInfo<SocketAddr>`: without it every call counts as one from the network.
pub fn router(state: ApiState) -> Router {
    let (routes, mut document) = documented().split_for_parts();
    state.version.clone_into(&mut document.info.version);
    surround(routes.with_state(state).merge(docs::router(&document)))
}

/// Every route with its documentation.
pub(crate) fn documented() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(base_document())
        .routes(routes!(health::health))
        .routes(routes!(agents::list))
        .routes(routes!(agents::show))
        .routes(routes!(agents::run))
        .routes(routes!(sockets::connect))
        .routes(routes!(tools::list))
        .routes(routes!(tools::execute))
        .routes(routes!(tools::decide))
        .routes(routes!(memory::history, memory::clear))
        .routes(routes!(semantic::search))
        .routes(routes!(chat::complete))
        .routes(routes!(chat::models))
        .routes(routes!(chat::model))
}

/// The agent and the session that a route names. What does not decode to text is no session.
pub(crate) struct AgentSession {
    pub(crate) agent: String,
    pub(crate) session: String,
}

impl<S: Send + Sync> FromRequestParts<S> for AgentSession {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let names = Path::<(String, String)>::from_request_parts(parts, state).await;
        let (agent, session) = names.map_or_else(|_undecodable| Default::default(), |Path(names)| names);
        Ok(Self { agent, session })
    }
}

/// The agent that a route names.
pub(crate) struct AgentName(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for AgentName {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        // What does not decode to text names no agent, as the empty name does not; the handlers go on from there.
        Ok(Self(name.map_or_else(|_undecodable| String::new(), |Path(name)| name)))
    }
}
