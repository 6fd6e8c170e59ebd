//! The doors of the agent pod: HTTP, server-sent events, WebSockets and the chat completions API over core's [`AgentService`].
//!
//! ```text
//!  request ─► router ─► Credentials ─► access of the agent ─► RunCall ─► AgentService::start ─► Run
//!                                                                                               │
//!                     JSON answer ◄── routes ──► server-sent events          socket ◄───────────┘
//! ```
//!
//! **Invariants**
//! - A [`Run`](agent_pod_core::service::Run) belongs to the response or the socket that it answers. Nothing is spawned
//!   for it, so a caller that leaves takes its run along.
//! - Nothing of an agent, not even that it exists, is told to a caller that may call none of the agents here.
//! - Every failure, of unknown routes too, has the one error shape, and `error` alone knows its status.
//! - No cross-origin headers: browsers of other sites get nothing.
//!
//! Read in this order: [`router`], [`admin_router`], then `routes`, `socket` and `openai`.
//!
//! [`AgentService`]: agent_pod_core::service::AgentService

mod routes;
mod state;

mod authority;
mod call_headers;
mod credentials;
mod fields;
mod handoff;
mod held;
mod host;
mod images;
mod json_body;
mod rulings;
mod run_call;
mod turn_request;

mod events;
mod openai;
mod presence;
mod socket;

mod admin;
mod error;
mod layers;
pub mod openapi;

pub use admin::admin_router;
pub use host::misdirected;
pub use layers::{overloaded, stopping};
pub use openapi::openapi;
pub use presence::Presence;
pub use routes::router;
pub use state::{ApiState, SocketLimits};
