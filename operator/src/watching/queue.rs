//! Requests to reconcile: a set, so that nobody who asks ever waits, and asking twice is asking once.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{Stream, stream};
use tokio::sync::{Notify, Semaphore};

/// Asks for something to be looked at. There are never more requests than things to ask for.
pub struct Trigger<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    pending: Mutex<Pending<T>>,
    news: Notify,
}

struct Pending<T> {
    /// What is asked for, and whether it can wait.
    all: HashMap<T, bool>,
    /// The same in the order in which they were first asked for.
    now: VecDeque<T>,
    /// Those that can wait. One that no longer can stays here for a while, and is passed over.
    later: VecDeque<T>,
    /// How many have been taken while others waited that can.
    in_a_row: u32,
}

/// After so many of those that cannot wait, one comes that can: it waits, but not for ever.
const IN_A_ROW_MAX: u32 = 16;

impl<T: Clone + Eq + Hash> Pending<T> {
    fn pop(&mut self) -> Option<T> {
        if self.in_a_row < IN_A_ROW_MAX
            && let Some(next) = self.now.pop_front()
        {
            self.in_a_row += 1;
            self.all.remove(&next);
            return Some(next);
        }
        self.in_a_row = 0;
        while let Some(next) = self.later.pop_front() {
            if self.all.get(&next) == Some(&true) {
                self.all.remove(&next);
                return Some(next);
            }
        }
        let next = self.now.pop_front()?;
        self.all.remove(&next);
        Some(next)
    }

    /// Drops what is to be passed over, before it is more than what is asked for.
    fn tidy(&mut self) {
        if self.later.len() > 2 * self.all.len() + 16 {
            let (all, mut kept) = (&self.all, HashSet::new());
            self.later.retain(|what| all.get(what) == Some(&true) && kept.insert(what.clone()));
        }
    }
}

impl<T> Clone for Trigger<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Clone + Eq + Hash> Default for Trigger<T> {
    fn default() -> Self {
        let pending = Pending { all: HashMap::new(), now: VecDeque::new(), later: VecDeque::new(), in_a_row: 0 };
        Self { shared: Arc::new(Shared { pending: Mutex::new(pending), news: Notify::new() }) }
    }
}

impl<T: Clone + Eq + Hash> Trigger<T> {
    /// Asks for `what`, unless it has been asked for already and nobody has taken it up yet.
    pub fn send(&self, what: T) {
        let mut pending = self.pending();
        if pending.all.insert(what.clone(), false) != Some(false) {
            pending.now.push_back(what);
            drop(pending);
            self.shared.news.notify_one();
        }
    }

    /// The same, after everything that cannot wait.
    pub fn send_later(&self, what: T) {
        let mut pending = self.pending();
        if !pending.all.contains_key(&what) {
            pending.all.insert(what.clone(), true);
            pending.later.push_back(what);
            pending.tidy();
            drop(pending);
            self.shared.news.notify_one();
        }
    }

    /// Whether something waits that should not wait longer than it must.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.pending().now.is_empty()
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending().all.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next request, if one waits.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.pending().pop()
    }

    fn pending(&self) -> MutexGuard<'_, Pending<T>> {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request. One task only may wait.
    pub async fn next(&self) -> T {
        loop {
            if let Some(next) = self.take() {
                return next;
            }
            self.shared.news.notified().await;
        }
    }

    /// The requests as they come, without an end.
    pub fn requests(self) -> impl Stream<Item = T> + Send + 'static
    where
        T: Send + 'static,
    {
        stream::unfold(self, |trigger| async move { Some((trigger.next().await, trigger)) })
    }
}

/// Lets no more requests out than are worked on at the same time: the others wait here, in order. A controller of kube takes whatever it is
/// given, and of what is due always the first by its hash: one that comes late in that order waits as long as any other is due.
pub struct Admission<T> {
    trigger: Trigger<T>,
    out: Mutex<HashSet<T>>,
    room: Semaphore,
}

