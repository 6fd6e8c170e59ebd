use std::pin::pin;
use std::time::Duration;

use futures::FutureExt as _;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::Value;
use tokio::time::Instant;

use super::weight::{of_json, of_value};
use super::*;

const MIB: usize = 1024 * 1024;
const WAIT: Duration = Duration::from_secs(10);

fn held(pool: &BytePool, bytes: usize, priority: Priority) -> Result<ByteReservation, PoolError> {
    let mut reservation = pool.reservation();
    reservation.try_grow(bytes, priority).map(|()| reservation)
}

#[rstest]
#[case::a_body(Priority::Body, 8)]
#[case::a_call(Priority::Call, 12)]
#[case::a_small_call(Priority::SmallCall, 14)]
#[case::a_run(Priority::Run, 16)]
fn each_draws_up_to_its_mark(#[case] priority: Priority, #[case] most: usize) {
    let pool = BytePool::new(16 * MIB);
    let reservation = held(&pool, most * MIB, priority).unwrap();
    assert_eq!(held(&pool, 1, priority).unwrap_err(), PoolError::Exhausted);
    drop(reservation);
    let error = held(&pool, most * MIB + 1, priority).unwrap_err();
    assert_eq!(error, PoolError::NeverFits { bytes: most * MIB + 1, most: most * MIB });
    assert_eq!(pool.report(), PoolReport { capacity: 16 * MIB, used: 0, waiting: 0, refused: 2 });
}

