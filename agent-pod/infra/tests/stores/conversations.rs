//! What every store of conversations guarantees, run on every backend.
//!
//! A backend adds a module of `conforms!` with a way to make an empty store. Times to live are real ones, because
//! servers keep their own clock; the store in the process has tests of its exact moments beside.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::memory::{
    Conversation, ConversationSettings, ConversationStore, Fold, SessionKey, SessionLock, StoreError, StoredTurn,
    Window,
};
use agent_pod_core::message::{Message, Role, ToolCall};
use agent_pod_infra::memory::InProcessStore;
use futures::FutureExt as _;
use futures::future::{join, join_all};
use serde_json::json;
use tokio::sync::oneshot;

use crate::places::{eventually, postgres, redis, sqlite};

const HOUR: Duration = Duration::from_secs(3600);
const SETTINGS: ConversationSettings = ConversationSettings { turns_max: 3, ttl: HOUR };
/// Long enough to be seen before it is over, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(400);

type Store = dyn ConversationStore;

fn key(agent: &str, session: &str) -> SessionKey {
    SessionKey { agent: agent.to_owned(), session: session.to_owned() }
}

fn turn(number: usize) -> StoredTurn {
    let mut asks = Message::new(Role::Assistant, "");
    asks.reasoning = Some("it is on its way".to_owned());
    asks.tool_calls =
        vec![ToolCall { id: "call_1".to_owned(), name: "get_order".to_owned(), arguments: json!({"id": number}) }];
    let mut asked = Message::new(Role::User, format!("question {number} \0 '\"; drop table x --"));
    asked.images = vec!["https://example.com/a.png".to_owned()];
    StoredTurn {
        messages: vec![
            asked,
            asks,
            Message::tool_result("call_1", "on its way"),
            Message::new(Role::Assistant, format!("answer {number} – ✓ 🙂")),
        ],
        timestamp: "2026-01-01T00:00:00.000Z".to_owned(),
        agent: number.is_multiple_of(2).then(|| "shop/billing".to_owned()),
    }
}

fn turns(numbers: impl IntoIterator<Item = usize>) -> Vec<StoredTurn> {
    numbers.into_iter().map(turn).collect()
}

async fn append(store: &Store, key: &SessionKey, number: usize, settings: ConversationSettings) {
    store.append(key, turn(number), settings, &SessionLock::new(())).await.unwrap();
}

async fn conversation(store: &Store, key: &SessionKey) -> Conversation {
    store.read(key, Window::newest(usize::MAX)).await.unwrap().unwrap()
}

async fn load(store: &Store, key: &SessionKey, turns_max: usize) -> Vec<StoredTurn> {
    store.read(key, Window::newest(turns_max)).await.unwrap().map_or_else(Vec::new, |conversation| conversation.turns)
}

async fn gone(store: &Store, key: &SessionKey) {
    eventually("the session expires", async || store.read(key, Window::newest(10)).await.unwrap().is_none()).await;
}

async fn an_unknown_session_has_no_turns(store: &Store) {
    assert_eq!(store.read(&key("shop/support", "s"), Window::newest(10)).await.unwrap(), None);
}

async fn turns_come_back_whole_and_oldest_first(store: &Store) {
    let key = key("shop/support", "s");
    for number in 0..3 {
        append(store, &key, number, SETTINGS).await;
    }
    assert_eq!(load(store, &key, 10).await, turns(0..3));
}

async fn only_the_last_turns_are_kept(store: &Store) {
    let key = key("shop/support", "s");
    for number in 0..5 {
        append(store, &key, number, SETTINGS).await;
    }
    let kept = conversation(store, &key).await;
    assert_eq!((kept.first, kept.turns), (2, turns(2..5)));
    // A smaller setting applies at the next turn.
    append(store, &key, 5, ConversationSettings { turns_max: 1, ttl: HOUR }).await;
    assert_eq!(load(store, &key, 10).await, turns([5]));
}

async fn a_read_gives_at_most_what_is_asked_for(store: &Store) {
    let key = key("shop/support", "s");
    for number in 0..3 {
        append(store, &key, number, SETTINGS).await;
    }
    assert_eq!(load(store, &key, 2).await, turns([1, 2]));
    assert_eq!(load(store, &key, 0).await, []);
    assert_eq!(load(store, &key, 3).await, turns(0..3), "a read takes nothing away");
}

