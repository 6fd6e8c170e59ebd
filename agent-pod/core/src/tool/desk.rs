//! Where a run waits for others: a person who approves a call, the caller who carries one out.
//!
//! Whoever answers holds the desk, the run waits at it; nothing is spawned, and what nobody answers ends with the wait.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Whether a call may be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may.
    Approve,
    /// It may not.
    Deny,
}

/// What was decided of a call, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Whether the call may be carried out.
    pub decision: Decision,
    /// Why, in the decider's words; the model is told.
    pub reason: Option<String>,
    /// Who has decided.
    pub by: String,
}

/// Why an answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// The run asks for nothing of this id.
    #[error("nothing of this id is waited for")]
    Unknown,
    /// It has been answered, or its time was up.
    #[error("it has been answered, or its time was up")]
    Over,
}

/// The desk of one run.
#[derive(Debug, Default)]
pub struct Desk {
    waiting: Mutex<Waiting>,
    attended: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    approvals: HashMap<String, Slot<Ruling>>,
    results: HashMap<String, Slot<Result<String, String>>>,
}

/// Empty when it is over.
type Slot<T> = Option<oneshot::Sender<T>>;

impl Desk {
    /// A desk; `attended` where the caller carries out calls of client tools.
    #[must_use]
    pub fn new(attended: bool) -> Self {
        Self { waiting: Mutex::default(), attended }
    }

    /// Whether the caller carries out calls of client tools.
    #[must_use]
    pub fn is_attended(&self) -> bool {
        self.attended
    }

    /// Whether the run has ever asked for an approval.
    #[must_use]
    pub fn has_asked(&self) -> bool {
        !self.lock().approvals.is_empty()
    }

    /// Answers an approval.
    ///
    /// # Errors
    /// When it is not waited for.
    pub fn decide(&self, id: &str, ruling: Ruling) -> Result<(), DeskError> {
        answer(&mut self.lock().approvals, id, ruling)
    }

    /// Gives the result of a call, or the sentence that says why there is none.
    ///
    /// # Errors
    /// When it is not waited for.
    pub fn give(&self, id: &str, result: Result<String, String>) -> Result<(), DeskError> {
        answer(&mut self.lock().results, id, result)
    }

    /// Opens an approval; wait for it with [`Waited::answer`].
    pub(crate) fn approval(&self, id: &str) -> Waited<'_, Ruling> {
        Waited { desk: self, id: id.to_owned(), receiver: open(&mut self.lock().approvals, id), slots: approvals }
    }

    /// Opens a client's result.
    pub(crate) fn result(&self, id: &str) -> Waited<'_, Result<String, String>> {
        Waited { desk: self, id: id.to_owned(), receiver: open(&mut self.lock().results, id), slots: results }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn approvals(waiting: &mut Waiting) -> &mut HashMap<String, Slot<Ruling>> {
    &mut waiting.approvals
}

fn results(waiting: &mut Waiting) -> &mut HashMap<String, Slot<Result<String, String>>> {
    &mut waiting.results
}

fn open<T>(slots: &mut HashMap<String, Slot<T>>, id: &str) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    slots.insert(id.to_owned(), Some(sender));
    receiver
}

fn answer<T>(slots: &mut HashMap<String, Slot<T>>, id: &str, with: T) -> Result<(), DeskError> {
    let slot = slots.get_mut(id).ok_or(DeskError::Unknown)?;
    slot.take().ok_or(DeskError::Over)?.send(with).map_err(|_nobody_waits| DeskError::Over)
}

/// Something that is waited for; over when it is dropped.
pub(crate) struct Waited<'a, T> {
    desk: &'a Desk,
    id: String,
    receiver: oneshot::Receiver<T>,
    slots: fn(&mut Waiting) -> &mut HashMap<String, Slot<T>>,
}

impl<T> Waited<'_, T> {
    /// The answer; none where another one of the same id has taken its place.
    pub(crate) async fn answer(&mut self) -> Option<T> {
        (&mut self.receiver).await.ok()
    }
}

impl<T> Drop for Waited<'_, T> {
    fn drop(&mut self) {
        self.receiver.close();
        let mut waiting = self.desk.lock();
        if let Some(slot) = (self.slots)(&mut waiting).get_mut(&self.id)
            && slot.as_ref().is_some_and(oneshot::Sender::is_closed)
        {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approve() -> Ruling {
        Ruling { decision: Decision::Approve, reason: None, by: "someone".to_owned() }
    }

    #[tokio::test]
    async fn an_approval_is_decided_once() {
        let desk = Desk::default();
        assert_eq!(desk.decide("c1", approve()), Err(DeskError::Unknown));
        let mut waited = desk.approval("c1");
        assert_eq!(desk.decide("c1", approve()), Ok(()));
        assert_eq!(desk.decide("c1", approve()), Err(DeskError::Over));
        assert_eq!(waited.answer().await, Some(approve()));
    }

    #[tokio::test]
    async fn what_is_no_longer_waited_for_is_over() {
        let desk = Desk::default();
        drop(desk.approval("c1"));
        assert_eq!(desk.decide("c1", approve()), Err(DeskError::Over));
        assert!(desk.has_asked());
    }

    #[tokio::test]
    async fn a_second_call_of_an_id_takes_the_place_of_the_first() {
        let desk = Desk::new(true);
        let mut first = desk.result("c1");
        let mut second = desk.result("c1");
        assert_eq!(first.answer().await, None);
        drop(first);
        assert_eq!(desk.give("c1", Ok("done".to_owned())), Ok(()));
        assert_eq!(second.answer().await, Some(Ok("done".to_owned())));
    }
}
