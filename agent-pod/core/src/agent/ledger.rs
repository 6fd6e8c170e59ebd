//! What a run has used and done so far.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::baton::Baton;
use crate::byte_pool::RunBytes;
use crate::error::RunError;
use crate::event::{Attempt, Step};
use crate::guardrail::{Block, Hit};
use crate::usage::{Call, Usage};

/// The book of a run. All its parts write into one, also those that go on at the same time, so that nothing is lost when
/// some of them are dropped. A run is one future, so the lock is never waited for.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Booked>, RunBytes);

/// What is booked.
#[derive(Clone, Debug, Default)]
pub struct Booked {
    /// Tokens and cost.
    pub usage: Usage,
    /// Every provider that was tried.
    pub attempts: Vec<Attempt>,
    /// What happened on the way.
    pub steps: Vec<Step>,
    /// What was missing.
    pub degraded: Vec<String>,
    /// What the guardrails have found.
    pub guardrail_hits: Vec<Hit>,
    /// The rule that has blocked the run.
    pub block: Option<Block>,
    /// What other agents have used for it. They count it themselves, so that it is apart from the run's own.
    pub others: Others,
    /// Whether and how the conversation may be handed over; none: not at all.
    pub(crate) baton: Option<Baton>,
    /// The agent that has the conversation, where that is another one.
    pub(crate) holder: Option<String>,
    /// What the agents that have called this one may still use, in tokens.
    pub(crate) tokens_max: Option<u64>,
    /// Why no model is called any more.
    pub refusal: Option<RunError>,
}

/// What other agents have used.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// Tokens and cost.
    pub usage: Usage,
    /// Every provider that they have tried.
    pub attempts: Vec<Attempt>,
}

impl Booked {
    /// The same with what other agents have used.
    #[must_use]
    pub fn with_others(mut self) -> Self {
        let Others { usage, attempts } = std::mem::take(&mut self.others);
        self.usage.merge(&usage);
        self.attempts.extend(attempts);
        self
    }
}

impl Ledger {
    /// The book of a run that may use no more than so many tokens.
    pub(super) fn bounded(tokens_max: Option<u64>, bytes: RunBytes) -> Self {
        Self(Mutex::new(Booked { tokens_max, ..Booked::default() }), bytes)
    }

    /// An empty book for a part of the run, which draws on the same bytes.
    pub(super) fn part(&self) -> Self {
        Self(Mutex::default(), self.1.clone())
    }

    /// Draws so many bytes at once, where there are so many. Returns whether it did.
    pub(super) fn try_draw(&self, bytes: usize) -> bool {
        self.1.try_draw(bytes)
    }

    /// Draws so many bytes for what the run has learnt; they are held until it has ended.
    ///
    /// # Errors
    /// `overloaded` where there are none.
    pub async fn draw(&self, bytes: usize) -> Result<(), RunError> {
        self.1.draw(bytes).await
    }

    /// What the agents that have called this one may still use.
    pub(super) fn tokens_max(&self) -> Option<u64> {
        self.lock().tokens_max
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Booked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far.
    #[must_use]
    pub fn booked(&self) -> Booked {
        self.lock().clone()
    }

    /// Everything, once nothing more is booked.
    pub(super) fn close(&mut self) -> Booked {
        std::mem::take(self.0.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Books a model call.
    pub fn call(&self, call: Call<'_>) {
        self.lock().usage.add(call);
    }

    /// Books a try of a provider.
    pub fn attempt(&self, attempt: Attempt) {
        self.lock().attempts.push(attempt);
    }

    /// Books what a part has used apart.
    pub(super) fn absorb(&self, part: Booked) {
        let mut booked = self.lock();
        booked.usage.merge(&part.usage);
        booked.attempts.extend(part.attempts);
        if let Some(refusal) = part.refusal {
            booked.refusal.get_or_insert(refusal);
        }
    }

    /// Takes the words of servers out of the attempts: a rule has found something in them.
    pub(super) fn forget_words(&self) {
        let mut booked = self.lock();
        booked.attempts.iter_mut().for_each(|attempt| attempt.message = None);
    }

    /// Books that no model may be called any more, and why.
    pub(crate) fn refuse(&self, refusal: RunError) {
        self.lock().refusal.get_or_insert(refusal);
    }

    /// Whether models may be called.
    ///
    /// # Errors
    /// `budget_exceeded` once a call was refused: whatever a pattern makes of the part that was, the run ends with it.
    pub(super) fn affordable(&self) -> Result<(), RunError> {
        self.lock().refusal.clone().map_or(Ok(()), Err)
    }

    /// Books a step, and gives it its index.
    pub fn step(&self, step: Step) -> u32 {
        let mut booked = self.lock();
        let index = u32::try_from(booked.steps.len() + 1).unwrap_or(u32::MAX);
        booked.steps.push(Step { index, ..step });
        index
    }

    /// Puts a fuller account of a step in its place.
    pub(super) fn amend(&self, index: u32, step: Step) {
        if let Some(known) = self.lock().steps.iter_mut().find(|known| known.index == index) {
            *known = Step { index, ..step };
        }
    }

    /// Books what another agent has used for this run.
    pub(super) fn used_by_other(&self, usage: &Usage, attempts: Vec<Attempt>) {
        let mut booked = self.lock();
        booked.others.usage.merge(usage);
        booked.others.attempts.extend(attempts);
    }

    /// Tokens so far, those of other agents included.
    pub(super) fn tokens(&self) -> u64 {
        let booked = self.lock();
        let of = |usage: &Usage| usage.tokens_in.saturating_add(usage.tokens_out);
        of(&booked.usage).saturating_add(of(&booked.others.usage))
    }

    /// Books that something was missing, once.
    pub fn degrade(&self, what: &str) {
        let mut booked = self.lock();
        if !booked.degraded.iter().any(|known| known == what) {
            booked.degraded.push(what.to_owned());
        }
    }
}