async fn a_read_goes_back_page_by_page(store: &Store) {
    let key = key("shop/support", "s");
    for number in 0..5 {
        append(store, &key, number, ConversationSettings { turns_max: 4, ttl: HOUR }).await;
    }
    for (before, first, expected) in [(5, 3, vec![3, 4]), (4, 2, vec![2, 3]), (2, 1, vec![1]), (99, 3, vec![3, 4])] {
        let page = store.read(&key, Window { before: Some(before), ..Window::newest(2) }).await.unwrap().unwrap();
        assert_eq!((page.first, page.turns), (first, turns(expected)), "before {before}");
    }
    for before in [0, 1] {
        assert_eq!(
            store.read(&key, Window { before: Some(before), ..Window::newest(2) }).await.unwrap().unwrap().turns,
            [],
            "before {before}"
        );
    }
}

async fn a_read_gives_the_newest_turns_that_fit(store: &Store) {
    let key = key("shop/support", "s");
    for number in 0..4 {
        let large = StoredTurn { messages: vec![Message::new(Role::User, "x".repeat(10_000))], ..turn(number) };
        store
            .append(&key, large, ConversationSettings { turns_max: 9, ttl: HOUR }, &SessionLock::new(()))
            .await
            .unwrap();
    }
    for (turns_max, bytes_max, first, turns, left_out) in
        [(9, 25_000, 2, 2, 2), (9, 60_000, 0, 4, 0), (3, 25_000, 2, 2, 1), (2, 25_000, 2, 2, 0), (9, 9_000, 4, 0, 4)]
    {
        let read = store.read(&key, Window { before: None, turns_max, bytes_max }).await.unwrap().unwrap();
        assert_eq!(read.turns.len(), turns, "{turns_max} turns, {bytes_max} bytes");
        // Where nothing fits, there is no first.
        assert!(turns == 0 || read.first == first, "{}", read.first);
        assert!((10_000 * left_out..=12_000 * left_out).contains(&read.left_out), "{}", read.left_out);
    }
    // What does not fit hides what is older, however small that is.
    let key = self::key("shop/support", "t");
    for bytes in [10, 10_000, 10] {
        let turn = StoredTurn { messages: vec![Message::new(Role::User, "x".repeat(bytes))], ..turn(0) };
        store
            .append(&key, turn, ConversationSettings { turns_max: 9, ttl: HOUR }, &SessionLock::new(()))
            .await
            .unwrap();
    }
    let read = store.read(&key, Window { before: None, turns_max: 9, bytes_max: 5_000 }).await.unwrap().unwrap();
    assert_eq!((read.first, read.turns.len()), (2, 1));
    assert!(read.left_out > 10_000);
}

async fn agents_and_sessions_never_share_a_conversation(store: &Store) {
    // Pairs that would be one if the parts were only joined.
    let keys = [
        key("shop/support", "s"),
        key("shop/sales", "s"),
        key("shop/support", "t"),
        key("shop", "support/s"),
        key("shop/support", "S"),
        key("shop/support", "s}:session"),
        key("shop/support", "%"),
    ];
    for (number, key) in keys.iter().enumerate() {
        append(store, key, number, SETTINGS).await;
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(load(store, key, 10).await, turns([number]));
    }
    assert_eq!(store.delete(&keys[0]).await.unwrap(), Some(4));
    assert_eq!(load(store, &keys[0], 10).await, []);
    for (number, key) in keys.iter().enumerate().skip(1) {
        assert_eq!(load(store, key, 10).await, turns([number]), "only the one session was deleted");
    }
}

async fn a_session_ends_with_its_time_to_live(store: &Store) {
    let key = key("shop/support", "s");
    append(store, &key, 0, ConversationSettings { turns_max: 3, ttl: SHORT }).await;
    assert_eq!(load(store, &key, 10).await, turns([0]));
    gone(store, &key).await;
    append(store, &key, 1, SETTINGS).await;
    let begun = conversation(store, &key).await;
    assert_eq!((begun.first, begun.turns), (0, turns([1])), "nothing of the old one comes back");
}

