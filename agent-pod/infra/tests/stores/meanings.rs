//! What every store of texts by their meaning guarantees.

use std::sync::Arc;
use std::time::Duration;

use agent_pod_core::embedding::Unit;
use agent_pod_core::memory::semantic::{Found, Meaning, Search, SemanticStore};
use agent_pod_core::memory::{SessionKey, Window};
use agent_pod_infra::memory::{PgvectorMeanings, PostgresServer, PostgresStore};
use futures::future::join_all;
use tokio::time::timeout;

use crate::places::{eventually, postgres, sqlite};

type Store = dyn SemanticStore;

const SPACE: &str = "words/3";
const AT: &str = "2026-01-01T00:00:00.000Z";

fn key(agent: &str, session: &str) -> SessionKey {
    SessionKey { agent: agent.to_owned(), session: session.to_owned() }
}

fn unit(numbers: &[f32]) -> Unit {
    Unit::of(numbers).unwrap()
}

async fn add(store: &Store, key: &SessionKey, texts: &[(&str, [f32; 3])]) {
    let meaning = |(content, vector): &(&str, [f32; 3])| Meaning {
        content: (*content).to_owned(),
        vector: unit(vector),
        timestamp: AT.to_owned(),
    };
    store.add(key, SPACE, texts.iter().map(meaning).collect(), 100).await.unwrap();
}

async fn search(store: &Store, agent: &str, vector: &[f32], top_k: usize) -> Vec<Found> {
    store.search(agent, Search { space: SPACE, vector: &unit(vector), top_k }).await.unwrap()
}

async fn contents(store: &Store, agent: &str, vector: &[f32], top_k: usize) -> Vec<String> {
    search(store, agent, vector, top_k).await.into_iter().map(|found| found.content).collect()
}

async fn an_agent_that_said_nothing_has_nothing_to_find(store: &Store) {
    assert_eq!(search(store, "shop/support", &[1.0, 0.0, 0.0], 10).await, []);
    assert_eq!(store.delete(&key("shop/support", "s")).await.unwrap(), 0);
}

async fn the_closest_texts_come_first_with_their_cosine(store: &Store) {
    let text = "dog – ✓ 🙂 '\"; drop table x --";
    add(store, &key("shop/support", "s"), &[("cat", [0.0, 2.0, 0.0]), (text, [5.0, 0.0, 0.0])]).await;
    add(store, &key("shop/support", "t"), &[("both", [1.0, 1.0, 0.0]), ("not", [-1.0, 0.0, 0.0])]).await;
    let found = search(store, "shop/support", &[0.1, 0.0, 0.0], 10).await;
    let expected = [(text, 1.0, "s"), ("both", 0.5_f64.sqrt(), "t"), ("cat", 0.0, "s"), ("not", -1.0, "t")];
    assert_eq!(found.len(), expected.len());
    for (found, (content, score, session)) in found.iter().zip(expected) {
        assert_eq!((found.content.as_str(), found.session_id.as_str()), (content, session));
        assert!((found.score - score).abs() < 1e-6, "{content}: {}", found.score);
        assert_eq!(found.timestamp, AT);
    }
}

async fn no_more_come_than_are_asked_for_and_the_newest_of_equals_first(store: &Store) {
    let key = key("shop/support", "s");
    for text in ["one", "two", "three"] {
        add(store, &key, &[(text, [1.0, 0.0, 0.0])]).await;
    }
    add(store, &key, &[("worse", [1.0, 1.0, 0.0])]).await;
    assert_eq!(contents(store, "shop/support", &[1.0, 0.0, 0.0], 2).await, ["three", "two"]);
    assert_eq!(contents(store, "shop/support", &[1.0, 0.0, 0.0], 9).await, ["three", "two", "one", "worse"]);
    assert_eq!(contents(store, "shop/support", &[1.0, 0.0, 0.0], 0).await, <[&str; 0]>::default());
}

async fn agents_never_share_texts_and_sessions_of_one_do(store: &Store) {
    let keys = [key("shop/support", "s"), key("shop/support", "t"), key("shop/sales", "s"), key("shop", "support/s")];
    for (number, key) in keys.iter().enumerate() {
        add(store, key, &[(&number.to_string(), [1.0, 0.0, 0.0])]).await;
    }
    for (agent, expected) in [("shop/support", vec!["1", "0"]), ("shop/sales", vec!["2"]), ("shop", vec!["3"])] {
        assert_eq!(contents(store, agent, &[1.0, 0.0, 0.0], 10).await, expected, "{agent}");
    }
    assert_eq!(store.delete(&keys[0]).await.unwrap(), 1);
    assert_eq!(contents(store, "shop/support", &[1.0, 0.0, 0.0], 10).await, ["1"], "only the one was forgotten");
    assert_eq!(contents(store, "shop/sales", &[1.0, 0.0, 0.0], 10).await, ["2"]);
}

async fn the_oldest_texts_of_an_agent_make_room(store: &Store) {
    add(store, &key("shop/other", "s"), &[("other", [1.0, 0.0, 0.0])]).await;
    for number in 0..5 {
        let meaning = Meaning { content: number.to_string(), vector: unit(&[1.0, 0.0, 0.0]), timestamp: AT.to_owned() };
        store.add(&key("shop/support", &format!("s{number}")), SPACE, vec![meaning], 3).await.unwrap();
    }
    assert_eq!(contents(store, "shop/support", &[1.0, 0.0, 0.0], 10).await, ["4", "3", "2"]);
    assert_eq!(contents(store, "shop/other", &[1.0, 0.0, 0.0], 10).await, ["other"]);
}

