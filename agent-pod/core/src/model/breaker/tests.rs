use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tokio::time::advance;

use super::*;

const COOLDOWN: Duration = Duration::from_secs(60);

fn breaker() -> Breaker {
    Breaker::new(BreakerSettings { failures_max: 3, cooldown: COOLDOWN })
}

fn open() -> Breaker {
    let breaker = breaker();
    let opened: Vec<bool> = (0..3).map(|_| breaker.acquire().unwrap().failure()).collect();
    assert_eq!(opened, [false, false, true]);
    breaker
}

#[tokio::test(start_paused = true)]
async fn it_opens_after_three_failures_in_a_row_and_says_for_how_long() {
    let breaker = open();
    assert_eq!(breaker.circuit(), Circuit::Open);
    advance(Duration::from_secs(48)).await;
    assert_eq!(breaker.acquire().unwrap_err(), Duration::from_secs(12));
    assert_eq!(breaker.wait(), Some(Duration::from_secs(12)));
}

#[tokio::test(start_paused = true)]
async fn a_success_between_failures_starts_the_count_anew() {
    let breaker = breaker();
    for _ in 0..5 {
        assert!(!breaker.acquire().unwrap().failure());
        assert!(!breaker.acquire().unwrap().failure());
        breaker.acquire().unwrap().success();
    }
    assert_eq!(breaker.circuit(), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_verdict_counts_as_nothing() {
    let breaker = breaker();
    for _ in 0..9 {
        drop(breaker.acquire().unwrap());
    }
    assert_eq!(breaker.circuit(), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_answered_holds_up_nobody_while_its_reply_goes_on() {
    let breaker = open();
    advance(COOLDOWN).await;
    let mut probe = breaker.acquire().unwrap();
    assert!(breaker.acquire().is_err());
    probe.answered();
    assert_eq!(breaker.circuit(), Circuit::Closed);
    breaker.acquire().unwrap().success();
    assert!(!probe.failure(), "how it ends counts once, as for any other call");
    assert!(!breaker.acquire().unwrap().failure() && breaker.acquire().unwrap().failure());
}

#[tokio::test(start_paused = true)]
async fn a_call_from_before_it_opened_answers_for_nobody() {
    let breaker = breaker();
    let mut early = breaker.acquire().unwrap();
    for _failure in 0..3 {
        breaker.acquire().unwrap().failure();
    }
    early.answered();
    drop(early);
    assert_eq!(breaker.circuit(), Circuit::Open);
}

#[tokio::test(start_paused = true)]
async fn after_the_cooldown_one_success_closes_it() {
    let breaker = open();
    advance(COOLDOWN).await;
    assert_eq!(breaker.circuit(), Circuit::HalfOpen);
    breaker.acquire().unwrap().success();
    assert_eq!(breaker.circuit(), Circuit::Closed);
    assert!(!breaker.acquire().unwrap().failure(), "the count began anew");
}

#[tokio::test(start_paused = true)]
async fn after_the_cooldown_one_failure_opens_it_again() {
    let breaker = open();
    advance(COOLDOWN).await;
    assert!(breaker.acquire().unwrap().failure());
    assert_eq!(breaker.acquire().unwrap_err(), COOLDOWN);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_was_given_up_lets_the_next_call_probe() {
    let breaker = open();
    advance(COOLDOWN).await;
    drop(breaker.acquire().unwrap());
    breaker.acquire().unwrap().success();
    assert_eq!(breaker.circuit(), Circuit::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_late_verdict_of_an_earlier_call_decides_nothing() {
    let breaker = breaker();
    let (early, late) = (breaker.acquire().unwrap(), breaker.acquire().unwrap());
    for _ in 0..3 {
        breaker.acquire().unwrap().failure();
    }
    early.success();
    assert_eq!(breaker.circuit(), Circuit::Open, "a success from before it opened");
    advance(COOLDOWN).await;
    let probe = breaker.acquire().unwrap();
    assert!(!late.failure(), "a failure from before, while the probe is under way");
    probe.success();
    assert_eq!(breaker.circuit(), Circuit::Closed);
}

/// A thousand callers at the end of the cool-down, on real threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_one_of_many_callers_probes() {
    for _round in 0..20 {
        let breaker = Breaker::new(BreakerSettings { failures_max: 1, cooldown: Duration::ZERO });
        breaker.acquire().unwrap().failure();
        let (admitted, barrier) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Barrier::new(50)));
        let callers = (0..50).map(|_| {
            let (breaker, admitted, barrier) = (breaker.clone(), Arc::clone(&admitted), Arc::clone(&barrier));
            async move {
                barrier.wait().await;
                let permit = breaker.acquire().ok();
                admitted.fetch_add(usize::from(permit.is_some()), Ordering::SeqCst);
                permit
            }
        });
        let mut tasks = tokio::task::JoinSet::new();
        callers.for_each(|caller| {
            tasks.spawn(caller);
        });
        // The permits live until all have asked.
        let permits = tasks.join_all().await;
        assert_eq!((admitted.load(Ordering::SeqCst), permits.iter().flatten().count()), (1, 1));
    }
}

proptest! {
    /// Whatever happens, it is open only after three failures in a row, and never for longer than the cool-down.
    #[test]
    fn it_follows_the_count_of_failures_in_a_row(verdicts in proptest::collection::vec(0_u8..3, 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let breaker = breaker();
            let mut in_a_row = 0;
            for verdict in verdicts {
                let Ok(permit) = breaker.acquire() else {
                    assert_eq!(in_a_row, 3);
                    advance(COOLDOWN).await;
                    continue;
                };
                match verdict {
                    0 => { permit.success(); in_a_row = 0; }
                    1 => { permit.failure(); in_a_row = (in_a_row + 1).min(3); }
                    _ => drop(permit),
                }
                prop_assert_eq!(breaker.circuit() == Circuit::Closed, in_a_row < 3);
            }
            Ok(())
        })?;
    }
}
