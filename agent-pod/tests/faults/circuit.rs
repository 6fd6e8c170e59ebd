//! The circuit of a model: who opens it, who finds it open, and the one call that tries it out; and how often a failing
//! provider is asked again.

use futures::future::join_all;
use serde_json::json;

use crate::model_server::ModelServer;
use crate::reply::Reply;
use crate::world::{World, agent, count_of, provider};

fn failed() -> Reply {
    Reply::refusal(500, &[])
}

#[tokio::test]
async fn three_failed_requests_in_a_row_open_it_however_often_each_was_tried() {
    let server = ModelServer::start([failed()]).await;
    let world = World::of([provider("p", &server.url(), json!({})), agent("asked", &["p"], json!({}))]).await;
    for circuit in ["closed", "closed", "open"] {
        world.run("asked").await.assert_error(502, "all_providers_failed");
        assert_eq!(world.provider("p").await["circuit"], circuit);
    }
    assert_eq!(server.count(), 6, "two tries each");
    assert_eq!(world.metric("astromesh_provider_circuit_state", &["provider=\"p\""]).await, 2.0);
}

#[tokio::test]
async fn an_answer_ends_a_row_of_failures() {
    let fine = || Reply::answer("fine");
    let server = ModelServer::start([failed(), failed(), fine(), failed(), failed(), fine()]).await;
    let spec = json!({"retry": {"maxAttempts": 1}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(world.run("asked").await.status);
    }
    assert_eq!(statuses, [502, 502, 200, 502, 502, 200]);
    assert_eq!(world.provider("p").await["circuit"], "closed");
}

#[tokio::test]
async fn with_all_circuits_open_nobody_is_called_and_the_wait_is_told() {
    let (one, two) = (ModelServer::start([failed()]).await, ModelServer::start([failed()]).await);
    let spec = |cooldown| json!({"circuitBreaker": {"failureThreshold": 1, "cooldown": cooldown}, "retry": {"maxAttempts": 1}});
    let manifests = [
        provider("one", &one.url(), spec("60s")),
        provider("two", &two.url(), spec("40s")),
        agent("asked", &["one", "two"], json!({})),
    ];
    let world = World::of(manifests).await;
    world.run("asked").await.assert_error(502, "all_providers_failed");
    let refused = world.run("asked").await;
    refused.assert_error(503, "all_circuits_open");
    assert!(refused.retry_after.is_some_and(|seconds| (30..=40).contains(&seconds)), "{refused:?}");
    assert!(refused.message().contains("one (circuit open), two (circuit open)"), "{}", refused.message());
    assert!(refused.attempts().is_empty() && refused.body["error"]["retryable"] == true, "{refused:?}");
    let events = world.events("asked").await;
    assert_eq!((count_of(&events, "error"), count_of(&events, "done")), (1, 0));
    assert_eq!((one.count(), two.count()), (1, 1));
}

#[tokio::test]
async fn an_open_circuit_and_a_cooling_provider_are_no_call_either() {
    let (open, cooling) = (ModelServer::start([failed()]).await, ModelServer::start([patient()]).await);
    let spec = json!({"circuitBreaker": {"failureThreshold": 1}, "retry": {"maxAttempts": 1}});
    let manifests = [
        provider("open", &open.url(), spec),
        provider("cooling", &cooling.url(), json!({})),
        agent("asked", &["open", "cooling"], json!({})),
    ];
    let world = World::of(manifests).await;
    world.run("asked").await.assert_error(502, "all_providers_failed");
    let refused = world.run("asked").await;
    refused.assert_error(429, "all_cooling_down");
    assert!(refused.message().contains("open (circuit open), cooling (cooling down)"), "{}", refused.message());
    assert_eq!((open.count(), cooling.count()), (1, 1));
}

fn patient() -> Reply {
    Reply::refusal(429, &[("Retry-After", "20")])
}

/// A provider whose circuit has opened and is about to be tried out, with this for the call that does it.
async fn half_open(probe: Reply) -> (ModelServer, World) {
    let server = ModelServer::start([failed(), failed(), probe, Reply::answer("fine")]).await;
    let spec = json!({"circuitBreaker": {"failureThreshold": 1, "cooldown": "1s"}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    world.run("asked").await.assert_error(502, "all_providers_failed");
    assert_eq!(world.provider("p").await["circuit"], "open");
    world.await_circuit("p", "half_open").await;
    (server, world)
}

#[tokio::test]
async fn exactly_one_of_twenty_callers_tries_it_out() {
    let (server, world) = half_open(Reply::gate().and(Reply::answer("well again"))).await;
    let calls = join_all((0..20).map(|_| async {
        let answer = world.run("asked").await;
        // The last one to be refused lets the probe go on.
        server.release(usize::from(answer.status == 503));
        answer
    }));
    let answers = calls.await;
    let served: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    // Whoever comes after the probe has answered is served as usual.
    assert_eq!(served.len() + 2, server.count(), "a call for each answer");
    assert!(served.iter().any(|answer| answer.text() == "well again"));
    let refused = answers.iter().filter(|answer| answer.status != 200);
    refused.for_each(|answer| {
        answer.assert_error(503, "all_circuits_open");
        assert_eq!(answer.retry_after, Some(1));
    });
    assert_eq!(world.provider("p").await["circuit"], "closed");
}

#[tokio::test]
async fn a_probe_that_fails_is_not_tried_again_and_opens_it_anew() {
    let (server, world) = half_open(failed()).await;
    world.run("asked").await.assert_error(502, "all_providers_failed");
    assert_eq!(world.provider("p").await["circuit"], "open");
    world.run("asked").await.assert_error(503, "all_circuits_open");
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_probe_whose_caller_goes_away_leaves_the_place_to_the_next() {
    let (server, world) = half_open(Reply::silence()).await;
    let leaving = world.pod.ask("asked", &json!({"query": "hi"})).send();
    tokio::select! {
        answer = leaving => panic!("answered: {answer:?}"),
        () = server.await_calls(3) => {}
    }
    server.await_hang_up(2).await;
    world.idle().await;
    assert_eq!(world.run("asked").await.text(), "fine");
    assert_eq!(world.provider("p").await["circuit"], "closed");
}

#[tokio::test]
async fn a_probe_that_is_told_to_wait_decides_nothing() {
    let (server, world) = half_open(Reply::refusal(429, &[])).await;
    world.run("asked").await.assert_error(502, "all_providers_failed");
    assert_eq!(world.provider("p").await["circuit"], "half_open");
    assert_eq!(world.run("asked").await.text(), "fine");
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn an_outage_is_not_made_worse_by_second_tries() {
    let server = ModelServer::start([failed()]).await;
    let spec = json!({"circuitBreaker": {"failureThreshold": 100}, "retry": {"maxAttempts": 3}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    let answers = join_all((0..50).map(|_| world.run("asked"))).await;
    assert!(answers.iter().all(|answer| answer.status == 502));
    assert_eq!(server.count(), 50 + 3, "three second tries a minute, whatever happens");
    assert_eq!(world.tries("p", "unavailable").await, 53.0);
}

#[tokio::test]
async fn second_tries_grow_with_what_succeeds() {
    let server = ModelServer::good("fine").await;
    let spec = json!({"circuitBreaker": {"failureThreshold": 100}, "retry": {"budgetPercent": 20}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    join_all((0..40).map(|_| world.run("asked"))).await;
    server.script([failed()]);
    join_all((0..30).map(|_| world.run("asked"))).await;
    assert_eq!(server.count(), 40 + 30 + 8, "a fifth of 40");
}

#[tokio::test]
async fn a_second_try_that_works_is_an_answer_like_any_other() {
    let server = ModelServer::start([failed(), Reply::answer("fine")]).await;
    let spec = json!({"circuitBreaker": {"failureThreshold": 1}});
    let world = World::of([provider("p", &server.url(), spec), agent("asked", &["p"], json!({}))]).await;
    let answer = world.run("asked").await;
    assert_eq!((answer.text(), answer.attempts()), ("fine", vec!["p unavailable".to_owned(), "p ok".to_owned()]));
    assert_eq!(answer.body["usage"]["byModel"][0]["calls"], 1);
    let state = world.provider("p").await;
    assert_eq!((&state["circuit"], state["lastError"].is_null()), (&json!("closed"), true));
}
