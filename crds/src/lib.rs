//! The custom resources of `astromesh.io/v1alpha1` as Rust types.
//!
//! ```text
//!  Agent ──providerRef──► Provider ──secretKeyRef──► Secret (mounted by the agent's pods)
//! ```
//!
//! - An `Agent` names one or more `Provider`s: of its own namespace, or of another one that lets it.
//! - A `Provider` names a model server and the Secret with its key. Nothing here ever holds a secret's value.
//!
//! The types are the single source: the YAML under `yaml/` is generated from them by `crdgen`, and a test
//! fails when it is stale. This crate does no I/O and has no Kubernetes client.
//!
//! Deliberately absent: `deny_unknown_fields` and `flatten`. An older operator must be able to read a newer
//! object; unknown fields are refused at apply time by the API server and by [`manifest::check`].

mod agent;
mod common;
mod decimal;
mod duration;
pub mod manifest;
mod provider;
mod rules;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The first version of the API.
pub mod v1alpha1 {
    pub use crate::agent::*;
    pub use crate::common::*;
    pub use crate::decimal::DecimalString;
    pub use crate::duration::DurationString;
    pub use crate::provider::*;
}

/// The API group of every kind.
pub const GROUP: &str = "astromesh.io";
/// The served version.
pub const VERSION: &str = "v1alpha1";

/// Every definition, in the order in which they are installed.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![v1alpha1::Agent::crd(), v1alpha1::Provider::crd()]
}