async fn a_turn_starts_the_time_to_live_anew(store: &Store) {
    let key = key("shop/support", "s");
    append(store, &key, 0, ConversationSettings { turns_max: 3, ttl: SHORT }).await;
    append(store, &key, 1, SETTINGS).await;
    let other = SessionKey { session: "other".to_owned(), ..key.clone() };
    append(store, &other, 2, ConversationSettings { turns_max: 3, ttl: SHORT }).await;
    gone(store, &other).await;
    assert_eq!(load(store, &key, 10).await, turns([0, 1]), "the first one's time is over too, and no longer holds");
}

async fn an_expired_session_is_not_there_to_delete_or_to_fold(store: &Store) {
    let key = key("shop/support", "s");
    append(store, &key, 0, ConversationSettings { turns_max: 3, ttl: SHORT }).await;
    let read = conversation(store, &key).await;
    gone(store, &key).await;
    assert!(!store.fold(&key, fold(&read, 1)).await.unwrap());
    assert_eq!(store.delete(&key).await.unwrap(), None);
}

async fn extreme_settings_are_fine(store: &Store) {
    let key = key("shop/support", "s");
    append(store, &key, 0, ConversationSettings { turns_max: usize::MAX, ttl: Duration::MAX }).await;
    assert_eq!(load(store, &key, usize::MAX).await, turns([0]));
    append(store, &key, 1, ConversationSettings { turns_max: 0, ttl: HOUR }).await;
    assert_eq!(load(store, &key, 10).await, []);
    append(store, &key, 2, ConversationSettings { turns_max: 3, ttl: Duration::ZERO }).await;
    assert_eq!(store.read(&key, Window::newest(10)).await.unwrap(), None);
}

async fn a_deleted_session_begins_anew(store: &Store) {
    let key = key("shop/support", "s");
    assert_eq!(store.delete(&key).await.unwrap(), None);
    for number in 0..2 {
        append(store, &key, number, SETTINGS).await;
    }
    let old = conversation(store, &key).await;
    assert_eq!(store.delete(&key).await.unwrap(), Some(8));
    assert_eq!(store.read(&key, Window::newest(10)).await.unwrap(), None);
    append(store, &key, 7, SETTINGS).await;
    assert!(!store.fold(&key, fold(&old, 1)).await.unwrap(), "a summary of what was deleted comes too late");
    let new = conversation(store, &key).await;
    assert_eq!((new.summary, new.first, new.turns), (None, 0, turns([7])));
}

fn fold(read: &Conversation, before: u64) -> Fold {
    Fold {
        revision: read.revision.clone(),
        next_revision: format!("{}+", read.revision),
        before,
        summary: format!("all before {before} ✓"),
    }
}

async fn a_turn_under_way_does_not_undo_a_deletion(store: &Store) {
    let key = key("shop/support", "s");
    append(store, &key, 0, SETTINGS).await;
    let lock = store.lock(&key).await.unwrap();
    assert!(!lock.is_forgotten());
    assert_eq!(store.delete(&key).await.unwrap(), Some(4));
    assert!(lock.is_forgotten());
    store.append(&key, turn(1), SETTINGS, &lock).await.unwrap_err();
    assert_eq!(store.read(&key, Window::newest(10)).await.unwrap(), None);
    drop(lock);
    // The next turn is of a new session, which nobody has deleted.
    let lock = store.lock(&key).await.unwrap();
    store.append(&key, turn(2), SETTINGS, &lock).await.unwrap();
    assert!(!lock.is_forgotten());
    assert_eq!(load(store, &key, 10).await, turns([2]));
}

async fn a_deletion_ends_a_first_turn_too(store: &Store) {
    let key = key("shop/support", "s");
    let lock = store.lock(&key).await.unwrap();
    assert_eq!(store.delete(&key).await.unwrap(), None, "nothing is known of it yet");
    store.append(&key, turn(0), SETTINGS, &lock).await.unwrap_err();
    assert_eq!(store.read(&key, Window::newest(10)).await.unwrap(), None);
}

