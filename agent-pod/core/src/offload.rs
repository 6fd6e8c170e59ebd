//! Work that would keep a thread from serving its sockets, done elsewhere.

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// So much of it goes on at once: more would only take turns on the processors that serve.
const AT_ONCE: usize = 2;

static PLACES: Semaphore = Semaphore::const_new(AT_ONCE);

/// Does the work on a thread of its own kind and waits for it. Meant for what takes a millisecond or more; the way there and
/// back takes some ten microseconds. Work that has begun goes on to its end when nobody waits for it any more, and so must
/// have a bound of its own.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // The semaphore is never closed.
    let place = PLACES.acquire().await.ok();
    let done = spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    });
    match done.await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_stopped) => std::future::pending().await,
        },
    }
}
