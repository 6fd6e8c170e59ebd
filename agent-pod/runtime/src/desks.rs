//! The runs that may wait for an approval, so that one can be given by REST.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::tool::{Desk, DeskError, Ruling};
use moka::sync::Cache;

/// How long the approvals of a run that has ended are known, so that a second decider learns that there was a first.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// Ended runs whose approvals are known.
const KEPT_MAX: u64 = 10_000;

/// The desks of runs.
#[derive(Clone)]
pub struct Desks(Arc<Inner>);

struct Inner {
    under_way: Mutex<HashMap<String, (String, Weak<Desk>)>>,
    ended: Cache<String, (String, Arc<Desk>)>,
}

/// A run that is under way; ends when it is dropped.
pub struct Entered {
    desks: Desks,
    run_id: String,
    desk: Option<Arc<Desk>>,
}

impl Default for Desks {
    fn default() -> Self {
        let ended = Cache::builder().max_capacity(KEPT_MAX).time_to_live(KEPT_FOR).build();
        Self(Arc::new(Inner { under_way: Mutex::default(), ended }))
    }
}

impl Desks {
    fn under_way(&self) -> MutexGuard<'_, HashMap<String, (String, Weak<Desk>)>> {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run of `agent` has begun.
    #[must_use]
    pub fn enter(&self, run_id: &str, agent: &str, desk: &Arc<Desk>) -> Entered {
        self.under_way().insert(run_id.to_owned(), (agent.to_owned(), Arc::downgrade(desk)));
        Entered { desks: self.clone(), run_id: run_id.to_owned(), desk: Some(Arc::clone(desk)) }
    }

    fn find(&self, run_id: &str) -> Option<(String, Arc<Desk>)> {
        let under_way = self.under_way().get(run_id).and_then(|(agent, desk)| Some((agent.clone(), desk.upgrade()?)));
        under_way.or_else(|| self.0.ended.get(run_id))
    }

    /// The agent of a run.
    #[must_use]
    pub fn agent(&self, run_id: &str) -> Option<String> {
        self.find(run_id).map(|(agent, _)| agent)
    }

    /// Answers an approval.
    ///
    /// # Errors
    /// `run_not_found`, `already_decided`.
    pub fn decide(&self, run_id: &str, approval: &str, ruling: Ruling) -> Result<(), RunError> {
        let not_found = || {
            let message = format!("no run `{run_id}` in this pod waits for an approval `{approval}`");
            RunError::new(ErrorCode::RunNotFound, message)
        };
        let (_, desk) = self.find(run_id).ok_or_else(not_found)?;
        desk.decide(approval, ruling).map_err(|error| match error {
            DeskError::Unknown => not_found(),
            DeskError::Over => {
                let message = format!("the approval `{approval}` has been decided, or its time was up");
                RunError::new(ErrorCode::AlreadyDecided, message)
            }
        })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let known = self.desks.under_way().remove(&self.run_id);
        let Some((agent, desk)) = known.map(|(agent, _)| agent).zip(self.desk.take()) else { return };
        if desk.has_asked() {
            self.desks.0.ended.insert(self.run_id.clone(), (agent, desk));
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_pod_core::tool::Decision;

    use super::*;

    #[test]
    fn a_run_that_is_not_here_cannot_be_decided() {
        let desks = Desks::default();
        let desk = Arc::new(Desk::default());
        let entered = desks.enter("r1", "support", &desk);
        let ruling = || Ruling { decision: Decision::Approve, reason: None, by: "ada".to_owned() };
        assert_eq!(desks.agent("r1").as_deref(), Some("support"));
        assert_eq!(desks.decide("r1", "c1", ruling()).unwrap_err().code, ErrorCode::RunNotFound);
        assert_eq!(desks.decide("r2", "c1", ruling()).unwrap_err().code, ErrorCode::RunNotFound);
        drop(entered);
        assert_eq!(desks.agent("r1"), None, "it has asked for nothing");
    }
}
