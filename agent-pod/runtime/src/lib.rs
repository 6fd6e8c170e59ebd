//! From a document to live agents, and from one document to the next without a pause.
//!
//! ```text
//!  source::mounted    (ConfigMap volume)  ─┐                 ┌─► registry (ArcSwap) ─► runs
//!                                          ├─► load ─► build ┤
//!  source::manifests  (a folder of YAML)  ─┘                 └─► state, metrics (admin port)
//! ```
//!
//! **Invariants**
//! - A document is built as a whole beside the one that serves, then swapped in one store. A run keeps the agent that
//!   it started with.
//! - What does not load changes nothing: the last good one goes on serving, and the state says why.
//! - Conversations, secrets, health and run counts outlive a reload; agents do not.

mod afterwork;
pub mod attention;
pub mod build;
pub mod desks;
pub mod discovery;
pub mod ending;
pub mod idempotency;
pub mod manifests;
pub mod metrics;
pub mod registry;
pub mod runtime;
pub mod sandbox;
mod sessions;
pub mod source;
mod state;
pub mod validate;

pub use agent_pod_core::byte_pool::{BytePool, ByteReservation, PoolError, Priority};
pub use runtime::Runtime;
