//! Other agents behind one port, whether they run in this process or elsewhere.

mod family;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use crate::agent::Booked;
use crate::error::{ErrorCode, RunError};
use crate::event::TurnRequest;
use crate::service::{AgentService, Run, RunOptions};
use crate::tool::{Desk, Ruling};

pub use family::{Family, RUNS_AT_ONCE_MAX, RUNS_MAX};

/// How many agents may have called each other at most to get to a run.
pub const DEPTH_MAX: u32 = 8;

/// The longest session id that every store and every door takes, in characters.
const SESSION_CHARS_MAX: usize = 256;

/// An agent that others call.
#[async_trait]
pub trait Peer: Send + Sync {
    /// Starts a run of it. Dropping the run stops it.
    ///
    /// # Errors
    /// When it is not let in, or not there.
    async fn start(&self, request: TurnRequest, options: RunOptions) -> Result<Run, RunError>;
    /// Answers an approval that one of its runs waits for. One that does not get there is denied when its time is up.
    async fn decide(&self, (_run_id, desk): (&str, &Desk), approval: &str, ruling: Ruling) {
        if let Err(error) = desk.decide(approval, ruling) {
            tracing::debug!(cause = %error, "a decision came too late for the agent that waited for it");
        }
    }
}

/// An agent, and the way to it.
#[derive(Clone)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The way to it.
    pub port: Arc<dyn Peer>,
}

impl Target {
    /// `namespace/name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The session that it knows for a session of its caller.
    #[must_use]
    pub fn session(&self, of_caller: &str) -> String {
        let session = format!("{of_caller}::{}", self.name);
        if session.chars().count() <= SESSION_CHARS_MAX {
            return session;
        }
        // Cut off, two sessions could become one. What is stored under it is to be found by later releases too.
        format!("{}::{}", hex::encode(Sha256::digest(of_caller)), self.name)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("agent", &self.key()).finish_non_exhaustive()
    }
}

/// Two ways to one agent are the same agent.
impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.name == other.name
    }
}

impl Eq for Target {}

/// An agent of the same process: always the one that serves at the moment of the call.
pub struct Local {
    service: Weak<dyn AgentService>,
    namespace: String,
    name: String,
}

impl Local {
    /// The agent of this name. Agents hold each other weakly, because the service holds them all.
    #[must_use]
    pub fn new(service: Weak<dyn AgentService>, namespace: &str, name: &str) -> Self {
        Self { service, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

#[async_trait]
impl Peer for Local {
    async fn start(&self, request: TurnRequest, options: RunOptions) -> Result<Run, RunError> {
        let stopped = || RunError::new(ErrorCode::Draining, "the pod is stopping");
        let service = self.service.upgrade().ok_or_else(stopped)?;
        let serves = service.agent(&self.name).is_some_and(|agent| agent.details.summary.namespace == self.namespace);
        if !serves {
            let message = format!("there is no agent `{}` in namespace `{}` now", self.name, self.namespace);
            return Err(RunError::new(ErrorCode::AgentNotFound, message));
        }
        service.start(&self.name, request, options).await
    }
}

/// Where a run leaves what it has used, for the run that has called it, however it ends.
#[derive(Clone, Debug, Default)]
pub struct Bill(Arc<Mutex<Option<Booked>>>);

impl Bill {
    pub(crate) fn put(&self, booked: Booked) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(booked);
    }

    /// What the run has used, once it has ended.
    pub(crate) fn take(&self) -> Option<Booked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The same bill, not an equal one.
impl PartialEq for Bill {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Bill {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    #[async_trait]
    impl Peer for Nobody {
        async fn start(&self, _: TurnRequest, _: RunOptions) -> Result<Run, RunError> {
            Err(RunError::new(ErrorCode::AgentNotFound, "nobody is there"))
        }
    }

    #[test]
    fn two_sessions_of_a_caller_are_two_of_the_agent_it_calls() {
        let port = Arc::new(Nobody);
        let target = Target { namespace: "shop".to_owned(), name: "billing".to_owned(), port };
        assert_eq!(target.session("s-1"), "s-1::billing");
        let long = |end: &str| target.session(&format!("{}{end}", "s".repeat(255)));
        assert!(long("1").ends_with("::billing") && long("1").len() <= 256);
        // Of every release: what is stored under it is to be found again.
        assert_eq!(long("1"), "c2f35dc1ff8c1767d1aaf90345349d66a9f02083c9a43a9d436c9a2bab3532f3::billing");
        assert_ne!(long("1"), long("2"));
    }
}
