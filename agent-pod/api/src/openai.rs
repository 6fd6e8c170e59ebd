//! The chat completions API: agents as the official OpenAI clients expect models to be.
//!
//! ```text
//!  body ─► request (pure) ─► ChatCall ─► AgentService::start ─► Run ─► answer │ stream (both pure) ─► client
//! ```
//!
//! The caller keeps the conversation; what an agent does with its own tools on the way stays its own matter.

pub(crate) mod answer;
pub(crate) mod call;
pub(crate) mod error;
pub(crate) mod models;
pub(crate) mod request;
pub(crate) mod stream;