impl<T: Clone + Eq + Hash + Send + 'static> Admission<T> {
    /// Those of a trigger, so many at a time.
    #[must_use]
    pub fn new(trigger: Trigger<T>, at_once: usize) -> Self {
        Self { trigger, out: Mutex::default(), room: Semaphore::new(at_once) }
    }

    /// The requests, as there is room for them.
    pub fn admitted(self: Arc<Self>) -> impl Stream<Item = T> + Send + 'static {
        stream::unfold(self, |admission| async move {
            // It is never closed.
            admission.room.acquire().await.ok()?.forget();
            let next = admission.trigger.next().await;
            if !admission.out().insert(next.clone()) {
                // It is worked on, and will be once more; one room is enough.
                admission.room.add_permits(1);
            }
            Some((next, admission))
        })
    }

    /// A request has been worked on, or was of something that is gone.
    pub fn done(&self, what: &T) {
        if self.out().remove(what) {
            self.room.add_permits(1);
        }
    }

    fn out(&self) -> MutexGuard<'_, HashSet<T>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;

    #[tokio::test]
    async fn no_more_is_let_out_than_there_is_room_for_and_the_rest_in_order() {
        let trigger = Trigger::default();
        (0..5).for_each(|number| trigger.send(number));
        let admission = Arc::new(Admission::new(trigger.clone(), 2));
        let mut admitted = Box::pin(Arc::clone(&admission).admitted());
        let mut next = || admitted.next().now_or_never().flatten();
        assert_eq!([next(), next(), next()], [Some(0), Some(1), None]);
        admission.done(&1);
        admission.done(&1);
        admission.done(&7);
        assert_eq!([next(), next()], [Some(2), None], "each makes room once, and what was not let out makes none");
        trigger.send(0);
        admission.done(&2);
        assert_eq!([next(), next()], [Some(3), None]);
        admission.done(&3);
        assert_eq!([next(), next()], [Some(4), None]);
        admission.done(&4);
        assert_eq!([next(), next()], [Some(0), None], "it is worked on: its room serves the second time, too");
        admission.done(&0);
        trigger.send(8);
        trigger.send(9);
        assert_eq!([next(), next()], [Some(8), Some(9)], "no room is lost");
    }

    #[tokio::test]
    async fn asking_twice_is_asking_once_and_nobody_waits() {
        let trigger = Trigger::default();
        for _round in 0..10_000 {
            trigger.send("a");
            trigger.send("b");
        }
        assert_eq!((trigger.len(), trigger.next().await, trigger.take(), trigger.take()), (2, "a", Some("b"), None));
        trigger.send("a");
        assert_eq!(trigger.next().await, "a", "what has been taken up can be asked for again");
    }

    #[tokio::test]
    async fn what_can_wait_comes_after_what_cannot_and_once() {
        let trigger = Trigger::default();
        trigger.send_later("seen");
        trigger.send_later("both");
        assert!(!trigger.is_busy());
        trigger.send("edited");
        trigger.send("both");
        trigger.send_later("edited");
        assert!(trigger.is_busy());
        assert_eq!(trigger.len(), 3);
        let taken: Vec<_> = std::iter::from_fn(|| trigger.take()).collect();
        assert_eq!(taken, ["edited", "both", "seen"]);
        assert!(trigger.is_empty() && !trigger.is_busy());
        trigger.send_later("both");
        assert_eq!(trigger.take(), Some("both"), "what has been taken up can be asked for again");
    }

    #[test]
    fn what_can_wait_does_not_wait_for_ever_nor_leave_anything_behind() {
        let trigger = Trigger::default();
        trigger.send_later(1_000);
        (0..100).for_each(|number| trigger.send(number));
        let taken: Vec<_> = std::iter::from_fn(|| trigger.take()).collect();
        assert_eq!((taken.len(), taken.iter().position(|taken| *taken == 1_000)), (101, Some(16)));
        for _round in 0..1_000 {
            trigger.send_later(7);
            trigger.send(7);
            assert_eq!(trigger.take(), Some(7));
        }
        assert!(trigger.is_empty() && trigger.pending().later.len() < 50, "{}", trigger.pending().later.len());
    }

    #[tokio::test]
    async fn who_waits_is_woken() {
        let trigger = Trigger::default();
        let (asked, ()) = tokio::join!(trigger.next(), async { trigger.send(7) });
        assert_eq!(asked, 7);
    }
}
