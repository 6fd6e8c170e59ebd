use futures::FutureExt as _;
use proptest::prelude::*;

use super::*;

fn gate(runs_max: u32, queued_max: u32) -> Gate {
    Gate::new(GateSettings { runs_max, queued_max, wait_max: Duration::from_secs(5) })
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

#[tokio::test(start_paused = true)]
async fn runs_go_on_up_to_the_limit_and_the_next_one_waits_for_a_place() {
    let gate = gate(2, 4);
    let (first, _second) = (gate.enter("a", later()).await.unwrap(), gate.enter("a", later()).await.unwrap());
    let mut third = Box::pin(gate.enter("a", later()));
    assert!((&mut third).now_or_never().is_none());
    assert_eq!((gate.running(), gate.queued()), (2, 1));
    drop(first);
    let _third = third.now_or_never().unwrap().unwrap();
    assert_eq!((gate.running(), gate.queued()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_no_longer_than_it_may() {
    let gate = gate(1, 1);
    let _held = gate.enter("a", later()).await.unwrap();
    let began = Instant::now();
    let error = gate.enter("a", later()).await.unwrap_err();
    assert_eq!((error.code, began.elapsed().as_secs()), (ErrorCode::Overloaded, 5));
    assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
    let deadline = Instant::now() + Duration::from_secs(2);
    assert_eq!(gate.enter("a", deadline).await.unwrap_err().code, ErrorCode::DeadlineExceeded);
    assert_eq!((gate.running(), gate.queued()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once() {
    let gate = gate(1, 0);
    let _held = gate.enter("a", later()).await.unwrap();
    let refused = gate.enter("a", later()).now_or_never().unwrap();
    assert_eq!(refused.unwrap_err().code, ErrorCode::Overloaded);
}

/// A noisy namespace fills the queue; a quiet one still comes in, and is served second.
#[tokio::test(start_paused = true)]
async fn namespaces_take_turns() {
    let gate = gate(1, 3);
    let held = gate.enter("noisy", later()).await.unwrap();
    let mut noisy: Vec<_> = (0..3).map(|_| Box::pin(gate.enter("noisy", later()))).collect();
    noisy.iter_mut().for_each(|run| assert!(run.now_or_never().is_none()));
    let mut quiet = Box::pin(gate.enter("quiet", later()));
    assert!((&mut quiet).now_or_never().is_none(), "it waits");
    let newest = noisy.pop().unwrap();
    assert_eq!(
        newest.now_or_never().unwrap().unwrap_err().code,
        ErrorCode::Overloaded,
        "the newest of the noisy ones left"
    );
    drop(held);
    let first = noisy.remove(0).now_or_never().unwrap().unwrap();
    assert!((&mut quiet).now_or_never().is_none());
    drop(first);
    let _quiet = quiet.now_or_never().unwrap().unwrap();
    assert!(noisy.remove(0).now_or_never().is_none(), "the noisy one waits for its next turn");
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_leaves_nothing_behind() {
    let gate = gate(1, 2);
    let held = gate.enter("a", later()).await.unwrap();
    let mut gone = Box::pin(gate.enter("a", later()));
    assert!((&mut gone).now_or_never().is_none());
    let mut stays = Box::pin(gate.enter("b", later()));
    assert!((&mut stays).now_or_never().is_none());
    drop(gone);
    drop(held);
    drop(stays.now_or_never().unwrap().unwrap());
    assert_eq!((gate.running(), gate.queued()), (0, 0));
    // A place that came in the moment of giving up is given back.
    let held = gate.enter("a", later()).await.unwrap();
    let mut gone = Box::pin(gate.enter("a", later()));
    assert!((&mut gone).now_or_never().is_none());
    drop(held);
    assert_eq!(gate.running(), 1);
    drop(gone);
    assert_eq!((gate.running(), gate.queued()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn more_room_lets_in_those_that_wait() {
    let gate = gate(1, 4);
    let _held = gate.enter("a", later()).await.unwrap();
    let mut waiting = Box::pin(gate.enter("a", later()));
    assert!((&mut waiting).now_or_never().is_none());
    gate.configure(GateSettings { runs_max: 2, queued_max: 4, wait_max: Duration::from_secs(5) });
    assert!(waiting.now_or_never().unwrap().is_ok());
}

proptest! {
    /// Whatever comes and goes: never more runs than allowed, never more waiting, and nothing is left in the end.
    #[test]
    fn counts_hold_whatever_happens(steps in proptest::collection::vec((0_u8..3, 0_usize..8, 0_u8..3), 0..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let gate = gate(3, 4);
            let mut waiting = Vec::new();
            let mut running = Vec::new();
            for (what, index, lane) in steps {
                match what {
                    0 => waiting.push(Box::pin({
                        let gate = gate.clone();
                        async move { gate.enter(&lane.to_string(), later()).await }
                    })),
                    1 if !running.is_empty() => drop(running.swap_remove(index % running.len())),
                    _ if !waiting.is_empty() => drop(waiting.swap_remove(index % waiting.len())),
                    _ => {}
                }
                // Twice: a newcomer may have turned away one that was looked at before it.
                for _ in 0..2 {
                    waiting = waiting.into_iter().filter_map(|mut run| match (&mut run).now_or_never() {
                        Some(Ok(place)) => { running.push(place); None }
                        Some(Err(_)) => None,
                        None => Some(run),
                    }).collect();
                }
                prop_assert!(gate.running() <= 3 && gate.queued() <= 4);
                prop_assert_eq!((gate.running() as usize, gate.queued() as usize), (running.len(), waiting.len()));
                prop_assert!(waiting.is_empty() || running.len() == 3, "somebody waits for a free place");
            }
            drop((waiting, running));
            prop_assert_eq!((gate.running(), gate.queued()), (0, 0));
            Ok(())
        })?;
    }
}
