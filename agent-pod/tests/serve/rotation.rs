//! A key is rotated, and the old one revoked at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::Pod;
use crate::keyed_server::{KeyedServer, Mounts, document};

/// Less than a call waits for another key, and more than it takes without.
const AT_ONCE: Duration = Duration::from_millis(2_500);

fn is_refused(state: &Value) -> bool {
    state["secrets"][0]["refused"] == true
}

/// Whether a run has an answer: whole, or as events.
async fn succeeds(pod: &Pod, stream: bool) -> Result<(), String> {
    let response = pod.ask("support", &json!({"query": "hi", "stream": stream})).send().await.unwrap();
    let text = response.text().await.unwrap();
    let ended = if stream { text.contains("event: done") } else { text.contains("\"answer\"") };
    if ended { Ok(()) } else { Err(text) }
}

#[rstest]
#[case::as_most_servers_do(StatusCode::UNAUTHORIZED)]
#[case::as_some_do(StatusCode::FORBIDDEN)]
#[tokio::test]
async fn twenty_callers_notice_nothing_of_a_key_that_is_replaced_after_it_was_revoked(#[case] refusal: StatusCode) {
    let model = KeyedServer::refusing_with("first", refusal).await;
    let mounts = Mounts::start(&document(&[("model", &model)], json!({})), None, &[("model", b"first\n")]).await;
    succeeds(&mounts.pod, false).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let callers = (0..20).map(|number| {
        let (over, pod) = (Arc::clone(&over), &mounts.pod);
        async move {
            let mut last_round = false;
            while !last_round {
                last_round = over.load(Ordering::Relaxed);
                succeeds(pod, number % 2 == 0).await?;
            }
            Ok::<_, String>(())
        }
    });
    let rotation = async {
        model.take_only("second");
        mounts.pod.await_state("the refusal", is_refused).await;
        // As long as an operator and a kubelet take.
        tokio::time::sleep(Duration::from_millis(300)).await;
        mounts.secret.swap(&[("model", b"second\n")]);
        mounts.pod.await_state("the new key", |state| !is_refused(state)).await;
        over.store(true, Ordering::Relaxed);
    };
    let (results, ()) = tokio::join!(join_all(callers), rotation);
    let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(failed, Vec::<String>::new());
    let refused = model.answered().iter().filter(|status| **status == refusal.as_u16()).count();
    assert!((1..=20).contains(&refused), "{refused}: nobody sends a key that is known to be refused");
}

#[tokio::test]
async fn a_key_that_was_never_taken_fails_at_once() {
    let model = KeyedServer::start("right").await;
    let mounts = Mounts::start(&document(&[("model", &model)], json!({})), None, &[("model", b"wrong")]).await;
    for calls in 1..=2 {
        let begun = Instant::now();
        let (status, body) = mounts.run(json!({"query": "hi"})).await;
        assert_eq!((status, &body["error"]["code"]), (502, &json!("provider_unauthorized")), "{body:#}");
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        assert_eq!(model.answered().len(), calls);
    }
    assert!(is_refused(&mounts.pod.state().await), "it is told all the same");
    mounts.secret.swap(&[("model", b"right")]);
    mounts.pod.await_state("another key", |state| !is_refused(state)).await;
    assert_eq!(mounts.run(json!({"query": "hi"})).await.0, 200);
}

