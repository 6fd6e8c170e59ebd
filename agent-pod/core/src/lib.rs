//! One turn of an agent, from question to answer, and the ports through which it meets the world.
//!
//! ```text
//!  TurnRequest ─► Agent::start ─► memory context ─► prompt ─► pattern ⟲ (router ─► Model, tools ─► Tool)
//!                     │                                          │
//!                     └────────── TurnEvent stream ◄─────────────┴─► memory ─► RunAnswer
//! ```
//!
//! **Invariants**
//! - Everything that a turn learns from outside comes through a port: [`model::Model`], [`tool::Tool`],
//!   [`memory::ConversationStore`], [`memory::episode::EpisodeStore`], [`memory::semantic::SemanticStore`],
//!   [`embedding::Embedder`], [`ports::Environment`] (clock and ids). Between these a turn is deterministic.
//! - A turn is one future. Dropping it stops everything that it does; nothing is spawned but slices of work for the
//!   processor ([`cpu`]), which end with it.
//! - No HTTP, no files, no Kubernetes: this crate lists no I/O dependency, and a test keeps it so.
//!
//! Read in this order: [`agent`], [`pattern`], [`model`], [`memory`], [`service`].

pub mod agent;
pub mod pattern;

pub mod embedding;
pub mod model;

pub mod guardrail;
pub mod memory;
pub mod output;
pub mod prompt;
pub mod sandbox;
pub mod tool;

pub mod access;
pub mod cpu;
pub mod error;
pub mod event;
pub mod message;
pub mod money;
pub mod ports;
pub mod usage;

pub use agent_pod_schema as schema;

pub mod admission;
pub mod budget;
pub mod byte_pool;
pub mod peer;
pub mod service;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
