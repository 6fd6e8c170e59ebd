use std::sync::atomic::{AtomicUsize, Ordering};

use agent_pod_core::event::Step;
use futures::FutureExt as _;
use futures::channel::mpsc::{UnboundedSender, unbounded};

use super::*;

fn answer(text: &str) -> RunAnswer {
    RunAnswer { answer: text.to_owned(), run_id: "run-1".to_owned(), ..RunAnswer::default() }
}

fn scope(caller: &str) -> Scope {
    let caller = Caller { namespace: "shop".to_owned(), service_account: caller.to_owned() };
    Scope { door: Door::Run, agent: "shop/support".to_owned(), caller: Some(caller) }
}

fn key(body: u8) -> IdempotencyKey {
    IdempotencyKey { key: "k".to_owned(), fingerprint: [body; 32] }
}

fn later() -> (Instant, RunBytes) {
    (Instant::now() + Duration::from_secs(60), RunBytes::default())
}

/// A run that does what the test says, and how often runs were begun.
#[derive(Default)]
struct Runs {
    begun: AtomicUsize,
}

impl Runs {
    fn scripted(&self) -> (UnboundedSender<TurnEvent>, impl Future<Output = Result<Run, RunError>>) {
        let (sender, events) = unbounded();
        let begin = async {
            self.begun.fetch_add(1, Ordering::SeqCst);
            Ok(Run { run_id: "run-1".to_owned(), events: events.boxed(), desk: Arc::default() })
        };
        (sender, begin)
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_call_gets_the_kept_answer() {
    let (calls, runs) = (Idempotency::default(), Runs::default());
    let (events, begin) = runs.scripted();
    let run = calls.once(scope("app"), key(1), later(), || begin).await.unwrap();
    events.unbounded_send(TurnEvent::Done(Box::new(answer("Friday")))).unwrap();
    assert_eq!(run.answer().await.unwrap().answer, "Friday");
    let (_never, begin) = runs.scripted();
    let repeated = calls.once(scope("app"), key(1), later(), || begin).await.unwrap();
    let names: Vec<_> = repeated.events.map(|event| event.name()).collect().await;
    assert_eq!(names, ["status", "token", "done"]);
    assert_eq!(runs.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_while_the_first_is_under_way_waits_for_its_answer() {
    let (calls, runs) = (Idempotency::default(), Runs::default());
    let (events, begin) = runs.scripted();
    let first = calls.once(scope("app"), key(1), later(), || begin).await.unwrap();
    let (_never, begin) = runs.scripted();
    let mut second = Box::pin(calls.once(scope("app"), key(1), later(), || begin));
    assert!((&mut second).now_or_never().is_none(), "it waits");
    events.unbounded_send(TurnEvent::Done(Box::new(answer("Friday")))).unwrap();
    first.answer().await.unwrap();
    assert_eq!(second.await.unwrap().answer().await.unwrap().answer, "Friday");
    assert_eq!(runs.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_in_vain_is_told_so_at_its_deadline() {
    let (calls, runs) = (Idempotency::default(), Runs::default());
    let (_events, begin) = runs.scripted();
    let _first = calls.once(scope("app"), key(1), later(), || begin).await.unwrap();
    let (_never, begin) = runs.scripted();
    let error = calls.once(scope("app"), key(1), later(), || begin).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::IdempotencyInProgress);
}

#[tokio::test(start_paused = true)]
async fn another_body_under_the_same_key_is_refused() {
    let (calls, runs) = (Idempotency::default(), Runs::default());
    let (events, begin) = runs.scripted();
    let run = calls.once(scope("app"), key(1), later(), || begin).await.unwrap();
    for what in ["while it is under way", "when it has ended"] {
        let (_never, begin) = runs.scripted();
        let error = calls.once(scope("app"), key(2), later(), || begin).await.err().unwrap();
        assert_eq!(error.code, ErrorCode::IdempotencyMismatch, "{what}");
        drop(events.unbounded_send(TurnEvent::Done(Box::new(answer("Friday")))));
        tokio::task::yield_now().await;
    }
    run.answer().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_and_given_up_calls_are_not_kept() {
    let (calls, runs) = (Idempotency::default(), Runs::default());
    let (events, begin) = runs.scripted();
    let failing = calls.once(scope("app"), key(1), later(), || begin).await.unwrap();
    let error = RunError::new(ErrorCode::AllProvidersFailed, "down");
    events.unbounded_send(TurnEvent::Error(Box::new(error))).unwrap();
    failing.answer().await.unwrap_err();
    let (_events, begin) = runs.scripted();
    drop(calls.once(scope("app"), key(1), later(), || begin).await.unwrap());
    let refused = async { Err(RunError::new(ErrorCode::Overloaded, "full")) };
    calls.once(scope("app"), key(1), later(), || refused).await.err().unwrap();
    let (events, begin) = runs.scripted();
    let again = calls.once(scope("app"), key(1), later(), || begin).await.unwrap();
    events.unbounded_send(TurnEvent::Done(Box::new(answer("Friday")))).unwrap();
    assert_eq!(again.answer().await.unwrap().answer, "Friday");
    assert_eq!(runs.begun(), 3);
}

#[tokio::test(start_paused = true)]
async fn keys_are_the_callers_own() {
    let (calls, runs) = (Idempotency::default(), Runs::default());
    for caller in ["app", "other"] {
        let (events, begin) = runs.scripted();
        let run = calls.once(scope(caller), key(1), later(), || begin).await.unwrap();
        events.unbounded_send(TurnEvent::Done(Box::new(answer(caller)))).unwrap();
        assert_eq!(run.answer().await.unwrap().answer, caller);
    }
    assert_eq!(runs.begun(), 2);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_wait_for_one_key() {
    let (calls, runs) = (Idempotency::default(), Runs::default());
    let (events, begin) = runs.scripted();
    let first = calls.once(scope("app"), key(1), later(), || begin).await.unwrap();
    let mut waiting: Vec<_> =
        (0..WAITING_MAX).map(|_| Box::pin(calls.once(scope("app"), key(1), later(), || runs.scripted().1))).collect();
    assert!(waiting.iter_mut().all(|wait| wait.as_mut().now_or_never().is_none()));
    let one_more = calls.once(scope("app"), key(1), later(), || runs.scripted().1);
    let error = one_more.await.err().unwrap();
    assert_eq!((error.code, error.retry_after), (ErrorCode::IdempotencyInProgress, Some(Duration::from_secs(1))));
    events.unbounded_send(TurnEvent::Done(Box::new(answer("Friday")))).unwrap();
    first.answer().await.unwrap();
    for wait in waiting {
        assert_eq!(wait.await.unwrap().answer().await.unwrap().answer, "Friday");
    }
    assert_eq!(runs.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_weighs_what_all_of_it_takes() {
    let calls = Idempotency::default();
    let step = Step { result: "x".repeat(1024 * 1024), ..Step::default() };
    for number in 0..200 {
        let kept = RunAnswer { steps: vec![step.clone()], ..answer("ok") };
        let (events, runs) = unbounded();
        let begin = async { Ok(Run { run_id: "run".to_owned(), events: runs.boxed(), desk: Arc::default() }) };
        let key = IdempotencyKey { key: number.to_string(), fingerprint: [0; 32] };
        let run = calls.once(scope("app"), key, later(), || begin).await.unwrap();
        events.unbounded_send(TurnEvent::Done(Box::new(kept))).unwrap();
        run.answer().await.unwrap();
    }
    calls.0.answered.run_pending_tasks();
    let most = BytePool::of_process().capacity() / KEPT_SHARE;
    let held: usize = calls.0.answered.iter().map(|(_, (_, kept))| kept.bytes()).sum();
    assert!((1..=most).contains(&held), "{held} of {most}");
}
