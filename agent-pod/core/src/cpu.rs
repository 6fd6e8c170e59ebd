//! Work for the processor that takes longer than sockets may wait.
//!
//! A thread that serves sockets is lent for about a millisecond at a time. What is done by then costs no hop to another
//! thread; what is not goes on in slices on the pool for blocking work, as many at the same time as there are processors.
//! Each slice queues anew, so that a short piece of work waits for a slice of each long one and not for its end, and
//! whoever gives up waiting, at a deadline or because the caller has left, ends the work within a piece of a slice.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Semaphore;
use tokio::task::{block_in_place, spawn_blocking, yield_now};

/// Bytes that are worked through on the thread that asks: about a millisecond of the costliest text there is.
pub const INLINE_BYTES: usize = 4 << 10;

/// Bytes of one slice on the pool: some ten milliseconds of the costliest text.
const SLICE_BYTES: usize = 32 << 10;

/// After so many bytes on the thread that asks, others have their turn.
const YIELD_BYTES: usize = 1 << 10;

/// One slice for each processor, by what the container may use.
static SLICES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))));

/// A share of work, counted in bytes, because time is different on every machine.
#[derive(Debug)]
pub struct Slice {
    left: usize,
    given_up: Arc<AtomicBool>,
}

impl Slice {
    /// Takes so many bytes of it, the last time more than there are left. False: it is used up, or nobody waits for the
    /// work any more.
    pub fn spend(&mut self, bytes: usize) -> bool {
        if self.left == 0 || self.given_up.load(Ordering::Relaxed) {
            return false;
        }
        self.left = self.left.saturating_sub(bytes);
        true
    }

    fn of(left: usize, given_up: &Arc<AtomicBool>) -> Self {
        Self { left, given_up: Arc::clone(given_up) }
    }
}

/// Says when it is dropped that nobody waits any more.
#[derive(Default)]
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Carries work out in slices. `go_on` works until the slice is used up, looking often, and says whether all is done.
pub async fn in_slices<S, F>(mut state: S, go_on: F) -> S
where
    S: Send + 'static,
    F: Fn(&mut S, &mut Slice) -> bool + Copy + Send + 'static,
{
    let waiting = Waiting::default();
    let mut slice = Slice::of(INLINE_BYTES, &waiting.0);
    let mut done = go_on(&mut state, &mut slice);
    if INLINE_BYTES - slice.left > YIELD_BYTES {
        yield_now().await;
    }
    while !done {
        let mut slice = Slice::of(SLICE_BYTES, &waiting.0);
        (state, done) = offload(move || {
            let done = go_on(&mut state, &mut slice);
            (state, done)
        })
        .await;
    }
    state
}

/// Carries out work that cannot be cut, away from the threads that serve sockets. It goes on to its end also when nobody
/// waits for it any more, so it must have a bound of its own.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let waiting = Waiting::default();
    let given_up = Arc::clone(&waiting.0);
    // The semaphore is never closed.
    let permit = Arc::clone(&SLICES).acquire_owned().await.ok();
    let done = spawn_blocking(move || {
        // The place is free again when the work has ended, not when its caller has.
        let _permit = permit;
        (!given_up.load(Ordering::Relaxed)).then(work)
    })
    .await;
    match done {
        Ok(Some(done)) => done,
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        // The runtime is shutting down, and with it whoever waits here.
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

/// Carries out work that cannot be cut where nothing can wait, as while a document is loaded: the other tasks of the
/// thread go on at another one meanwhile. It must have a bound of its own.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    let threads = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if threads.is_ok_and(|flavor| flavor == RuntimeFlavor::MultiThread) { block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    /// Counts bytes, in pieces, and remembers on which threads.
    struct Count {
        left: usize,
        threads: Vec<ThreadId>,
    }

    async fn counted(bytes: usize) -> Vec<ThreadId> {
        let count = Count { left: bytes, threads: Vec::new() };
        let done = in_slices(count, |count, slice| {
            count.threads.push(thread::current().id());
            while count.left > 0 && slice.spend(100) {
                count.left -= 100.min(count.left);
            }
            count.left == 0
        })
        .await;
        assert_eq!(done.left, 0);
        done.threads
    }

    #[tokio::test]
    async fn little_work_stays_on_the_thread_that_asks() {
        assert_eq!(counted(INLINE_BYTES).await, [thread::current().id()]);
    }

    #[tokio::test]
    async fn much_work_leaves_it_slice_by_slice() {
        let threads = counted(INLINE_BYTES + 3 * SLICE_BYTES).await;
        assert_eq!(threads.iter().filter(|thread| **thread == thread::current().id()).count(), 1);
        assert!((4..=5).contains(&threads.len()), "{threads:?}");
    }

    /// Works for ever.
    struct Endless {
        inline: bool,
        begun: Option<oneshot::Sender<()>>,
        /// Closed when the work has ended.
        _ended: mpsc::Sender<()>,
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_ends() {
        let ((begun, begins), (_ended, end)) = (oneshot::channel(), mpsc::channel());
        let work = in_slices(Endless { inline: true, begun: Some(begun), _ended }, |endless, slice| {
            if std::mem::take(&mut endless.inline) {
                return false;
            }
            endless.begun.take().map(|begun| begun.send(()));
            while slice.spend(0) {
                thread::yield_now();
            }
            false
        });
        tokio::select! {
            _ = work => unreachable!("it has no end"),
            begun = begins => begun.unwrap(),
        }
        assert_eq!(end.recv_timeout(Duration::from_secs(30)), Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[tokio::test]
    #[should_panic(expected = "as it is")]
    async fn a_panic_is_the_callers() {
        offload(|| panic!("as it is")).await
    }
}