#[tokio::test(start_paused = true)]
async fn the_first_to_wait_is_served_first_and_nobody_overtakes_it() {
    let pool = BytePool::new(16 * MIB);
    let first = held(&pool, 10 * MIB, Priority::Call).unwrap();
    let (mut large, mut small) = (pool.reservation(), pool.reservation());
    let mut waits = pin!(large.grow(4 * MIB, Priority::Call, WAIT));
    assert!(waits.as_mut().now_or_never().is_none());
    let mut behind = pin!(small.grow(MIB, Priority::Call, WAIT));
    assert!(behind.as_mut().now_or_never().is_none(), "there is room for it, and another came before");
    drop(first);
    waits.await.unwrap();
    behind.await.unwrap();
    assert_eq!(pool.report().used, 5 * MIB);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_lets_in_those_behind() {
    let pool = BytePool::new(16 * MIB);
    let _first = held(&pool, 10 * MIB, Priority::Call).unwrap();
    let mut small = pool.reservation();
    let mut behind = {
        let mut large = pool.reservation();
        let mut waits = Box::pin(async move { large.grow(4 * MIB, Priority::Call, WAIT).await });
        assert!(waits.as_mut().now_or_never().is_none());
        let mut behind = Box::pin(small.grow(MIB, Priority::Call, WAIT));
        assert!(behind.as_mut().now_or_never().is_none());
        drop(waits);
        behind
    };
    assert!(behind.as_mut().now_or_never().is_some_and(|done| done.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end() {
    let pool = BytePool::new(16 * MIB);
    let _first = held(&pool, 12 * MIB, Priority::Call).unwrap();
    let mut reservation = pool.reservation();
    assert_eq!(reservation.grow(MIB, Priority::Call, WAIT).await, Err(PoolError::Exhausted));
    assert_eq!((reservation.bytes(), pool.report().used), (0, 12 * MIB));
    assert!(!pool.is_contended());
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_so_long_in_all_and_not_for_each_piece() {
    let pool = BytePool::new(16 * MIB);
    let account = RunBytes::new(pool.reservation());
    let (begun, mut refused) = (Instant::now(), 0);
    let others = held(&pool, 12 * MIB, Priority::Run).unwrap();
    for _piece in 0..10 {
        refused += usize::from(account.draw(8 * MIB).await.is_err());
    }
    assert_eq!((refused, begun.elapsed()), (10, RUN_WAIT));
    drop(others);
    account.draw(8 * MIB).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_draws_in_steps_and_gives_everything_back() {
    let pool = BytePool::new(16 * MIB);
    let account = RunBytes::new(held(&pool, MIB, Priority::Call).unwrap());
    for _piece in 0..1000 {
        account.draw(100).await.unwrap();
    }
    assert!((100_000..130_000).contains(&(pool.report().used - MIB)), "{}", pool.report().used);
    assert_eq!(account.draw(16 * MIB).await.unwrap_err().code, ErrorCode::Overloaded);
    let other = account.clone();
    drop(account);
    assert!(pool.report().used > MIB);
    drop(other);
    assert_eq!(pool.report().used, 0);
}

#[test]
fn shares_add_up() {
    let pool = BytePool::new(16 * MIB);
    let mut whole = held(&pool, MIB, Priority::Call).unwrap();
    let part = whole.split(1000);
    assert_eq!((whole.bytes(), part.bytes(), pool.report().used), (MIB - 1000, 1000, MIB));
    drop(part);
    whole.shrink_to(10);
    assert_eq!(pool.report().used, 10);
    whole.merge(held(&pool, 5, Priority::Call).unwrap());
    assert_eq!((whole.bytes(), pool.report().used), (15, 15));
}

#[rstest]
#[case::zeros(&format!("[{}0]", "0,".repeat(100_000)), 100_000 * 72)]
#[case::lists(&format!("[{}[0]]", "[0],".repeat(10_000)), 10_000 * (72 + 4 * 72))]
#[case::objects(&format!("[{}{{}}]", r#"{"a":0},"#.repeat(10_000)), 10_000 * (72 + 3 * 104))]
#[case::fields(&format!("{{{}\"z\":0}}", (0..10_000).map(|n| format!("\"{n}\":0,")).collect::<String>()), 10_000 * 104)]
#[case::a_text(&format!("\"{}\"", "x".repeat(1_000_000)), 1_000_000)]
#[case::marks_in_a_text(&format!("\"{}\"", "[,\\\",".repeat(1000)), 5000)]
fn json_weighs_at_least_what_it_takes(#[case] json: &str, #[case] takes: usize) {
    let weight = of_json(json.as_bytes());
    assert!(weight >= takes, "{weight} < {takes}");
    assert!(weight <= takes * 5 / 2 + 10_000, "{weight} is far from {takes}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<i32>().prop_map(Value::from), ".{0,20}".prop_map(Value::from)];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((".{0,8}", inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[derive(Clone, Debug)]
enum Act {
    Take(usize, usize),
    Wait(usize, usize),
    Drop(usize),
    Shrink(usize, usize),
}

fn any_act() -> impl Strategy<Value = Act> {
    let bytes = 0..6 * MIB;
    prop_oneof![
        (bytes.clone(), 0..4_usize).prop_map(|(bytes, priority)| Act::Take(bytes, priority)),
        (bytes.clone(), 0..4_usize).prop_map(|(bytes, priority)| Act::Wait(bytes, priority)),
        any::<usize>().prop_map(Act::Drop),
        (any::<usize>(), bytes).prop_map(|(which, bytes)| Act::Shrink(which, bytes)),
    ]
}

proptest! {
    #[test]
    fn the_text_weighs_about_what_the_value_does(value in any_json()) {
        let (by_text, by_value) = (of_json(value.to_string().as_bytes()), of_value(&value));
        prop_assert!(by_text + 64 >= by_value / 2, "{by_text} {by_value} {value}");
    }

    #[test]
    fn any_text_has_a_weight(text in ".{0,200}") {
        prop_assert!(of_json(text.as_bytes()) > 0);
    }

    #[test]
    fn never_more_than_there_is_and_nothing_is_lost(acts in prop::collection::vec(any_act(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let pool = BytePool::new(16 * MIB);
            let mut held_now = Vec::new();
            let mut waiting: Vec<futures::future::BoxFuture<'static, Option<ByteReservation>>> = Vec::new();
            for act in acts {
                match act {
                    Act::Take(bytes, priority) => held_now.extend(held(&pool, bytes, Priority::ALL[priority]).ok()),
                    Act::Wait(bytes, priority) => {
                        let mut reservation = pool.reservation();
                        waiting.push(async move {
                            let done = reservation.grow(bytes, Priority::ALL[priority], WAIT).await;
                            done.ok().map(|()| reservation)
                        }.boxed());
                    }
                    Act::Drop(which) if which % 2 == 0 && !waiting.is_empty() => {
                        let index = which % waiting.len();
                        drop(waiting.swap_remove(index));
                    }
                    Act::Drop(which) if !held_now.is_empty() => {
                        let index = which % held_now.len();
                        held_now.swap_remove(index);
                    }
                    Act::Shrink(which, bytes) if !held_now.is_empty() => {
                        let index = which % held_now.len();
                        held_now[index].shrink_to(bytes);
                    }
                    Act::Drop(_) | Act::Shrink(..) => {}
                }
                let mut pending = Vec::new();
                for mut wait in waiting.drain(..) {
                    match wait.as_mut().now_or_never() {
                        Some(done) => held_now.extend(done),
                        None => pending.push(wait),
                    }
                }
                waiting = pending;
                let known: usize = held_now.iter().map(ByteReservation::bytes).sum();
                assert!(pool.report().used <= pool.capacity());
                assert!(pool.report().used >= known);
            }
            drop((held_now, waiting));
            assert_eq!(pool.report().used, 0);
            assert!(!pool.is_contended());
        });
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_with_a_share_leave_half_of_the_pool_to_others() {
    let pool = BytePool::new(8 * MIB);
    let together = Arc::default();
    let of_share = || RunBytes::within(pool.reservation(), Share::of(&together));
    let (first, second) = (of_share(), of_share());
    first.draw(3 * MIB).await.unwrap();
    assert!(second.draw(2 * MIB).await.is_err() && !second.try_draw(2 * MIB));
    second.draw(MIB).await.unwrap();
    drop(first);
    second.draw(3 * MIB).await.unwrap();
    RunBytes::new(pool.reservation()).draw(4 * MIB).await.unwrap();
    drop(second);
    assert_eq!(together.load(std::sync::atomic::Ordering::Relaxed), 0);
}
