//! The events of a run, and their form as server-sent events.

use std::convert::Infallible;
use std::task::{Poll, ready};
use std::time::Duration;

use agent_pod_core::error::{ErrorCode, RunError};
use agent_pod_core::event::{RunAnswer, TurnEvent};
use agent_pod_core::service::Run;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, BoxStream, Stream, StreamExt as _};

use crate::error::{X_RUN_ID, report};

/// A comment goes out this often while the model thinks: below the idle limits of usual proxies (60 s).
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Tells nginx, and those who follow it, not to collect the stream.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The events of a run up to exactly one `done` or `error`. The run is dropped as soon as that has come out. A failure
/// is reported by whoever sends it on.
pub(crate) fn until_end(run: Run) -> BoxStream<'static, TurnEvent> {
    let mut run = Some(run);
    stream::poll_fn(move |context| {
        let Some(going_on) = &mut run else { return Poll::Ready(None) };
        let event = ready!(going_on.events.poll_next_unpin(context)).unwrap_or_else(|| broken_off(&going_on.run_id));
        if event.is_end() {
            run = None;
        }
        Poll::Ready(Some(event))
    })
    .boxed()
}

/// The answer of the run at its end.
///
/// # Errors
/// As the run's `error` event, with the run's id.
pub(crate) async fn whole_answer(run: Run) -> Result<RunAnswer, RunError> {
    let run_id = run.run_id.clone();
    run.answer().await.map_err(|error| RunError { run_id: error.run_id.or(Some(run_id)), ..error })
}

/// Logs the event if it is a failure that is not the caller's.
pub(crate) fn report_failure(event: &TurnEvent) {
    if let TurnEvent::Error(error) = event {
        report(error);
    }
}

/// The run as server-sent events. Dropping the response drops the run.
pub(crate) fn server_sent_events(run: Run) -> Response {
    let run_id = run.run_id.clone();
    let mut id = 0_u64;
    let framed = until_end(run).map(move |event| {
        report_failure(&event);
        id += 1;
        Event::default().event(event.name()).id(id.to_string()).data(event.to_json())
    });
    event_stream(run_id, framed)
}

/// Server-sent events as an answer that nobody on the way holds back.
pub(crate) fn event_stream(run_id: String, events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let headers = [(CACHE_CONTROL, "no-cache".to_owned()), (X_ACCEL_BUFFERING, "no".to_owned()), (X_RUN_ID, run_id)];
    let stream = Sse::new(events.map(Ok::<_, Infallible>));
    (headers, stream.keep_alive(KeepAlive::new().interval(KEEP_ALIVE))).into_response()
}

fn broken_off(run_id: &str) -> TurnEvent {
    let error = RunError::new(ErrorCode::Internal, "the run broke off without an answer; ask again").in_run(run_id);
    TurnEvent::Error(Box::new(error))
}