async fn a_deletion_while_turns_run_leaves_nothing_of_them(store: &Store) {
    let key = key("shop/support", "s");
    for number in 0..20 {
        let lock = store.lock(&key).await.unwrap();
        let (appended, _deleted) = join(store.append(&key, turn(number), SETTINGS, &lock), store.delete(&key)).await;
        drop(appended);
        assert_eq!(store.read(&key, Window::newest(10)).await.unwrap(), None, "whichever was first, round {number}");
    }
}

async fn a_summary_takes_the_place_of_old_turns(store: &Store) {
    let key = key("shop/support", "s");
    let settings = ConversationSettings { turns_max: 10, ttl: HOUR };
    for number in 0..4 {
        append(store, &key, number, settings).await;
    }
    let read = conversation(store, &key).await;
    assert_eq!(read.summary, None);
    append(store, &key, 4, settings).await;
    assert!(store.fold(&key, fold(&read, 3)).await.unwrap(), "a turn that came meanwhile is no hindrance");
    let folded = conversation(store, &key).await;
    assert_eq!((folded.summary.as_deref(), folded.first, &folded.turns), (Some("all before 3 ✓"), 3, &turns([3, 4])));
    assert!(!store.fold(&key, fold(&read, 4)).await.unwrap(), "the same is not folded twice");
    assert!(store.fold(&key, fold(&folded, 5)).await.unwrap());
    append(store, &key, 5, settings).await;
    let folded = conversation(store, &key).await;
    assert_eq!((folded.summary.as_deref(), folded.first, folded.turns), (Some("all before 5 ✓"), 5, turns([5])));
}

async fn a_second_turn_of_a_session_waits_for_the_first(store: &Store) {
    let key = key("shop/support", "s");
    let first = store.lock(&key).await.unwrap();
    let mut second = store.lock(&key);
    assert!(second.as_mut().now_or_never().is_none(), "the session is taken");
    drop(first);
    drop(second.await.unwrap());
    drop(store.lock(&key).await.unwrap());
}

async fn sessions_do_not_wait_for_each_other(store: &Store) {
    let _held = store.lock(&key("shop/support", "s")).await.unwrap();
    for other in [key("shop/support", "t"), key("shop/sales", "s")] {
        drop(store.lock(&other).await.unwrap());
    }
}

async fn a_waiter_that_gives_up_leaves_the_session_free(store: &Store) {
    let key = key("shop/support", "s");
    let first = store.lock(&key).await.unwrap();
    let mut second = store.lock(&key);
    assert!(second.as_mut().now_or_never().is_none());
    drop(second);
    drop(first);
    drop(store.lock(&key).await.unwrap());
}

async fn the_lock_outlives_the_end_of_its_session(store: &Store) {
    let key = key("shop/support", "s");
    append(store, &key, 0, ConversationSettings { turns_max: 3, ttl: SHORT }).await;
    let first = store.lock(&key).await.unwrap();
    gone(store, &key).await;
    assert!(store.lock(&key).now_or_never().is_none(), "the session is still taken");
    drop(first);
}

/// Turns that each note how many were there before them.
async fn interleave(stores: &[&Store]) {
    let key = key("shop/support", "s");
    let settings = ConversationSettings { turns_max: 100, ttl: HOUR };
    let turns_under_way = (0..20).map(|number| {
        let (store, key) = (stores[number % stores.len()], key.clone());
        async move {
            let lock = store.lock(&key).await.unwrap();
            let before = load(store, &key, 100).await.len();
            tokio::task::yield_now().await;
            store.append(&key, turn(before), settings, &lock).await.unwrap();
        }
    });
    join_all(turns_under_way).await;
    assert_eq!(load(stores[0], &key, 100).await, turns(0..20), "each turn saw all the ones before it");
}

async fn turns_of_one_session_never_interleave(store: &Store) {
    interleave(&[store]).await;
}

async fn a_lock_may_travel_to_another_task(store: &Store) {
    let key = key("shop/support", "s");
    let (send, receive) = oneshot::channel();
    let lock = store.lock(&key).await.unwrap();
    let (sent, received) = join(async { send.send(lock).is_ok() }, receive).await;
    assert!(sent);
    assert!(store.lock(&key).now_or_never().is_none());
    drop(received);
    drop(store.lock(&key).await.unwrap());
}

