//! Requests to reconcile: a set, so that nobody who asks ever waits, and asking twice is asking once.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, stream};
use tokio::sync::Notify;

/// Asks for something to be looked at. There are never more requests than things to ask for.
pub struct Trigger<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    pending: Mutex<Pending<T>>,
    news: Notify,
}

struct Pending<T> {
    all: HashSet<T>,
    /// The same in the order in which they were first asked for.
    order: VecDeque<T>,
}

impl<T> Clone for Trigger<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Clone + Eq + Hash> Default for Trigger<T> {
    fn default() -> Self {
        let pending = Mutex::new(Pending { all: HashSet::new(), order: VecDeque::new() });
        Self { shared: Arc::new(Shared { pending, news: Notify::new() }) }
    }
}

impl<T: Clone + Eq + Hash> Trigger<T> {
    /// Asks for `what`, unless it has been asked for already and nobody has taken it up yet.
    pub fn send(&self, what: T) {
        let mut pending = self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.all.insert(what.clone()) {
            pending.order.push_back(what);
            drop(pending);
            self.shared.news.notify_one();
        }
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner).order.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next request, if one waits.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        let mut pending = self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let next = pending.order.pop_front()?;
        pending.all.remove(&next);
        Some(next)
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

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn who_waits_is_woken() {
        let trigger = Trigger::default();
        let (asked, ()) = tokio::join!(trigger.next(), async { trigger.send(7) });
        assert_eq!(asked, 7);
    }
}
