//! The bytes that callers, stores and servers make this process hold: one pool, from which everything draws before it
//! grows.
//!
//! ```text
//!  0            1/2            3/4      7/8       1
//!  ├─ bodies ────┤              │        │        │   bodies and messages that have not come whole
//!  ├─ calls ────────────────────┤        │        │   what is held of a call until its run has ended
//!  ├─ small calls ───────────────────────┤        │   the same up to [`SMALL_BYTES`]
//!  └─ runs ───────────────────────────────────────┘   what runs under way learn: histories, replies, results
//! ```
//!
//! **Guarantees**
//! - Never more is given out than [`BytePool::capacity`], and to each [`Priority`] nothing beyond its mark: whoever has
//!   come further finishes before others begin, and a large call never keeps the small ones out.
//! - Those of one priority are served in the order in which they came.
//! - A wait can be dropped at any moment, and what a dropped reservation held is given to those who wait.
//!
//! A pool knows no allocator: it counts what is reported to it. [`weight`] says how much that is, copies included.

mod account;
pub mod weight;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

pub use account::{RUN_WAIT, RunBytes, Share};

use crate::error::{ErrorCode, RunError};

/// Calls up to here go in while large ones wait: ten thousand words, or a conversation of some dozen turns.
pub const SMALL_BYTES: usize = 64 * 1024;

/// The least a process can work with: one body of a megabyte with everything that is made of it.
pub const CAPACITY_MIN: usize = 4 * 1024 * 1024;

/// The capacity where nobody has set one.
const CAPACITY_DEFAULT: usize = 512 * 1024 * 1024;

/// When a caller that was turned away may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Who draws; the later ones may draw further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A body or message that has not come whole.
    Body,
    /// What is held of a call.
    Call,
    /// What is held of a call up to [`SMALL_BYTES`].
    SmallCall,
    /// What a run under way learns.
    Run,
}

impl Priority {
    const ALL: [Self; 4] = [Self::Body, Self::Call, Self::SmallCall, Self::Run];

    /// That of a call that holds so many bytes, be it whole or not.
    #[must_use]
    pub fn of(self, bytes: usize) -> Self {
        if bytes <= SMALL_BYTES && self != Self::Run { Self::SmallCall } else { self }
    }

    /// Up to where it may draw.
    fn mark(self, capacity: usize) -> usize {
        match self {
            Self::Body => capacity / 2,
            Self::Call => capacity - capacity / 4,
            Self::SmallCall => capacity - capacity / 8,
            Self::Run => capacity,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Body => 0,
            Self::Call => 1,
            Self::SmallCall => 2,
            Self::Run => 3,
        }
    }
}

/// Why there are no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Not even an idle pool has so many.
    #[error("{bytes} bytes do not fit into the {most} that there are")]
    NeverFits {
        /// How many it would have been.
        bytes: usize,
        /// How many there are.
        most: usize,
    },
    /// Others have them.
    #[error("others hold all bytes that there are")]
    Exhausted,
}

impl PoolError {
    /// The same for a caller: `body_too_large` or `overloaded`.
    #[must_use]
    pub fn for_caller(self) -> RunError {
        match self {
            Self::NeverFits { bytes, most } => RunError::new(
                ErrorCode::BodyTooLarge,
                format!(
                    "this takes {bytes} bytes of memory, and this pod has {most} for it; send less, or give the pod more memory"
                ),
            ),
            Self::Exhausted => RunError::new(
                ErrorCode::Overloaded,
                "this pod holds as many bytes of calls as its memory allows; try again in a second",
            )
            .retry_after(RETRY_AFTER),
        }
    }
}

/// The pool. Clones are the same pool.
#[derive(Clone, Debug)]
pub struct BytePool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    refused: u64,
    /// Those who wait, by priority.
    waiting: [VecDeque<Waiter>; 4],
}

#[derive(Debug)]
struct Waiter {
    bytes: usize,
    granted: oneshot::Sender<ByteReservation>,
}

/// What a pool says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolReport {
    /// Bytes that it has.
    pub capacity: usize,
    /// Bytes that are reserved.
    pub used: usize,
    /// Reservations that wait.
    pub waiting: usize,
    /// Reservations that were refused since the process began.
    pub refused: u64,
}

static OF_PROCESS: OnceLock<BytePool> = OnceLock::new();

impl BytePool {
    /// A pool of so many bytes, [`CAPACITY_MIN`] at least.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Shared { capacity: capacity.max(CAPACITY_MIN), state: Mutex::default() }))
    }

    /// The pool of this process. The limit that it keeps is one of the whole process, so there is one, as there is one
    /// allocator; without [`BytePool::set_of_process`] it has 512 MiB.
    #[must_use]
    pub fn of_process() -> &'static Self {
        OF_PROCESS.get_or_init(|| Self::new(CAPACITY_DEFAULT))
    }

    /// Makes the pool of this process one of so many bytes. Returns whether it did: not once it has been asked for.
    pub fn set_of_process(capacity: usize) -> bool {
        OF_PROCESS.set(Self::new(capacity)).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that it has.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// The most that a reservation of this priority can ever hold.
    #[must_use]
    pub fn most(&self, priority: Priority) -> usize {
        priority.mark(self.0.capacity)
    }

    /// What it says of itself.
    #[must_use]
    pub fn report(&self) -> PoolReport {
        let state = self.lock();
        let waiting = state.waiting.iter().map(VecDeque::len).sum();
        PoolReport { capacity: self.0.capacity, used: state.used, waiting, refused: state.refused }
    }

    /// Whether somebody waits for bytes.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        self.lock().waiting.iter().flatten().any(|waiter| !waiter.granted.is_closed())
    }

    /// A reservation of nothing, to be grown.
    #[must_use]
    pub fn reservation(&self) -> ByteReservation {
        ByteReservation { pool: self.clone(), bytes: 0 }
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            let mut state = self.lock();
            state.used = state.used.saturating_sub(bytes);
        }
    }

    /// Serves those who wait, the later priorities first.
    fn serve(&self) {
        loop {
            let (waiter, reservation) = {
                let mut state = self.lock();
                let Some(waiter) = state.next(self.0.capacity) else { return };
                state.used += waiter.bytes;
                let bytes = waiter.bytes;
                (waiter, ByteReservation { pool: self.clone(), bytes })
            };
            // One that has gone away meanwhile gives its bytes back without serving others: this loop does.
            if let Err(mut unwanted) = waiter.granted.send(reservation) {
                self.give_back(std::mem::take(&mut unwanted.bytes));
            }
        }
    }
}

