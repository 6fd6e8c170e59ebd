//! The one document between operator and pod.
//!
//! ```text
//!  Agent, Provider ──compile──► Document ──to_bytes──► ConfigMap ──mounted──► from_bytes ──► agent-pod
//!                                   └── SHA-256 = revision
//! ```
//!
//! - [`compile`] is pure and shared: the operator runs it on what the API server holds, standalone mode on what a
//!   folder holds, and both get the same bytes for the same resources.
//! - [`Document`] is strict and deterministic: unknown keys are refused, the same document gives the same bytes.
//! - [`Trust`] stands beside the document, because it comes from the cluster and not from resources.
//! - [`PodState`] is what a pod answers when the operator asks which revision it serves.
//!
//! No I/O here, and no secret's value: the document names Secrets, the pod reads them.

mod compile;
mod document;
mod pattern;
mod state;
mod trust;

pub use compile::{
    AGENT_SUFFIX, Compilation, ConfigMapTexts, ConfigMaps, NAMESPACE_NAME_LABEL, NamespaceLabels, ObjectId, Problem,
    ProblemKind, Resources, agents_of, compile, permits, provider_problem, withdraw,
};
pub use document::*;
pub use pattern::{PATTERN_BYTES_MAX, PATTERN_PLACES_MAX, PatternBudget};
pub use state::*;
pub use trust::Trust;
