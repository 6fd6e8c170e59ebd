//! What the end-to-end tests are written with.
//!
//! ```text
//!  test ── apply ──► API server ── operator ──► pods of an agent ──► a real model, or a ScriptedLlm in the test
//!   └── Caller ──► Door (port-forward to the Service's ready pods) ──────┘
//! ```
//!
//! Only public means: what `kubectl` can do, the agents' HTTP interface, and what is documented of statuses. Every test
//! has a namespace of its own ([`with_temp_ns`]), in which Pod Security `restricted` is enforced. Nothing sleeps: waits
//! have a predicate and a deadline ([`waiting`]).
//!
//! The tests themselves are compiled with the feature `cluster` only. Where they find what they need is said in
//! [`settings`].

pub mod caller;
pub mod cluster;
pub mod command;
pub mod conditions;
mod diagnose;
pub mod door;
pub mod load;
pub mod manifests;
pub mod namespace;
pub mod objects;
pub mod operator;
pub mod scripted_llm;
pub mod settings;
pub mod standalone;
pub mod waiting;

pub use caller::{Answer, Caller};
pub use cluster::Cluster;
pub use command::{helm, kubectl};
pub use load::Load;
pub use namespace::{TempNs, with_temp_ns};
pub use operator::Operator;
pub use scripted_llm::ScriptedLlm;
pub use waiting::{await_object, eventually};