async fn the_same_text_of_a_session_is_kept_once(store: &Store) {
    let (one, two) = (key("shop/support", "s"), key("shop/support", "t"));
    for key in [&one, &one, &two] {
        add(store, key, &[("hi", [1.0, 0.0, 0.0]), ("ho", [0.0, 1.0, 0.0])]).await;
    }
    assert_eq!(contents(store, "shop/support", &[1.0, 0.0, 0.0], 10).await, ["hi", "hi", "ho", "ho"]);
}

async fn vectors_of_another_model_or_length_are_not_compared(store: &Store) {
    let key = key("shop/support", "s");
    add(store, &key, &[("three numbers", [1.0, 0.0, 0.0])]).await;
    for (space, vector) in [("other/3", vec![1.0, 0.0, 0.0]), ("words/2", vec![1.0, 0.0])] {
        let meaning = Meaning { content: space.to_owned(), vector: unit(&vector), timestamp: AT.to_owned() };
        store.add(&key, space, vec![meaning], 100).await.unwrap();
        let found = store.search("shop/support", Search { space, vector: &unit(&vector), top_k: 9 }).await.unwrap();
        assert_eq!(found.iter().map(|found| found.content.as_str()).collect::<Vec<_>>(), [space]);
    }
    assert_eq!(contents(store, "shop/support", &[1.0, 0.0, 0.0], 10).await, ["three numbers"]);
}

macro_rules! conforms {
    ($backend:ident, $make:expr, [$($guarantee:ident),+ $(,)?]) => {
        mod $backend {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $guarantee() {
                    let Some(place) = $make.await else { return };
                    super::$guarantee(place.meanings().as_ref()).await;
                }
            )+
        }
    };
    ($($backend:ident: $make:expr),+ $(,)?) => {
        $(
            conforms!($backend, $make, [
                an_agent_that_said_nothing_has_nothing_to_find,
                the_closest_texts_come_first_with_their_cosine,
                no_more_come_than_are_asked_for_and_the_newest_of_equals_first,
                agents_never_share_texts_and_sessions_of_one_do,
                the_oldest_texts_of_an_agent_make_room,
                the_same_text_of_a_session_is_kept_once,
                vectors_of_another_model_or_length_are_not_compared,
            ]);
        )+
    };
}

conforms!(embedded: sqlite(), pgvector: postgres());

#[tokio::test]
async fn a_file_keeps_texts_over_a_restart() {
    let place = sqlite().await.unwrap();
    add(place.meanings().as_ref(), &key("shop/support", "s"), &[("dog", [1.0, 0.0, 0.0])]).await;
    assert_eq!(contents(place.meanings().as_ref(), "shop/support", &[1.0, 0.0, 0.0], 9).await, ["dog"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_at_once_share_their_texts() {
    let Some(place) = postgres().await else { return };
    let replicas: Vec<_> = (0..8).map(|_| place.meanings()).collect();
    let adding = replicas.iter().enumerate().map(|(number, store)| async move {
        add(store.as_ref(), &key("shop/support", &number.to_string()), &[("dog", [1.0, 0.0, 0.0])]).await;
    });
    join_all(adding).await;
    for replica in &replicas {
        assert_eq!(search(replica.as_ref(), "shop/support", &[1.0, 0.0, 0.0], 99).await.len(), 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_need_no_vectors_and_share_the_server_with_them() {
    use agent_pod_core::memory::ConversationStore as _;
    let Some(place) = postgres().await else { return };
    let (_proxy, url) = place.proxied().await;
    let server = Arc::new(PostgresServer::new(url));
    let (said, meant) = (PostgresStore::new(Arc::clone(&server)), PgvectorMeanings::new(server));
    assert_eq!(said.read(&key("shop/support", "s"), Window::newest(10)).await.unwrap(), None);
    add(&meant, &key("shop/support", "s"), &[("dog", [1.0, 0.0, 0.0])]).await;
    assert_eq!(contents(&meant, "shop/support", &[1.0, 0.0, 0.0], 9).await, ["dog"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_fails_in_time_and_heals() {
    let Some(place) = postgres().await else { return };
    let (proxy, url) = place.proxied().await;
    let store = PgvectorMeanings::new(Arc::new(PostgresServer::new(url)));
    let (key, vector) = (key("shop/support", "s"), unit(&[1.0, 0.0, 0.0]));
    add(&store, &key, &[("dog", [1.0, 0.0, 0.0])]).await;
    let look = || store.search("shop/support", Search { space: SPACE, vector: &vector, top_k: 9 });
    proxy.cut();
    for _ in 0..2 {
        assert!(timeout(Duration::from_secs(3), look()).await.expect("it ends in time").is_err());
    }
    proxy.mend();
    eventually("the store heals", async || look().await.is_ok()).await;
    add(&store, &key, &[("rex", [1.0, 0.0, 0.0])]).await;
    assert_eq!(contents(&store, "shop/support", &[1.0, 0.0, 0.0], 9).await, ["rex", "dog"]);
}
