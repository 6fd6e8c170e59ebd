//! What every store of events guarantees.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::memory::episode::{Episode, EpisodeBounds, EpisodeResult, EpisodeStore};
use agent_pod_core::memory::{SessionKey, Window};
use agent_pod_infra::memory::{PostgresEpisodes, PostgresServer};
use futures::future::join_all;
use tokio::time::timeout;

use crate::places::{eventually, postgres, sqlite};

type Store = dyn EpisodeStore;

const BOUNDS: EpisodeBounds = EpisodeBounds { of_session: 3, of_agent: 100 };

fn key(agent: &str, session: &str) -> SessionKey {
    SessionKey { agent: agent.to_owned(), session: session.to_owned() }
}

fn event(number: usize) -> Episode {
    Episode {
        run_id: format!("run-{number}"),
        timestamp: "2026-01-01T00:00:00.000Z".to_owned(),
        question: format!("question {number} \0 '\"; drop table x --"),
        answer: Some("answer – ✓ 🙂".to_owned()),
        result: EpisodeResult::Blocked,
        error: Some("internal".to_owned()),
        guardrail: Some("max_length".to_owned()),
        tools: vec!["get_order".to_owned()],
        tokens: u64::MAX,
    }
}

fn events(numbers: impl IntoIterator<Item = usize>) -> Vec<Episode> {
    numbers.into_iter().map(event).collect()
}

async fn fill(store: &Store, key: &SessionKey, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        store.append(key, event(number), BOUNDS).await.unwrap();
    }
}

async fn latest(store: &Store, key: &SessionKey) -> Vec<Episode> {
    store.latest(key, usize::MAX).await.unwrap()
}

async fn an_unknown_session_has_no_events(store: &Store) {
    let key = key("shop/support", "s");
    assert_eq!(latest(store, &key).await, []);
    assert_eq!(store.delete(&key).await.unwrap(), 0);
}

async fn events_come_back_whole_and_oldest_first(store: &Store) {
    let key = key("shop/support", "s");
    fill(store, &key, 0..3).await;
    assert_eq!(latest(store, &key).await, events(0..3));
    assert_eq!(store.latest(&key, 2).await.unwrap(), events(1..3), "the last ones");
    assert_eq!(store.latest(&key, 0).await.unwrap(), []);
}

async fn the_oldest_events_of_a_session_make_room(store: &Store) {
    let (long, short) = (key("shop/support", "long"), key("shop/support", "short"));
    fill(store, &short, [9]).await;
    fill(store, &long, 0..5).await;
    assert_eq!(latest(store, &long).await, events(2..5));
    assert_eq!(latest(store, &short).await, events([9]), "each session has a bound of its own");
}

async fn the_oldest_events_of_an_agent_make_room(store: &Store) {
    let bounds = EpisodeBounds { of_session: 10, of_agent: 4 };
    let other = key("shop/other", "s");
    store.append(&other, event(0), bounds).await.unwrap();
    for number in 0..6 {
        store.append(&key("shop/support", &format!("s{}", number % 3)), event(number), bounds).await.unwrap();
    }
    for (session, expected) in [("s0", vec![3]), ("s1", vec![4]), ("s2", vec![2, 5])] {
        assert_eq!(latest(store, &key("shop/support", session)).await, events(expected), "{session}");
    }
    assert_eq!(latest(store, &other).await, events([0]), "each agent has a bound of its own");
}

async fn agents_and_sessions_never_share_events(store: &Store) {
    // Pairs that would be one if the parts were only joined.
    let keys = [
        key("shop/support", "s"),
        key("shop/sales", "s"),
        key("shop/support", "t"),
        key("shop", "support/s"),
        key("shop/support", "S"),
        key("shop/support", "%"),
    ];
    for (number, key) in keys.iter().enumerate() {
        fill(store, key, [number]).await;
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(latest(store, key).await, events([number]));
    }
    assert_eq!(store.delete(&keys[0]).await.unwrap(), 1);
    assert_eq!(latest(store, &keys[0]).await, []);
    for (number, key) in keys.iter().enumerate().skip(1) {
        assert_eq!(latest(store, key).await, events([number]), "only the one session was forgotten");
    }
}

async fn events_at_once_are_all_kept(store: &Store) {
    let key = key("shop/support", "s");
    let bounds = EpisodeBounds { of_session: 100, of_agent: 100 };
    let written = join_all((0..20).map(|number| store.append(&key, event(number), bounds))).await;
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    let mut kept = latest(store, &key).await;
    kept.sort_by_key(|event| event.run_id.trim_start_matches("run-").parse::<usize>().unwrap());
    assert_eq!(kept, events(0..20));
}

macro_rules! conforms {
    ($backend:ident, $make:expr, [$($guarantee:ident),+ $(,)?]) => {
        mod $backend {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $guarantee() {
                    let Some(place) = $make.await else { return };
                    super::$guarantee(place.episodes().as_ref()).await;
                }
            )+
        }
    };
    ($($backend:ident: $make:expr),+ $(,)?) => {
        $(
            conforms!($backend, $make, [
                an_unknown_session_has_no_events,
                events_come_back_whole_and_oldest_first,
                the_oldest_events_of_a_session_make_room,
                the_oldest_events_of_an_agent_make_room,
                agents_and_sessions_never_share_events,
                events_at_once_are_all_kept,
            ]);
        )+
    };
}

conforms!(on_sqlite: sqlite(), on_postgres: postgres());

#[tokio::test]
async fn a_file_keeps_events_over_a_restart_beside_conversations() {
    let place = sqlite().await.unwrap();
    let key = key("shop/support", "s");
    fill(place.episodes().as_ref(), &key, [0]).await;
    assert_eq!(place.store().read(&key, Window::newest(10)).await.unwrap(), None);
    assert_eq!(latest(place.episodes().as_ref(), &key).await, events([0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_at_once_share_their_events() {
    let Some(place) = postgres().await else { return };
    let key = key("shop/support", "s");
    let replicas: Vec<_> = (0..8).map(|_| place.episodes()).collect();
    let bounds = EpisodeBounds { of_session: 100, of_agent: 100 };
    let written = replicas.iter().enumerate().map(|(number, store)| store.append(&key, event(number), bounds));
    join_all(written).await.into_iter().for_each(Result::unwrap);
    for replica in &replicas {
        assert_eq!(latest(replica.as_ref(), &key).await.len(), 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_fails_in_time_and_heals() {
    let Some(place) = postgres().await else { return };
    let (proxy, url) = place.proxied().await;
    let store: Arc<Store> = Arc::new(PostgresEpisodes::new(Arc::new(PostgresServer::new(url))));
    let key = key("shop/support", "s");
    fill(store.as_ref(), &key, [0]).await;
    proxy.cut();
    for _ in 0..2 {
        let failed = timeout(Duration::from_secs(3), store.latest(&key, 10)).await.expect("it ends in time");
        assert!(failed.is_err());
    }
    proxy.mend();
    eventually("the store heals", async || store.latest(&key, 10).await.is_ok()).await;
    fill(store.as_ref(), &key, [1]).await;
    assert_eq!(latest(store.as_ref(), &key).await, events([0, 1]));
}
