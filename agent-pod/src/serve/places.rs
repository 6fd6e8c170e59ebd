//! Who may be connected: so many at a time, and whoever asks for nothing gives way to whoever comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_pod_runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// How long a place that has been taken away may take to come back; a task has to be polled for it once.
const GIVEN_UP_WITHIN: Duration = Duration::from_millis(500);

/// The places of a port.
pub(super) struct Places {
    port: &'static str,
    runtime: Arc<Runtime>,
    free: Arc<Semaphore>,
    visitors: Mutex<Visitors>,
}

#[derive(Default)]
struct Visitors {
    next: u64,
    /// In the order in which they came.
    present: BTreeMap<u64, Arc<Visit>>,
}

/// A place for a connection; free again when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    _permit: OwnedSemaphorePermit,
}

/// What a connection is doing.
pub(super) struct Visit {
    doing: Mutex<Doing>,
    /// Cancelled when another one gets its place.
    pub(super) give_way: CancellationToken,
}

#[derive(Clone, Copy)]
struct Doing {
    requests: u32,
    /// Whether it has ever sent a request's head.
    spoken: bool,
    /// Since when it is as it is.
    since: Instant,
}

/// What a connection is found doing.
pub(super) enum Found {
    /// It has not sent the head of a request yet, since then.
    Silent,
    /// It waits for an answer.
    Busy,
    /// It has had its answers, since then.
    Idle(Instant),
}

/// A visit that is in the books; out of them when it is dropped.
pub(super) struct Entered {
    places: Arc<Places>,
    number: u64,
    pub(super) visit: Arc<Visit>,
}

/// A request that is being answered; over when it is dropped.
pub(super) struct Attending(Arc<Visit>);

impl Places {
    /// So many places at the port of this name.
    pub(super) fn new(port: &'static str, max: usize, runtime: Arc<Runtime>) -> Arc<Self> {
        Arc::new(Self { port, runtime, free: Arc::new(Semaphore::new(max)), visitors: Mutex::default() })
    }

    fn visitors(&self) -> MutexGuard<'_, Visitors> {
        self.visitors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection that the pod has ended.
    pub(super) fn cut(&self, reason: &'static str) {
        self.runtime.process().cut(self.port, reason);
    }

    /// A place, if need be that of the one who has been of no use for longest: first those who have never asked for
    /// anything, then those who wait for nothing. None where all are busy.
    pub(super) async fn take(self: &Arc<Self>) -> Option<Place> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(self.place(permit));
        }
        if let Some(visit) = self.least_useful() {
            visit.give_way.cancel();
            let freed = timeout(GIVEN_UP_WITHIN, Arc::clone(&self.free).acquire_owned()).await;
            if let Ok(Ok(permit)) = freed {
                return Some(self.place(permit));
            }
        }
        self.cut("full");
        None
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        self.runtime.process().opened(self.port);
        Place { places: Arc::clone(self), _permit: permit }
    }

    fn least_useful(&self) -> Option<Arc<Visit>> {
        let visitors = self.visitors();
        let unused = visitors.present.values().filter(|visit| !visit.give_way.is_cancelled()).filter_map(|visit| {
            let Doing { requests, spoken, since } = *visit.doing();
            (requests == 0).then_some(((spoken, since), visit))
        });
        unused.min_by_key(|(uselessness, _)| *uselessness).map(|(_, visit)| Arc::clone(visit))
    }

    /// A connection that begins.
    pub(super) fn enter(self: &Arc<Self>) -> Entered {
        let doing = Doing { requests: 0, spoken: false, since: Instant::now() };
        let visit = Arc::new(Visit { doing: Mutex::new(doing), give_way: CancellationToken::new() });
        let mut visitors = self.visitors();
        let number = visitors.next;
        visitors.next += 1;
        visitors.present.insert(number, Arc::clone(&visit));
        Entered { places: Arc::clone(self), number, visit }
    }
}

impl Visit {
    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come.
    pub(super) fn attend(self: &Arc<Self>) -> Attending {
        let mut doing = self.doing();
        doing.requests += 1;
        doing.spoken = true;
        drop(doing);
        Attending(Arc::clone(self))
    }

    pub(super) fn found(&self) -> Found {
        let doing = self.doing();
        match *doing {
            Doing { requests: 0, spoken: false, since: _ } => Found::Silent,
            Doing { requests: 0, spoken: true, since } => Found::Idle(since),
            Doing { .. } => Found::Busy,
        }
    }
}

impl Entered {
    pub(super) fn cut(&self, reason: &'static str) {
        self.places.cut(reason);
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        let mut doing = self.0.doing();
        doing.requests = doing.requests.saturating_sub(1);
        doing.since = Instant::now();
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.places.visitors().present.remove(&self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.runtime.process().closed(self.places.port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(max: usize) -> Arc<Places> {
        Places::new("api", max, Arc::new(Runtime::standalone()))
    }

    #[tokio::test]
    async fn who_has_said_nothing_gives_way_before_who_waits_for_nothing_and_nobody_who_is_busy_does() {
        let places = places(3);
        let mut held = Vec::new();
        let mut entered = Vec::new();
        for _ in 0..3 {
            held.push(places.take().await.unwrap());
            entered.push(places.enter());
        }
        let busy = entered[0].visit.attend();
        drop(entered[1].visit.attend());
        assert!(places.take().await.is_none(), "the one who is told to go has not gone yet");
        assert!(entered[2].visit.give_way.is_cancelled());
        assert!(places.take().await.is_none());
        assert!(entered[1].visit.give_way.is_cancelled());
        assert!(places.take().await.is_none() && !entered[0].visit.give_way.is_cancelled());
        drop(busy);
        held.pop();
        assert!(places.take().await.is_some());
    }
}