macro_rules! conforms {
    ($backend:ident, $make:expr, [$($guarantee:ident),+ $(,)?]) => {
        mod $backend {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $guarantee() {
                    let Some(place) = $make.await else { return };
                    super::$guarantee(place.store().as_ref()).await;
                }
            )+
        }
    };
    ($($backend:ident: $make:expr),+ $(,)?) => {
        $(
            conforms!($backend, $make, [
                an_unknown_session_has_no_turns,
                turns_come_back_whole_and_oldest_first,
                only_the_last_turns_are_kept,
                a_read_gives_at_most_what_is_asked_for,
                a_read_goes_back_page_by_page,
                a_read_gives_the_newest_turns_that_fit,
                agents_and_sessions_never_share_a_conversation,
                a_session_ends_with_its_time_to_live,
                a_turn_starts_the_time_to_live_anew,
                an_expired_session_is_not_there_to_delete_or_to_fold,
                extreme_settings_are_fine,
                a_deleted_session_begins_anew,
                a_turn_under_way_does_not_undo_a_deletion,
                a_deletion_ends_a_first_turn_too,
                a_deletion_while_turns_run_leaves_nothing_of_them,
                a_summary_takes_the_place_of_old_turns,
                a_second_turn_of_a_session_waits_for_the_first,
                sessions_do_not_wait_for_each_other,
                a_waiter_that_gives_up_leaves_the_session_free,
                the_lock_outlives_the_end_of_its_session,
                turns_of_one_session_never_interleave,
                a_lock_may_travel_to_another_task,
            ]);
        )+
    };
}

/// The process itself, as a place of a store.
struct Process(Arc<Store>);

impl Process {
    fn store(&self) -> Arc<Store> {
        Arc::clone(&self.0)
    }
}

conforms!(
    on_in_process: async { Some(Process(Arc::new(InProcessStore::new()))) },
    on_sqlite: sqlite(),
    on_postgres: postgres(),
    on_redis: redis(),
);