impl State {
    fn fits(&self, bytes: usize, priority: Priority, capacity: usize) -> bool {
        self.used.checked_add(bytes).is_some_and(|total| total <= priority.mark(capacity))
    }

    fn next(&mut self, capacity: usize) -> Option<Waiter> {
        for priority in Priority::ALL.into_iter().rev() {
            let used = self.used;
            let queue = self.waiting.get_mut(priority.index())?;
            queue.retain(|waiter| !waiter.granted.is_closed());
            let fits = |waiter: &Waiter| used.saturating_add(waiter.bytes) <= priority.mark(capacity);
            if queue.front().is_some_and(fits) {
                return queue.pop_front();
            }
        }
        None
    }

    fn take(&mut self, bytes: usize, priority: Priority, capacity: usize) -> bool {
        let queue = self.waiting.get(priority.index());
        // Those of the same priority that wait already come first.
        let first = queue.is_none_or(|queue| queue.iter().all(|waiter| waiter.granted.is_closed()));
        let taken = first && self.fits(bytes, priority, capacity);
        if taken {
            self.used += bytes;
        }
        taken
    }
}

/// Bytes of a pool; given back when it is dropped.
#[derive(Debug)]
pub struct ByteReservation {
    pool: BytePool,
    bytes: usize,
}

impl ByteReservation {
    /// How many.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pool that they are of.
    #[must_use]
    pub fn pool(&self) -> &BytePool {
        &self.pool
    }

    /// Takes so many more, if they are there at once.
    ///
    /// # Errors
    /// When they are not; what it holds it keeps.
    pub fn try_grow(&mut self, more: usize, priority: Priority) -> Result<(), PoolError> {
        let BytePool(shared) = &self.pool;
        let total = self.bytes.saturating_add(more);
        let mut state = self.pool.lock();
        if total > priority.mark(shared.capacity) {
            state.refused += 1;
            return Err(PoolError::NeverFits { bytes: total, most: priority.mark(shared.capacity) });
        }
        if state.take(more, priority, shared.capacity) {
            self.bytes = total;
            return Ok(());
        }
        state.refused += 1;
        Err(PoolError::Exhausted)
    }

    /// Takes so many more, waiting for them for no longer than `wait`. Dropping the wait leaves it as it was.
    ///
    /// # Errors
    /// When there are none in time, or never; what it holds it keeps.
    pub async fn grow(&mut self, more: usize, priority: Priority, wait: Duration) -> Result<(), PoolError> {
        let capacity = self.pool.0.capacity;
        let total = self.bytes.saturating_add(more);
        let receiver = {
            let mut state = self.pool.lock();
            if total > priority.mark(capacity) {
                state.refused += 1;
                return Err(PoolError::NeverFits { bytes: total, most: priority.mark(capacity) });
            }
            if state.take(more, priority, capacity) {
                self.bytes = total;
                return Ok(());
            }
            let (granted, receiver) = oneshot::channel();
            if let Some(queue) = state.waiting.get_mut(priority.index()) {
                queue.push_back(Waiter { bytes: more, granted });
            }
            receiver
        };
        // Leaving the queue may let in whoever stood behind.
        let _leaving = Leaving(self.pool.clone());
        match timeout(wait, receiver).await {
            Ok(Ok(granted)) => {
                self.merge(granted);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => {
                self.pool.lock().refused += 1;
                Err(PoolError::Exhausted)
            }
        }
    }

    /// Grows or shrinks to so many.
    ///
    /// # Errors
    /// As [`ByteReservation::grow`].
    pub async fn resize(&mut self, bytes: usize, priority: Priority, wait: Duration) -> Result<(), PoolError> {
        match bytes.checked_sub(self.bytes) {
            Some(0) => Ok(()),
            Some(more) => self.grow(more, priority, wait).await,
            None => {
                self.shrink_to(bytes);
                Ok(())
            }
        }
    }

    /// Gives back what is above `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(less) = self.bytes.checked_sub(bytes) {
            drop(self.split(less));
        }
    }

    /// Parts with so many, or with all where it has fewer.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { pool: self.pool.clone(), bytes }
    }

    /// Takes over what another reservation of the pool holds.
    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for ByteReservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.pool.give_back(self.bytes);
            self.pool.serve();
        }
    }
}

/// Lets the next ones look again when a wait has ended, however it did.
struct Leaving(BytePool);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.serve();
    }
}

#[cfg(test)]
mod tests;
