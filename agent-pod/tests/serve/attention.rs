//! What a pod tells the operator by itself, and how the operator waits for changes of its state.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use axum::{Json, Router};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};

use crate::harness::{DEADLINE, Pod};
use crate::keyed_server::{KeyedServer, Mounts, document};

/// An operator that writes down what it is told.
struct Operator {
    url: String,
    told: Arc<Mutex<Vec<Value>>>,
    /// How many calls it answers with 503 from now on.
    deaf: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Operator {
    async fn start() -> Self {
        let (told, deaf) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<AtomicUsize>::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        // `localhost` has another address, too, where nobody listens.
        let url = format!("http://localhost:{}/internal/attention", listener.local_addr().unwrap().port());
        let (heard, ignored) = (Arc::clone(&told), Arc::clone(&deaf));
        let listen = move |Json(attention): Json<Value>| async move {
            let leads = ignored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err();
            if leads {
                heard.lock().unwrap().push(attention);
            }
            if leads { StatusCode::ACCEPTED } else { StatusCode::SERVICE_UNAVAILABLE }
        };
        let mut task = JoinSet::new();
        let router = Router::new().route("/internal/attention", axum::routing::post(listen));
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, told, deaf, _task: task }
    }

    fn count(&self) -> usize {
        self.told.lock().unwrap().len()
    }

    /// Waits until it has been told more than so often.
    async fn told_more_than(&self, count: usize) {
        let end = Instant::now() + DEADLINE;
        while self.count() <= count {
            assert!(Instant::now() < end, "the operator was told nothing");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn the_operator_is_told_who_has_something_to_show() {
    let (model, operator) = (KeyedServer::start("first").await, Operator::start().await);
    let first = document(&[("model", &model)], json!({}));
    let mounts = Mounts::start(&first, Some(&operator.url), &[("model", b"first")]).await;
    operator.told_more_than(0).await;
    assert_eq!(operator.told.lock().unwrap()[0], json!({"namespace": "shop", "pod": "support-agent-0"}));

    let count = operator.count();
    mounts.secret.swap(&[]);
    mounts.pod.await_state("the missing key", |state| state["secrets"][0]["state"] == "missing").await;
    operator.told_more_than(count).await;

    // Replicas that do not lead are no reason to stop.
    operator.deaf.store(2, Ordering::Relaxed);
    let count = operator.count();
    mounts.secret.swap(&[("model", b"first")]);
    operator.told_more_than(count).await;

    let address = json!({"attention": operator.url}).to_string();
    let count = operator.count();
    let bad = b"{\"version\": 1".to_vec();
    mounts.config.swap(&[("document.json", &bad), ("operator.json", address.as_bytes())]);
    mounts.pod.await_state("the refusal", |state| state["rejected"].is_object()).await;
    operator.told_more_than(count).await;

    mounts.pod.terminate().await;
    let (code, log) = mounts.pod.ended().await;
    assert_eq!(code, Some(0));
    assert_eq!(log.matches("the operator does not listen").count(), 1, "{log}");
}

#[tokio::test]
async fn calls_alone_are_nothing_to_tell() {
    let (model, operator) = (KeyedServer::start("first").await, Operator::start().await);
    let first = document(&[("model", &model)], json!({}));
    let mounts = Mounts::start(&first, Some(&operator.url), &[("model", b"first")]).await;
    // What the model server says of its models is news.
    mounts.pod.await_state("the list of models", |state| state["endpoints"][0]["reachable"] == true).await;
    let tag = tag(&mounts.pod).await;
    for _ in 0..20 {
        mounts.run(json!({"query": "hi"})).await;
    }
    assert!(mounts.pod.state().await["providers"][0]["latencyMs"].is_u64());
    assert_eq!(self::tag(&mounts.pod).await, tag);
}

async fn tag(pod: &Pod) -> String {
    let response = pod.http.get(format!("{}/internal/state", pod.admin)).send().await.unwrap();
    response.headers()[ETAG].to_str().unwrap().to_owned()
}

fn wait(pod: &Pod, seconds: u64, tag: &str) -> reqwest::RequestBuilder {
    pod.http.get(format!("{}/internal/state?wait={seconds}", pod.admin)).header(IF_NONE_MATCH, tag)
}

#[tokio::test]
async fn who_knows_the_state_may_wait_for_another_one() {
    let model = KeyedServer::start("first").await;
    let first = document(&[("model", &model)], json!({}));
    let mounts = Mounts::start(&first, None, &[("model", b"first")]).await;
    let pod = &mounts.pod;
    pod.await_state("the list of models", |state| state["endpoints"][0]["reachable"] == true).await;
    let known = tag(pod).await;
    let unchanged = wait(pod, 0, &known).send().await.unwrap();
    assert_eq!((unchanged.status().as_u16(), unchanged.headers()[ETAG].to_str().unwrap()), (304, known.as_str()));
    assert_eq!(wait(pod, 30, "\"another\"").send().await.unwrap().status(), 200);

    // More of them than have a place: the others are answered at once.
    let mut waiting: FuturesUnordered<_> = (0..20).map(|_| wait(pod, 30, &known).send()).collect();
    for _ in 0..4 {
        assert_eq!(waiting.next().await.unwrap().unwrap().status(), StatusCode::NOT_MODIFIED);
    }
    assert!(pod.ready().await, "those that wait are in nobody's way");
    mounts.secret.swap(&[]);
    while let Some(answer) = waiting.next().await {
        let answer = answer.unwrap();
        assert_ne!(answer.headers()[ETAG], known.as_str());
        assert_eq!(answer.json::<Value>().await.unwrap()["secrets"][0]["state"], "missing");
    }
}
