//! What a run does after its end has been told, for which no caller shall have to wait.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use agent_pod_core::event::TurnEvent;
use agent_pod_core::service::Run;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Runs whose rest is under way at most. What comes beyond it is left undone: a store or a model that stands still must
/// not gather what waits for it. The most that one holds is a turn's texts.
const UNDER_WAY_MAX: usize = 64;

/// How long a pod that stops waits for what is under way.
const SETTLE_WAIT: Duration = Duration::from_secs(5);

/// What runs do after their ends have been told.
#[derive(Clone)]
pub(crate) struct Afterwork {
    tasks: TaskTracker,
    places: Arc<Semaphore>,
    left_undone: Arc<AtomicU64>,
}

impl Afterwork {
    pub(crate) fn new() -> Self {
        Self { tasks: TaskTracker::new(), places: Arc::new(Semaphore::new(UNDER_WAY_MAX)), left_undone: Arc::default() }
    }

    /// How often there was no place for it.
    pub(crate) fn left_undone(&self) -> u64 {
        self.left_undone.load(Ordering::Relaxed)
    }

    /// Waits until nothing is under way, for a while.
    pub(crate) async fn settle(&self) {
        self.tasks.close();
        if timeout(SETTLE_WAIT, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "what runs had left to remember is cut off");
        }
        self.tasks.reopen();
    }

    fn spawn(&self, rest: BoxStream<'static, TurnEvent>) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let count = self.left_undone.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_power_of_two() {
                tracing::warn!(count, "runs leave undone what they had left to remember: too much of it is under way");
            }
            return;
        };
        drop(self.tasks.spawn(async move {
            let _held = place;
            rest.for_each(|_nothing_follows| async {}).await;
        }));
    }
}

/// The same run, whose events end with its end. What it still has to do goes on in `afterwork`, within the bound that it
/// has.
///
/// A run that is dropped before its end ends with everything that it does.
pub(crate) fn detached(run: Run, afterwork: &Afterwork) -> Run {
    let Run { run_id, events, desk } = run;
    let events = Detached { events: Some(events), afterwork: afterwork.clone() };
    Run { run_id, events: events.boxed(), desk }
}

struct Detached {
    events: Option<BoxStream<'static, TurnEvent>>,
    afterwork: Afterwork,
}

impl Stream for Detached {
    type Item = TurnEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<TurnEvent>> {
        let Some(events) = self.events.as_mut() else { return Poll::Ready(None) };
        let polled = events.poll_next_unpin(context);
        if matches!(&polled, Poll::Ready(Some(event)) if event.is_end())
            && let Some(rest) = self.events.take()
        {
            self.afterwork.spawn(rest);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use agent_pod_core::error::{ErrorCode, RunError};
    use futures::stream;
    use tokio::sync::Notify;

    use super::*;

    fn run(first: Option<TurnEvent>, done: &Arc<AtomicBool>, told: &Arc<Notify>) -> Run {
        let (done, told) = (Arc::clone(done), Arc::clone(told));
        let after = stream::once(async move {
            tokio::task::yield_now().await;
            done.store(true, Ordering::Relaxed);
            told.notify_one();
        });
        let events = stream::iter(first).chain(after.filter_map(|()| async { None }));
        detached(Run { run_id: "r".to_owned(), events: events.boxed(), desk: Arc::default() }, &Afterwork::new())
    }

    fn end() -> TurnEvent {
        TurnEvent::Error(Box::new(RunError::new(ErrorCode::Internal, "an end as good as any")))
    }

    #[tokio::test]
    async fn the_rest_is_done_though_the_caller_has_gone() {
        let (done, told) = <(Arc<AtomicBool>, Arc<Notify>)>::default();
        let mut run = run(Some(end()), &done, &told);
        assert!(run.events.next().await.is_some());
        assert!(run.events.next().await.is_none(), "the caller waits for nothing");
        drop(run);
        told.notified().await;
        assert!(done.load(Ordering::Relaxed));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_bounded_and_waited_for_for_a_while() {
        let afterwork = Afterwork::new();
        let stuck = || stream::iter([end()]).chain(stream::pending()).boxed();
        for _ in 0..UNDER_WAY_MAX + 36 {
            let run = Run { run_id: "r".to_owned(), events: stuck(), desk: Arc::default() };
            let mut run = detached(run, &afterwork);
            while run.events.next().await.is_some() {}
        }
        assert_eq!((afterwork.tasks.len(), afterwork.left_undone()), (UNDER_WAY_MAX, 36));
        let begun = tokio::time::Instant::now();
        afterwork.settle().await;
        assert_eq!(begun.elapsed(), SETTLE_WAIT);
    }

    #[tokio::test]
    async fn a_run_that_is_dropped_before_its_end_does_nothing_more() {
        let (done, told) = <(Arc<AtomicBool>, Arc<Notify>)>::default();
        let mut run = run(Some(TurnEvent::Token("a".to_owned())), &done, &told);
        assert!(run.events.next().await.is_some());
        drop(run);
        assert_eq!((Arc::strong_count(&done), Arc::strong_count(&told)), (1, 1), "nothing is left of it");
    }
}
