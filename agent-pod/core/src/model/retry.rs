//! How often a call may be tried again: a share of what has succeeded of late, so that retries never make an outage worse.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time that the budget looks back on.
const WINDOW: Duration = Duration::from_secs(60);

/// Parts of the window; what is older than a window goes by one part at a time.
const SLOTS: usize = 6;

/// Retries in a window that are always allowed: a quiet model must not lose its second try.
const RETRIES_MIN: u64 = 3;

/// Pause before the second try; doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// How often a call is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Tries of one candidate, the first included.
    pub attempts_max: u32,
    /// Retries in a hundred calls that succeed.
    pub budget_percent: u32,
}

/// What has succeeded and what was tried again in the last minute.
#[derive(Debug)]
pub struct RetryBudget {
    began: Instant,
    slots: Mutex<[Slot; SLOTS]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Which part of time it counts; one of another number is old.
    number: u64,
    successes: u64,
    retries: u64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { began: Instant::now(), slots: Mutex::default() }
    }
}

impl RetryBudget {
    /// A call has succeeded.
    pub fn succeeded(&self) {
        self.with_slot(|slot, _| slot.successes += 1);
    }

    /// Takes one retry, if there is one.
    #[must_use]
    pub fn take(&self, percent: u32) -> bool {
        self.with_slot(|slot, (successes, retries)| {
            let allowed = (successes * u64::from(percent) / 100).max(RETRIES_MIN);
            let granted = retries < allowed;
            slot.retries += u64::from(granted);
            granted
        })
    }

    /// Gives the slot of now, and the sums of successes and retries of the window.
    fn with_slot<T>(&self, act: impl FnOnce(&mut Slot, (u64, u64)) -> T) -> T {
        let length = WINDOW.as_millis() / SLOTS as u128;
        let number = u64::try_from(self.began.elapsed().as_millis() / length).unwrap_or(u64::MAX);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = number.saturating_sub(SLOTS as u64 - 1);
        let sums = slots
            .iter()
            .filter(|slot| slot.number >= oldest)
            .fold((0, 0), |(successes, retries), slot| (successes + slot.successes, retries + slot.retries));
        let index = usize::try_from(number % SLOTS as u64).unwrap_or_default();
        let slot = slots.get_mut(index).expect("the index is a remainder of the length");
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        act(slot, sums)
    }
}

/// The pause before try number `attempt` (2 is the second), between half and all of a time that doubles. `seed` spreads
/// callers, so that those who failed together do not come back together.
#[must_use]
pub fn pause(attempt: u32, seed: u64) -> Duration {
    let full = PAUSE * 2_u32.saturating_pow(attempt.saturating_sub(2).min(6));
    let spread = u32::try_from(seed % 1000).unwrap_or_default();
    full / 2 + full * spread / 2000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    fn taken(budget: &RetryBudget, asked: usize) -> usize {
        (0..asked).filter(|_| budget.take(20)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn three_in_a_minute_are_always_there() {
        let budget = RetryBudget::default();
        assert_eq!(taken(&budget, 10), 3);
        advance(Duration::from_secs(30)).await;
        assert_eq!(taken(&budget, 10), 0, "half a minute later");
        advance(Duration::from_secs(40)).await;
        assert_eq!(taken(&budget, 10), 3, "when they are over a minute old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_model_has_its_share_of_what_succeeds() {
        let budget = RetryBudget::default();
        (0..200).for_each(|_| budget.succeeded());
        assert_eq!(taken(&budget, 100), 40);
        advance(Duration::from_secs(70)).await;
        assert_eq!(taken(&budget, 100), 3, "old successes count no more");
    }

    proptest! {
        #[test]
        fn pauses_double_within_their_half(attempt in 2_u32..20, seed: u64) {
            let full = PAUSE * 2_u32.pow((attempt - 2).min(6));
            let pause = pause(attempt, seed);
            prop_assert!(pause >= full / 2 && pause <= full, "{:?} of {:?}", pause, full);
        }
    }
}
