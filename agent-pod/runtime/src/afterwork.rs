//! What a run does after its end has been told, for which no caller shall have to wait.

use std::pin::Pin;
use std::task::{Context, Poll};

use agent_pod_core::event::TurnEvent;
use agent_pod_core::service::Run;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use tokio_util::task::TaskTracker;

/// The same run, whose events end with its end. What it still has to do goes on in `afterwork`, within the bound that it
/// has.
///
/// A pod that stops does not wait for it: whatever it was, the next run of the session makes up for it. A run that is
/// dropped before its end ends with everything that it does.
pub(crate) fn detached(run: Run, afterwork: &TaskTracker) -> Run {
    let Run { run_id, events, desk } = run;
    let events = Detached { events: Some(events), afterwork: afterwork.clone() };
    Run { run_id, events: events.boxed(), desk }
}

struct Detached {
    events: Option<BoxStream<'static, TurnEvent>>,
    afterwork: TaskTracker,
}

impl Stream for Detached {
    type Item = TurnEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<TurnEvent>> {
        let Some(events) = self.events.as_mut() else { return Poll::Ready(None) };
        let polled = events.poll_next_unpin(context);
        if matches!(&polled, Poll::Ready(Some(event)) if event.is_end())
            && let Some(rest) = self.events.take()
        {
            drop(self.afterwork.spawn(rest.for_each(|_nothing_follows| async {})));
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

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
        detached(Run { run_id: "r".to_owned(), events: events.boxed(), desk: Arc::default() }, &TaskTracker::new())
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

    #[tokio::test]
    async fn a_run_that_is_dropped_before_its_end_does_nothing_more() {
        let (done, told) = <(Arc<AtomicBool>, Arc<Notify>)>::default();
        let mut run = run(Some(TurnEvent::Token("a".to_owned())), &done, &told);
        assert!(run.events.next().await.is_some());
        drop(run);
        assert_eq!((Arc::strong_count(&done), Arc::strong_count(&told)), (1, 1), "nothing is left of it");
    }
}
