//! One deadline over everything that a run does.

use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};

use crate::model_server::ModelServer;
use crate::reply::Reply;
use crate::world::{Answer, World, agent, count_of, events_of, provider};

/// Far above the deadlines here, and far below the waits that they cut short.
const SOON: Duration = Duration::from_secs(4);

async fn run_within(world: &World, milliseconds: u64) -> Answer {
    let request = world.pod.ask("asked", &json!({"query": "hi"}));
    let begun = Instant::now();
    let answer = Answer::read(request.header("X-Request-Timeout-Ms", milliseconds).send().await.unwrap()).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    answer
}

#[tokio::test]
async fn one_deadline_covers_every_candidate() {
    let (one, two) = (ModelServer::start([Reply::silence()]).await, ModelServer::start([Reply::silence()]).await);
    let spec = json!({"timeouts": {"firstToken": "150ms"}});
    let manifests = [
        provider("one", &one.url(), spec.clone()),
        provider("two", &two.url(), spec),
        agent("asked", &["one", "two"], json!({})),
    ];
    let world = World::of(manifests).await;
    let answer = run_within(&world, 600).await;
    answer.assert_error(504, "deadline_exceeded");
    assert_eq!(answer.attempts(), ["one timeout", "two deadline_exceeded"]);
    assert_eq!((one.count(), two.count()), (1, 1));
    // Both have had their time; the last one's was cut off by the deadline.
    for name in ["one", "two"] {
        assert_eq!(world.provider(name).await["lastError"], "timeout");
    }
    one.await_hang_up(0).await;
    two.await_hang_up(0).await;
    assert_eq!(world.metric("astromesh_agent_runs_total", &["outcome=\"deadline_exceeded\""]).await, 1.0);
}

#[tokio::test]
async fn a_caller_in_a_hurry_blames_nobody() {
    let server = ModelServer::start([Reply::silence()]).await;
    let spec = json!({"circuitBreaker": {"failureThreshold": 1}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    run_within(&world, 150).await.assert_error(504, "deadline_exceeded");
    let state = world.provider("p").await;
    assert_eq!((&state["circuit"], state["lastError"].is_null()), (&json!("closed"), true));
    server.await_hang_up(0).await;
}

#[tokio::test]
async fn no_second_try_waits_beyond_the_deadline() {
    let server = ModelServer::start([Reply::refusal(503, &[("Retry-After", "2")])]).await;
    let world = World::of([provider("p", &server.url(), json!({})), agent("asked", &["p"], json!({}))]).await;
    let answer = run_within(&world, 1_000).await;
    answer.assert_error(502, "all_providers_failed");
    assert_eq!((answer.retry_after, server.count()), (Some(2), 1));
}

#[rstest]
#[case::of_the_agent(json!({"orchestration": {"timeout": "1s"}}), 60_000)]
#[case::of_the_caller(json!({}), 1_000)]
#[tokio::test]
async fn the_shorter_deadline_holds(#[case] spec: Value, #[case] milliseconds: u64) {
    let server = ModelServer::start([Reply::stream().text("It ").and(Reply::silence())]).await;
    let world = World::of([provider("p", &server.url(), json!({})), agent("asked", &["p"], spec)]).await;
    run_within(&world, milliseconds).await.assert_error(504, "deadline_exceeded");
    server.await_hang_up(0).await;
    assert!(world.tokens("p", "output").await > 0.0, "what came of an answer is booked");
}

#[tokio::test]
async fn a_stream_ends_at_the_deadline_with_one_error() {
    let server = ModelServer::start([Reply::stream().text("It ").and(Reply::silence())]).await;
    let world = World::of([provider("p", &server.url(), json!({})), agent("asked", &["p"], json!({}))]).await;
    let request = world.pod.ask("asked", &json!({"query": "hi", "stream": true}));
    let response = request.header("X-Request-Timeout-Ms", "500").send().await.unwrap();
    let events = events_of(&response.text().await.unwrap());
    let counts = ["token", "error", "done"].map(|kind| count_of(&events, kind));
    assert_eq!((counts, &events.last().unwrap()["error"]["code"]), ([1, 1, 0], &json!("deadline_exceeded")));
    assert_eq!(world.provider("p").await["circuit"], "closed");
}
