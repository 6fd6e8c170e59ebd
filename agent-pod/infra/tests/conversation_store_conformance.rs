//! What every store of conversations guarantees, run on every backend.
//!
//! A backend adds a module of `conforms!` with a way to make an empty store. Time is paused; a backend that keeps
//! its own clock brings its own test of the time to live.

#![expect(clippy::unwrap_used, reason = "the guarantees are tests by another name")]

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::memory::{ConversationSettings, ConversationStore, SessionKey, StoredTurn};
use agent_pod_core::message::{Message, Role, ToolCall};
use agent_pod_infra::memory::InProcessStore;
use futures::FutureExt as _;
use futures::future::{join, join_all};
use serde_json::json;
use tokio::sync::oneshot;

const HOUR: Duration = Duration::from_secs(3600);
const SETTINGS: ConversationSettings = ConversationSettings { turns_max: 3, ttl: HOUR };

fn key(agent: &str, session: &str) -> SessionKey {
    SessionKey { agent: agent.to_owned(), session: session.to_owned() }
}

fn turn(number: usize) -> StoredTurn {
    let mut asks = Message::new(Role::Assistant, "");
    asks.tool_calls =
        vec![ToolCall { id: "call_1".to_owned(), name: "get_order".to_owned(), arguments: json!({"id": number}) }];
    StoredTurn {
        messages: vec![
            Message::new(Role::User, format!("question {number}")),
            asks,
            Message::tool_result("call_1", "on its way"),
            Message::new(Role::Assistant, format!("answer {number} – ✓")),
        ],
        timestamp: "2026-01-01T00:00:00.000Z".to_owned(),
    }
}

fn turns(numbers: impl IntoIterator<Item = usize>) -> Vec<StoredTurn> {
    numbers.into_iter().map(turn).collect()
}

async fn an_unknown_session_has_no_turns(store: &dyn ConversationStore) {
    assert_eq!(store.load(&key("shop/support", "s"), 10).await.unwrap(), []);
}

async fn turns_come_back_whole_and_oldest_first(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    for number in 0..3 {
        store.append(&key, turn(number), SETTINGS).await.unwrap();
    }
    assert_eq!(store.load(&key, 10).await.unwrap(), turns(0..3));
}

async fn only_the_last_turns_are_kept(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    for number in 0..5 {
        store.append(&key, turn(number), SETTINGS).await.unwrap();
    }
    assert_eq!(store.load(&key, usize::MAX).await.unwrap(), turns(2..5));
    // A smaller setting applies at the next turn.
    store.append(&key, turn(5), ConversationSettings { turns_max: 1, ttl: HOUR }).await.unwrap();
    assert_eq!(store.load(&key, 10).await.unwrap(), turns([5]));
}

async fn a_load_gives_at_most_what_is_asked_for(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    for number in 0..3 {
        store.append(&key, turn(number), SETTINGS).await.unwrap();
    }
    assert_eq!(store.load(&key, 2).await.unwrap(), turns([1, 2]));
    assert_eq!(store.load(&key, 0).await.unwrap(), []);
    assert_eq!(store.load(&key, 3).await.unwrap(), turns(0..3), "a load takes nothing away");
}

async fn agents_and_sessions_never_share_a_conversation(store: &dyn ConversationStore) {
    // Pairs that would be one if the parts were only joined.
    let keys = [key("shop/support", "s"), key("shop/sales", "s"), key("shop/support", "t"), key("shop", "support/s")];
    for (number, key) in keys.iter().enumerate() {
        store.append(key, turn(number), SETTINGS).await.unwrap();
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(store.load(key, 10).await.unwrap(), turns([number]));
    }
}

async fn a_session_ends_with_its_time_to_live(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    store.append(&key, turn(0), SETTINGS).await.unwrap();
    tokio::time::advance(HOUR - Duration::from_millis(1)).await;
    assert_eq!(store.load(&key, 10).await.unwrap(), turns([0]));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(store.load(&key, 10).await.unwrap(), [], "and reading it did not prolong it");
    store.append(&key, turn(1), SETTINGS).await.unwrap();
    assert_eq!(store.load(&key, 10).await.unwrap(), turns([1]), "nothing of the old one comes back");
}

async fn a_turn_starts_the_time_to_live_anew(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    store.append(&key, turn(0), SETTINGS).await.unwrap();
    tokio::time::advance(HOUR / 2).await;
    store.append(&key, turn(1), SETTINGS).await.unwrap();
    tokio::time::advance(HOUR / 2).await;
    assert_eq!(store.load(&key, 10).await.unwrap(), turns([0, 1]));
    tokio::time::advance(HOUR / 2).await;
    assert_eq!(store.load(&key, 10).await.unwrap(), []);
}

