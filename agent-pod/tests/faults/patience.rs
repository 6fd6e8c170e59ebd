//! Providers that ask for patience: who waits, who is called meanwhile, and what the caller is told.

use futures::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};

use crate::model_server::ModelServer;
use crate::reply::Reply;
use crate::world::{World, agent, provider, until};

fn wait(seconds: &str) -> Reply {
    Reply::refusal(429, &[("Retry-After", seconds)])
}

#[tokio::test]
async fn a_provider_that_cools_is_passed_over_without_a_call() {
    let (cooling, spare) = (ModelServer::start([wait("60")]).await, ModelServer::good("spare").await);
    let manifests = [
        provider("cooling", &cooling.url(), json!({})),
        provider("spare", &spare.url(), json!({})),
        agent("asked", &["cooling", "spare"], json!({})),
    ];
    let world = World::of(manifests).await;
    assert_eq!(world.run("asked").await.attempts(), ["cooling rate_limited", "spare ok"]);
    assert_eq!(world.run("asked").await.attempts(), ["spare ok"]);
    assert_eq!((cooling.count(), spare.count()), (1, 2));
    let state = world.provider("cooling").await;
    assert_eq!((&state["circuit"], &state["lastError"]), (&json!("closed"), &json!("rate_limited")));
    assert!(state["coolingUntil"].as_str().is_some_and(|time| time.ends_with('Z')), "{state}");
}

#[tokio::test]
async fn when_all_cool_nobody_is_called_and_the_shortest_wait_is_told() {
    let (one, two) = (ModelServer::start([wait("60")]).await, ModelServer::start([wait("30")]).await);
    let manifests = [
        provider("one", &one.url(), json!({})),
        provider("two", &two.url(), json!({})),
        agent("asked", &["one", "two"], json!({})),
    ];
    let world = World::of(manifests).await;
    // Both were called: that is a failure of all, and it says when to come back.
    let first = world.run("asked").await;
    first.assert_error(502, "all_providers_failed");
    assert_eq!((first.retry_after, first.attempts().len()), (Some(30), 2));
    assert!(first.message().starts_with("Both providers failed: one (429), two (429)."), "{}", first.message());

    let second = world.run("asked").await;
    second.assert_error(429, "all_cooling_down");
    assert!(second.retry_after.is_some_and(|seconds| (20..=30).contains(&seconds)), "{second:?}");
    assert!(second.message().contains("one (cooling down), two (cooling down)"), "{}", second.message());
    assert!(second.attempts().is_empty() && second.body["error"]["retryable"] == true, "{second:?}");
    let events = world.events("asked").await;
    assert_eq!(events.last().unwrap()["error"]["code"], "all_cooling_down");
    assert_eq!((one.count(), two.count()), (1, 1));
}

#[tokio::test]
async fn a_provider_that_has_cooled_off_is_called_again() {
    let server = ModelServer::start([wait("1"), Reply::answer("back")]).await;
    let world = World::of([provider("p", &server.url(), json!({})), agent("asked", &["p"], json!({}))]).await;
    world.run("asked").await.assert_error(502, "all_providers_failed");
    until("the end of the wait", async || world.provider("p").await["coolingUntil"].is_null()).await;
    assert_eq!(world.run("asked").await.text(), "back");
    assert!(world.provider("p").await["lastError"].is_null());
}

