//! The runs that one call begins: its own, and those of all agents that are asked for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::byte_pool::{BytePool, RunBytes, Share};
use crate::error::{ErrorCode, RunError};

/// The most runs of other agents for one call, in all.
pub const RUNS_MAX: usize = 256;

/// The most of them at the same time.
pub const RUNS_AT_ONCE_MAX: usize = 64;

/// What the runs of one call share within a process. Depth alone bounds little: each agent can ask for many others at once,
/// and each of these again.
#[derive(Clone, Debug, Default)]
pub struct Family(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    under_way: AtomicUsize,
    /// The bytes that they hold.
    bytes: Arc<AtomicUsize>,
}

/// A run of the family; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Member(Family);

impl Family {
    /// What a run of the family holds of the pool: all together at most half of it.
    pub(crate) fn bytes(&self) -> RunBytes {
        RunBytes::within(BytePool::of_process().reservation(), Share::of(&self.0.bytes))
    }

    /// One run more.
    ///
    /// # Errors
    /// When there are as many as there may be. Nobody waits: those who would have to end first may be the ones that wait.
    pub(crate) fn join(&self, name: &str) -> Result<Member, RunError> {
        let Self(counts) = self;
        if counts.under_way.fetch_add(1, Ordering::Relaxed) >= RUNS_AT_ONCE_MAX {
            counts.under_way.fetch_sub(1, Ordering::Relaxed);
            return Err(refused(format!(
                "{RUNS_AT_ONCE_MAX} agents are at work for this call at the same time, and more may not be; do without `{name}`, or ask it later"
            )));
        }
        let member = Member(self.clone());
        if counts.begun.fetch_add(1, Ordering::Relaxed) >= RUNS_MAX {
            return Err(refused(format!(
                "agents have been asked {RUNS_MAX} times for this call, and more they may not be; do without `{name}`"
            )));
        }
        Ok(member)
    }
}

impl PartialEq for Family {
    /// What a call asks for is the same whatever else is under way for it.
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Family {}

impl Drop for Member {
    fn drop(&mut self) {
        let Self(Family(counts)) = self;
        counts.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

fn refused(message: String) -> RunError {
    RunError::new(ErrorCode::ValidationFailed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_at_work_at_once_and_so_many_in_all() {
        let family = Family::default();
        let at_work: Vec<_> = (0..RUNS_AT_ONCE_MAX).map(|_| family.clone().join("a").unwrap()).collect();
        assert!(family.join("a").unwrap_err().message.contains("at the same time"));
        drop(at_work);
        for _ in RUNS_AT_ONCE_MAX..RUNS_MAX {
            family.join("a").unwrap();
        }
        assert!(family.join("a").unwrap_err().message.contains("256 times"));
        assert!(Family::default().join("a").is_ok(), "another call has runs of its own");
    }
}