/// What stores guarantee that several replicas share.
macro_rules! shared {
    ($backend:ident: $make:expr) => {
        mod $backend {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn turns_of_one_session_never_interleave_across_replicas() {
                let Some(place) = $make.await else { return };
                let (one, other) = (place.store(), place.store());
                interleave(&[one.as_ref(), other.as_ref()]).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_waiter_of_another_replica_that_gives_up_leaves_the_session_free() {
                let Some(place) = $make.await else { return };
                let (one, other, key) = (place.store(), place.store(), key("shop/support", "s"));
                let held = one.lock(&key).await.unwrap();
                let waiting = tokio::time::timeout(Duration::from_millis(100), other.lock(&key)).await;
                assert!(waiting.is_err(), "it waits");
                drop(held);
                drop(tokio::time::timeout(Duration::from_secs(5), one.lock(&key)).await.unwrap().unwrap());
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_turn_whose_lock_was_lost_is_not_stored() {
                let Some(place) = $make.await else { return };
                let (one, other, key) = (place.store(), place.store(), key("shop/support", "s"));
                let lost = SessionLock::fenced((), "a token of long ago".to_owned());
                let refused = one.append(&key, turn(0), SETTINGS, &lost).await;
                assert!(refused.unwrap_err().0.contains("lock of the session was lost"));
                let held = other.lock(&key).await.unwrap();
                assert!(one.append(&key, turn(0), SETTINGS, &lost).await.is_err());
                other.append(&key, turn(1), SETTINGS, &held).await.unwrap();
                assert_eq!(load(one.as_ref(), &key, 10).await, turns([1]));
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn ten_replicas_may_begin_at_once() {
                let Some(place) = $make.await else { return };
                let replicas: Vec<_> = (0..10).map(|_| place.store()).collect();
                let begun = replicas.iter().enumerate().map(async |(number, store)| {
                    append(store.as_ref(), &key("shop/support", &number.to_string()), number, SETTINGS).await;
                });
                join_all(begun).await;
                for number in 0..10 {
                    let key = key("shop/support", &number.to_string());
                    assert_eq!(load(replicas[0].as_ref(), &key, 10).await, turns([number]));
                }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_store_that_goes_down_fails_at_once_and_heals_by_itself() {
                let Some(place) = $make.await else { return };
                let (proxy, store) = place.behind_proxy().await;
                let (store, key) = (store.as_ref(), key("shop/support", "s"));
                let lock = store.lock(&key).await.unwrap();
                store.append(&key, turn(0), SETTINGS, &lock).await.unwrap();
                proxy.cut();
                let failed: Result<_, StoreError> =
                    tokio::time::timeout(Duration::from_secs(3), store.append(&key, turn(1), SETTINGS, &lock))
                        .await
                        .unwrap();
                assert!(failed.is_err());
                drop(lock);
                let failed = tokio::time::timeout(Duration::from_secs(6), store.lock(&key)).await.unwrap();
                assert!(failed.is_err());
                proxy.mend();
                eventually("the store heals", async || store.read(&key, Window::newest(10)).await.is_ok()).await;
                assert_eq!(load(store, &key, 10).await, turns([0]));
                // Its lock is given back as soon as the store is there again, long before it would end by itself.
                let lock = tokio::time::timeout(Duration::from_secs(10), store.lock(&key)).await.unwrap().unwrap();
                store.append(&key, turn(2), SETTINGS, &lock).await.unwrap();
                assert_eq!(load(store, &key, 10).await, turns([0, 2]));
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_deletion_by_another_replica_is_not_undone() {
                let Some(place) = $make.await else { return };
                let (one, other, key) = (place.store(), place.store(), key("shop/support", "s"));
                let lock = one.lock(&key).await.unwrap();
                one.append(&key, turn(0), SETTINGS, &lock).await.unwrap();
                assert_eq!(other.delete(&key).await.unwrap(), Some(4));
                one.append(&key, turn(1), SETTINGS, &lock).await.unwrap_err();
                assert_eq!(other.read(&key, Window::newest(10)).await.unwrap(), None);
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_store_that_stands_still_is_waited_for_once() {
                let Some(place) = $make.await else { return };
                let (proxy, store) = place.behind_proxy().await;
                let (store, key) = (store.as_ref(), key("shop/support", "s"));
                append(store, &key, 0, SETTINGS).await;
                proxy.stall();
                let begun = tokio::time::Instant::now();
                // One after the other, as runs of one session would wait for each other.
                for _ in 0..20 {
                    assert!(store.lock(&key).await.is_err());
                    assert!(store.read(&key, Window::newest(10)).await.is_err());
                }
                assert!(begun.elapsed() < Duration::from_secs(5), "forty operations took {:?}", begun.elapsed());
                proxy.mend();
                eventually("the store heals", async || store.read(&key, Window::newest(10)).await.is_ok()).await;
                let lock = tokio::time::timeout(Duration::from_secs(10), store.lock(&key)).await.unwrap().unwrap();
                store.append(&key, turn(1), SETTINGS, &lock).await.unwrap();
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_store_may_be_down_when_its_pod_starts_and_may_move() {
                let Some(place) = $make.await else { return };
                let (secrets, store) = place.nowhere();
                let key = key("shop/support", "s");
                let failed = store.read(&key, Window::newest(10)).await.unwrap_err();
                assert!(!failed.0.contains("hunter2"), "{failed}");
                place.point(&secrets);
                append(store.as_ref(), &key, 0, SETTINGS).await;
                assert_eq!(load(store.as_ref(), &key, 10).await, turns([0]));
            }
        }
    };
}

shared!(replicas_on_postgres: postgres());
shared!(replicas_on_redis: redis());

#[tokio::test]
async fn a_file_keeps_conversations_over_a_restart() {
    let place = sqlite().await.unwrap();
    let key = key("shop/support", "s");
    append(place.store().as_ref(), &key, 0, SETTINGS).await;
    assert_eq!(load(place.store().as_ref(), &key, 10).await, turns([0]));
}

mod at_its_exact_moment {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_in_the_process_ends() {
        let store = InProcessStore::new();
        let key = key("shop/support", "s");
        append(&store, &key, 0, SETTINGS).await;
        tokio::time::advance(HOUR - Duration::from_millis(1)).await;
        assert_eq!(load(&store, &key, 10).await, turns([0]));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(load(&store, &key, 10).await, [], "and reading it did not prolong it");
    }
}
