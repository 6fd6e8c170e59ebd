//! The operator: turns Agents and Providers into running pods, and says how they are.
//!
//! ```text
//!  watches ──► stores ──► controllers ──► API server     children, statuses, Events
//!                 ▲            │
//!                 └────────────┼──► pods                  nudge, GET /internal/state
//!                              ├──► reports ──► Providers
//!                              └──► servers of Providers that nobody uses: do they answer?
//! ```
//!
//! - A controller is a row of steps: dereference, validate, build, apply, observe, status. The ones in the middle are
//!   pure; only apply, observe and the last line of status do I/O.
//! - What is not ready yet is a value, [`observing::Outcome::Waiting`]; errors are failures, and have a class.
//! - Only what differs is written, so reconciling ten times without a change writes nothing.
//! - [`controllers::agent::status`] is where `Ready` is decided: never for a generation that a ready pod does not serve.
//!
//! Deliberately absent: any access to Secrets, a finalizer, an admission webhook, and state outside the cluster. What is
//! kept in memory is only there to save calls; a new leader starts without it.

pub mod announcer;
pub mod applier;
pub mod args;
pub mod backoff;
pub mod conditions;
pub mod controllers;
pub mod drift;
pub mod index;
pub mod labels;
pub mod lease;
pub mod metrics;
pub mod names;
pub mod observing;
pub mod operator;
pub mod peers;
pub mod pods;
pub mod probing;
pub mod reports;
pub mod scope;
pub mod server;
pub mod statuses;
pub mod stores;

pub mod telemetry;
pub mod texts;
pub mod trust;
pub mod watching;

#[cfg(test)]
mod testing;