async fn an_expired_session_passes_nothing_on_to_its_next_turn(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    store.append(&key, turn(0), SETTINGS).await.unwrap();
    tokio::time::advance(HOUR).await;
    store.append(&key, turn(1), SETTINGS).await.unwrap();
    assert_eq!(store.load(&key, 10).await.unwrap(), turns([1]));
}

async fn extreme_settings_are_fine(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    store.append(&key, turn(0), ConversationSettings { turns_max: usize::MAX, ttl: Duration::MAX }).await.unwrap();
    assert_eq!(store.load(&key, usize::MAX).await.unwrap(), turns([0]));
    store.append(&key, turn(1), ConversationSettings { turns_max: 0, ttl: HOUR }).await.unwrap();
    assert_eq!(store.load(&key, 10).await.unwrap(), []);
    store.append(&key, turn(2), ConversationSettings { turns_max: 3, ttl: Duration::ZERO }).await.unwrap();
    assert_eq!(store.load(&key, 10).await.unwrap(), []);
}

async fn a_second_turn_of_a_session_waits_for_the_first(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    let first = store.lock(&key).await.unwrap();
    let mut second = store.lock(&key);
    assert!(second.as_mut().now_or_never().is_none(), "the session is taken");
    drop(first);
    drop(second.await.unwrap());
    drop(store.lock(&key).await.unwrap());
}

async fn sessions_do_not_wait_for_each_other(store: &dyn ConversationStore) {
    let _held = store.lock(&key("shop/support", "s")).await.unwrap();
    for other in [key("shop/support", "t"), key("shop/sales", "s")] {
        drop(store.lock(&other).now_or_never().expect("the lock is free").unwrap());
    }
}

async fn a_waiter_that_gives_up_leaves_the_session_free(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    let first = store.lock(&key).await.unwrap();
    let mut second = store.lock(&key);
    assert!(second.as_mut().now_or_never().is_none());
    drop(second);
    drop(first);
    drop(store.lock(&key).now_or_never().expect("the lock is free").unwrap());
}

async fn the_lock_outlives_the_end_of_its_session(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    store.append(&key, turn(0), SETTINGS).await.unwrap();
    let first = store.lock(&key).await.unwrap();
    tokio::time::advance(HOUR * 2).await;
    assert_eq!(store.load(&key, 10).await.unwrap(), []);
    assert!(store.lock(&key).now_or_never().is_none(), "the session is still taken");
    drop(first);
}

async fn turns_of_one_session_never_interleave(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    let settings = ConversationSettings { turns_max: 100, ttl: HOUR };
    let turns_under_way = (0..20).map(|_| async {
        let _lock = store.lock(&key).await.unwrap();
        let before = store.load(&key, 100).await.unwrap().len();
        tokio::task::yield_now().await;
        store.append(&key, turn(before), settings).await.unwrap();
    });
    join_all(turns_under_way).await;
    assert_eq!(store.load(&key, 100).await.unwrap(), turns(0..20), "each turn saw all the ones before it");
}

async fn a_lock_may_travel_to_another_task(store: &dyn ConversationStore) {
    let key = key("shop/support", "s");
    let (send, receive) = oneshot::channel();
    let lock = store.lock(&key).await.unwrap();
    let (sent, received) = join(async { send.send(lock).is_ok() }, receive).await;
    assert!(sent);
    assert!(store.lock(&key).now_or_never().is_none());
    drop(received);
    assert!(store.lock(&key).now_or_never().is_some());
}

macro_rules! conforms {
    ($backend:ident, $make:expr, [$($guarantee:ident),+ $(,)?]) => {
        mod $backend {
            use super::*;
            $(
                #[tokio::test(start_paused = true)]
                async fn $guarantee() {
                    let store: Arc<dyn ConversationStore> = Arc::new($make);
                    super::$guarantee(store.as_ref()).await;
                }
            )+
        }
    };
}

conforms!(
    in_process,
    InProcessStore::new(),
    [
        an_unknown_session_has_no_turns,
        turns_come_back_whole_and_oldest_first,
        only_the_last_turns_are_kept,
        a_load_gives_at_most_what_is_asked_for,
        agents_and_sessions_never_share_a_conversation,
        a_session_ends_with_its_time_to_live,
        a_turn_starts_the_time_to_live_anew,
        an_expired_session_passes_nothing_on_to_its_next_turn,
        extreme_settings_are_fine,
        a_second_turn_of_a_session_waits_for_the_first,
        sessions_do_not_wait_for_each_other,
        a_waiter_that_gives_up_leaves_the_session_free,
        the_lock_outlives_the_end_of_its_session,
        turns_of_one_session_never_interleave,
        a_lock_may_travel_to_another_task,
    ]
);
