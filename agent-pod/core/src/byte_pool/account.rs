//! What a run holds of the pool.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{BytePool, ByteReservation, PoolError, Priority};
use crate::error::RunError;

/// How long a run under way waits for bytes, in all: it may have to wait for each piece of a reply. What it holds meanwhile others wait for, so that it cannot be long.
pub const RUN_WAIT: Duration = Duration::from_secs(5);

/// So many bytes are drawn at a time, so that a reply of a thousand pieces does not ask a thousand times.
const STEP_BYTES: usize = 16 * 1024;

/// The bytes of one run: of its request, and of everything that it learns. Clones are the same account; they are given
/// back when the last one is dropped.
#[derive(Clone, Debug)]
pub struct RunBytes(Arc<Mutex<Account>>);

#[derive(Debug)]
struct Account {
    reservation: ByteReservation,
    share: Share,
    /// Of what is reserved, how much has not been used yet.
    spare: usize,
    /// How long the run has waited so far.
    waited: Duration,
}

impl RunBytes {
    /// An account that begins with this.
    #[must_use]
    pub fn new(reservation: ByteReservation) -> Self {
        Self::within(reservation, Share::default())
    }

    /// The same with a part in what others draw, too.
    #[must_use]
    pub fn within(reservation: ByteReservation, share: Share) -> Self {
        Self(Arc::new(Mutex::new(Account { reservation, share, spare: 0, waited: Duration::ZERO })))
    }

    /// Draws so many more, for as long as the run lasts.
    ///
    /// # Errors
    /// `overloaded` where others hold them, or where this run alone would hold more than there is.
    pub async fn draw(&self, bytes: usize) -> Result<(), RunError> {
        let (mut more, patience) = {
            let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(spare) = account.spare.checked_sub(bytes) {
                account.spare = spare;
                return Ok(());
            }
            let (held, pool) = (account.reservation.bytes(), account.reservation.pool().clone());
            let most = pool.most(Priority::Run);
            if held.saturating_add(bytes) > most || !account.share.has(bytes, pool.capacity()) {
                return Err(PoolError::Exhausted.for_caller());
            }
            (pool.reservation(), RUN_WAIT.saturating_sub(account.waited))
        };
        let (drawn, begun) = (bytes.next_multiple_of(STEP_BYTES), Instant::now());
        let grown = more.grow(drawn, Priority::Run, patience).await;
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        account.waited += begun.elapsed();
        grown.map_err(|_| PoolError::Exhausted.for_caller())?;
        account.reservation.merge(more);
        account.share.add(drawn);
        account.spare += drawn - bytes;
        Ok(())
    }

    /// The same without a wait. Returns whether it did.
    #[must_use]
    pub fn try_draw(&self, bytes: usize) -> bool {
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(missing) = bytes.checked_sub(account.spare) else {
            account.spare -= bytes;
            return true;
        };
        let capacity = account.reservation.pool().capacity();
        let drawn =
            account.share.has(missing, capacity) && account.reservation.try_grow(missing, Priority::Run).is_ok();
        if drawn {
            account.share.add(missing);
            account.spare = 0;
        }
        drawn
    }

    /// How many it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).reservation.bytes()
    }
}

/// What several accounts have drawn together: at most half of the pool, so that what one call begins leaves the other half
/// to others. The one of [`Share::default`] has no bound.
#[derive(Debug, Default)]
pub struct Share {
    together: Option<Arc<AtomicUsize>>,
    own: usize,
}

impl Share {
    /// A part in this count.
    #[must_use]
    pub fn of(together: &Arc<AtomicUsize>) -> Self {
        Self { together: Some(Arc::clone(together)), own: 0 }
    }

    /// Whether there are so many more. Those who ask at the same moment may get a little more together.
    fn has(&self, bytes: usize, capacity: usize) -> bool {
        let drawn = |together: &Arc<AtomicUsize>| together.load(Ordering::Relaxed);
        self.together.as_ref().is_none_or(|together| drawn(together).saturating_add(bytes) <= capacity / 2)
    }

    fn add(&mut self, bytes: usize) {
        self.own += bytes;
        if let Some(together) = &self.together {
            together.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(together) = &self.together {
            together.fetch_sub(self.own, Ordering::Relaxed);
        }
    }
}

impl Default for RunBytes {
    /// An account of nothing at the pool of the process.
    fn default() -> Self {
        Self::new(BytePool::of_process().reservation())
    }
}

impl PartialEq for RunBytes {
    /// What a call says is the same whatever it holds.
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for RunBytes {}