#[tokio::test]
async fn a_key_that_stays_revoked_is_waited_for_once_and_never_beyond_a_deadline() {
    let model = KeyedServer::start("first").await;
    let mounts = Mounts::start(&document(&[("model", &model)], json!({})), None, &[("model", b"first")]).await;
    succeeds(&mounts.pod, false).await.unwrap();
    model.take_only("second");
    // The one is refused; the other comes when that is known, and sends nothing.
    let in_a_hurry = mounts.pod.ask("support", &json!({"query": "hi"})).header("x-request-timeout-ms", "600");
    let in_a_hurry = async {
        mounts.pod.await_state("the refusal", is_refused).await;
        let begun = Instant::now();
        let status = in_a_hurry.send().await.unwrap().status().as_u16();
        (status, begun.elapsed())
    };
    let (patient, (status, waited)) = tokio::join!(mounts.run(json!({"query": "hi"})), in_a_hurry);
    assert_eq!((patient.0, &patient.1["error"]["code"]), (502, &json!("provider_unauthorized")));
    assert!(matches!(status, 502 | 504) && waited < AT_ONCE, "{status} after {waited:?}");
    assert_eq!(model.answered(), [200, 401]);
    let begun = Instant::now();
    assert_eq!(mounts.run(json!({"query": "hi"})).await.0, 502);
    assert!(begun.elapsed() < AT_ONCE, "it is waited for once: {:?}", begun.elapsed());
    model.take_only("first");
    succeeds(&mounts.pod, false).await.unwrap();
    assert!(!is_refused(&mounts.pod.state().await), "it is taken again");
}

#[tokio::test]
async fn while_there_is_another_provider_nobody_waits() {
    let (first, second) = (KeyedServer::start("one").await, KeyedServer::start("two").await);
    let both = document(&[("first", &first), ("second", &second)], json!({}));
    let mounts = Mounts::start(&both, None, &[("first", b"one"), ("second", b"two")]).await;
    succeeds(&mounts.pod, false).await.unwrap();
    first.take_only("other");
    let begun = Instant::now();
    for _ in 0..3 {
        succeeds(&mounts.pod, true).await.unwrap();
    }
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert_eq!((first.answered(), second.answered()), (vec![200, 401], vec![200, 200, 200]));
    // When the other one fails as well, the first is worth the wait.
    second.take_only("other");
    let rotation = async {
        mounts.pod.await_state("both refusals", |state| state["secrets"][1]["refused"] == true).await;
        mounts.secret.swap(&[("first", b"other"), ("second", b"two")]);
    };
    let (answered, ()) = tokio::join!(succeeds(&mounts.pod, true), rotation);
    answered.unwrap();
}

#[tokio::test]
async fn a_web_service_gets_the_new_key_as_well() {
    let service = KeyedServer::start("first").await;
    let webhook =
        json!({"url": format!("{}/tool", service.url), "auth": {"secretKeyRef": {"name": "keys", "key": "model"}}});
    let tools = json!({"tools": [{"name": "order", "type": "webhook", "description": "x", "webhook": webhook}]});
    let mounts = Mounts::start(&document(&[("model", &service)], tools), None, &[("model", b"first")]).await;
    assert_eq!(mounts.run(json!({"query": "hi"})).await.1["answer"], "shipped");
    service.take_only("second");
    let rotation = async {
        mounts.pod.await_state("the refusal", is_refused).await;
        mounts.secret.swap(&[("model", b"second")]);
    };
    let (run, ()) = tokio::join!(mounts.run(json!({"query": "hi"})), rotation);
    assert_eq!(run.1["answer"], "shipped", "{:#}", run.1);
    assert_eq!(service.answered(), [200, 401, 200]);
}

#[rstest]
#[case::empty(b"", "empty")]
#[case::white_space(b" \t\n\n", "empty")]
#[case::not_text(b"\xff\xfe", "not_text")]
#[tokio::test]
async fn a_value_of_no_use_is_missing_and_the_last_one_goes_on(#[case] value: &[u8], #[case] problem: &str) {
    let model = KeyedServer::start("first").await;
    let mounts = Mounts::start(&document(&[("model", &model)], json!({})), None, &[("model", b"first")]).await;
    mounts.secret.swap(&[("model", value)]);
    let state = mounts.pod.await_state("the problem", |state| state["secrets"][0]["state"] == "missing").await;
    assert_eq!(state["secrets"][0]["problem"], problem);
    succeeds(&mounts.pod, false).await.unwrap();
    mounts.secret.swap(&[]);
    let state = mounts.pod.await_state("no file", |state| state["secrets"][0]["problem"].is_null()).await;
    assert_eq!(state["secrets"][0]["state"], "missing");
}
