//! Where documents come from, and when they change.

pub mod manifests;
pub mod mounted;
mod watch;

pub use watch::WatchError;
