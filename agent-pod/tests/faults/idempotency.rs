//! Calls that come twice under one key.

use serde_json::{Value, json};

use crate::model_server::ModelServer;
use crate::reply::Reply;
use crate::world::{Answer, World, agent, events_of, provider};

async fn world(replies: impl IntoIterator<Item = Reply>) -> (ModelServer, World) {
    let server = ModelServer::start(replies).await;
    let spec = json!({"retry": {"maxAttempts": 1}});
    let agents = ["asked", "other"].map(|name| agent(name, &["p"], json!({})));
    let world = World::of([provider("p", &server.url(), spec)].into_iter().chain(agents)).await;
    (server, world)
}

fn keyed(world: &World, agent: &str, key: &str, body: &Value) -> reqwest::RequestBuilder {
    world.pod.ask(agent, body).header("Idempotency-Key", key)
}

async fn ask(world: &World, key: &str) -> Answer {
    Answer::read(keyed(world, "asked", key, &json!({"query": "hi"})).send().await.unwrap()).await
}

#[tokio::test]
async fn a_call_that_comes_again_gets_the_same_answer_and_costs_nothing() {
    let (server, world) = world([Reply::answer("one"), Reply::answer("two")]).await;
    let first = ask(&world, "k").await;
    let again = ask(&world, "k").await;
    assert_eq!((first.text(), &first.body), ("one", &again.body));
    // In another order, and as a stream.
    let body = json!({"stream": true, "query": "hi"});
    let streamed = keyed(&world, "asked", "k", &body).send().await.unwrap();
    Answer::read(streamed).await.assert_error(422, "idempotency_mismatch");
    let streamed = keyed(&world, "asked", "k", &json!({"context": null, "query": "hi"}));
    let streamed = streamed.header("accept", "text/event-stream").send().await.unwrap();
    let events = events_of(&streamed.text().await.unwrap());
    assert_eq!(
        (&events.last().unwrap()["answer"], &events.last().unwrap()["runId"]),
        (&json!("one"), &first.body["runId"])
    );
    assert_eq!(server.count(), 1);
    assert_eq!(world.metric("astromesh_agent_runs_total", &[]).await, 1.0);
    // Another key, and another agent, are other calls.
    assert_eq!(ask(&world, "l").await.text(), "two");
    let other = keyed(&world, "other", "k", &json!({"query": "hi"})).send().await.unwrap();
    assert_eq!(Answer::read(other).await.body["agent"], "other");
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_key_with_another_body_is_refused() {
    let (server, world) = world([Reply::answer("one")]).await;
    ask(&world, "k").await;
    let other = keyed(&world, "asked", "k", &json!({"query": "something else"})).send().await.unwrap();
    Answer::read(other).await.assert_error(422, "idempotency_mismatch");
    assert_eq!((ask(&world, "k").await.text(), server.count()), ("one", 1));
}

#[tokio::test]
async fn the_same_call_at_the_same_time_waits_for_the_first() {
    let (server, world) = world([Reply::gate().and(Reply::answer("one")), Reply::answer("two")]).await;
    let (first, second, hurried) = tokio::join!(
        ask(&world, "k"),
        async {
            server.await_calls(1).await;
            ask(&world, "k").await
        },
        async {
            server.await_calls(1).await;
            let hurried = keyed(&world, "asked", "k", &json!({"query": "hi"})).header("X-Request-Timeout-Ms", "200");
            let answer = Answer::read(hurried.send().await.unwrap()).await;
            server.release(1);
            answer
        }
    );
    hurried.assert_error(409, "idempotency_in_progress");
    assert_eq!((first.text(), &first.body), ("one", &second.body));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn failures_are_not_kept() {
    let (server, world) = world([Reply::refusal(500, &[]), Reply::answer("fine")]).await;
    ask(&world, "k").await.assert_error(502, "all_providers_failed");
    assert_eq!(ask(&world, "k").await.text(), "fine");
    assert_eq!((ask(&world, "k").await.text(), server.count()), ("fine", 2));
}

#[tokio::test]
async fn a_call_whose_caller_went_away_can_be_made_again() {
    let (server, world) = world([Reply::silence(), Reply::answer("fine")]).await;
    tokio::select! {
        answer = ask(&world, "k") => panic!("answered: {answer:?}"),
        () = server.await_calls(1) => {}
    }
    assert_eq!(ask(&world, "k").await.text(), "fine");
    server.await_hang_up(0).await;
}