#[tokio::test]
async fn a_refusal_for_now_never_opens_the_circuit_and_ends_no_row_of_failures() {
    let refused = Reply::refusal(429, &[]);
    let failed = || Reply::refusal(500, &[]);
    let server = ModelServer::start([failed(), refused, failed(), Reply::answer("fine")]).await;
    let spec = json!({"circuitBreaker": {"failureThreshold": 2}, "retry": {"maxAttempts": 1}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    for circuit in ["closed", "closed", "open"] {
        world.run("asked").await.assert_error(502, "all_providers_failed");
        assert_eq!(world.provider("p").await["circuit"], circuit);
    }
}

#[tokio::test]
async fn no_more_requests_go_out_in_a_minute_than_the_limit_lets() {
    let server = ModelServer::good("fine").await;
    let spec = json!({"rateLimit": {"requestsPerMinute": 3}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    for _ in 0..3 {
        assert_eq!(world.run("asked").await.text(), "fine");
    }
    let refused = world.run("asked").await;
    refused.assert_error(429, "all_cooling_down");
    assert!(refused.message().contains("p (rate limit used up)"), "{}", refused.message());
    assert!(refused.retry_after.is_some_and(|seconds| (1..=20).contains(&seconds)), "{refused:?}");
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn the_limit_of_requests_holds_for_callers_that_come_together() {
    let server = ModelServer::good("fine").await;
    let spec = json!({"rateLimit": {"requestsPerMinute": 5}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    let answers = join_all((0..20).map(|_| world.run("asked"))).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((served, server.count()), (5, 5));
    assert!(answers.iter().filter(|answer| answer.status != 200).all(|answer| answer.code() == "all_cooling_down"));
}

/// A provider that fails as soon as the test lets it, with no second try.
fn failing(url: &str) -> Value {
    provider("failing", url, json!({"retry": {"maxAttempts": 1}, "circuitBreaker": {"failureThreshold": 100}}))
}

#[tokio::test]
async fn the_limit_of_requests_holds_for_those_whom_another_provider_has_failed() {
    let failed = ModelServer::start([Reply::gate().and(Reply::refusal(500, &[]))]).await;
    let limited = ModelServer::good("fine").await;
    let manifests = [
        failing(&failed.url()),
        provider("limited", &limited.url(), json!({"rateLimit": {"requestsPerMinute": 5}})),
        agent("asked", &["failing", "limited"], json!({})),
    ];
    let world = World::of(manifests).await;
    let runs = join_all((0..20).map(|_| world.run("asked")));
    let (answers, ()) = tokio::join!(runs, async {
        failed.await_calls(20).await;
        failed.release(20);
    });
    assert_eq!((answers.iter().filter(|answer| answer.status == 200).count(), limited.count()), (5, 5));
    let refused = answers.iter().find(|answer| answer.status != 200).unwrap();
    refused.assert_error(502, "all_providers_failed");
    assert!(refused.message().contains("failing (500), limited (rate limit used up)"), "{}", refused.message());
}

#[tokio::test]
async fn second_tries_keep_to_the_limit_of_requests() {
    let server = ModelServer::start([Reply::refusal(500, &[])]).await;
    let spec = json!({"rateLimit": {"requestsPerMinute": 3}, "retry": {"maxAttempts": 5}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    for _ in 0..2 {
        let _failed = world.run("asked").await;
    }
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_provider_that_has_begun_to_cool_meanwhile_is_passed_over() {
    let failed = ModelServer::start([Reply::gate().and(Reply::refusal(500, &[]))]).await;
    let cooling = ModelServer::start([wait("60")]).await;
    let manifests = [
        failing(&failed.url()),
        provider("cooling", &cooling.url(), json!({})),
        agent("asked", &["failing", "cooling"], json!({})),
    ];
    let world = World::of(manifests).await;
    let (one, two, ()) = tokio::join!(world.run("asked"), world.run("asked"), async {
        failed.await_calls(2).await;
        failed.release(1);
        until("the wait", async || world.provider("cooling").await["coolingUntil"].is_string()).await;
        failed.release(1);
    });
    assert_eq!((one.status, two.status, cooling.count()), (502, 502, 1));
    let messages = [one.message(), two.message()];
    assert!(messages.iter().any(|text| text.contains("cooling (429)")), "{messages:?}");
    assert!(messages.iter().any(|text| text.contains("cooling (cooling down)")), "{messages:?}");
}

#[rstest]
#[case::alone(&["p"], 2)]
#[case::before_another(&["p", "spare"], 1)]
#[tokio::test]
async fn requests_at_the_same_time_are_bounded(#[case] candidates: &[&str], #[case] at_p: usize) {
    let server = ModelServer::start([Reply::gate().and(Reply::answer("gated"))]).await;
    let spare = ModelServer::good("spare").await;
    let manifests = [
        provider("p", &server.url(), json!({"maxConcurrentRequests": 1})),
        provider("spare", &spare.url(), json!({})),
        agent("asked", candidates, json!({})),
    ];
    let world = World::of(manifests).await;
    let (first, second) = (world.run("asked"), async {
        server.await_calls(1).await;
        let run = world.run("asked");
        tokio::pin!(run);
        let answer = tokio::select! {
            answer = &mut run => Some(answer),
            () = async {
                world.pod.await_state("both runs", |state| state["inFlight"] == 2).await;
                until("the spare one", async || spare.count() == 1 || candidates.len() == 1).await;
            } => None,
        };
        assert_eq!(server.count(), 1, "one at a time");
        server.release(2);
        match answer {
            Some(answer) => answer,
            None => run.await,
        }
    });
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.text(), "gated");
    assert_eq!(second.text(), if candidates.len() == 1 { "gated" } else { "spare" });
    assert_eq!(server.count(), at_p);
}
