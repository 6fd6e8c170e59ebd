//! What a pod knows of a model: shared by its agents, and kept when something else changes.

use serde_json::json;

use crate::model_server::ModelServer;
use crate::reply::Reply;
use crate::world::{World, agent, provider, until};

fn failed() -> Reply {
    Reply::refusal(500, &[])
}

/// Providers that fail for good after one failed try.
fn fragile() -> serde_json::Value {
    json!({"circuitBreaker": {"failureThreshold": 1}, "retry": {"maxAttempts": 1}})
}

#[tokio::test]
async fn agents_of_a_pod_learn_from_each_other() {
    let server = ModelServer::start([failed()]).await;
    let manifests =
        [provider("p", &server.url(), fragile()), agent("one", &["p"], json!({})), agent("two", &["p"], json!({}))];
    let world = World::of(manifests).await;
    world.run("one").await.assert_error(502, "all_providers_failed");
    world.run("two").await.assert_error(503, "all_circuits_open");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn another_model_of_the_same_provider_has_a_circuit_of_its_own() {
    let server = ModelServer::start([failed(), Reply::answer("fine")]).await;
    let mut spec = fragile();
    spec["models"] = json!([{"name": "m"}, {"name": "n"}]);
    let world = World::of([
        provider("p", &server.url(), spec),
        agent("one", &["p/m"], json!({})),
        agent("two", &["p/n"], json!({})),
    ])
    .await;
    world.run("one").await.assert_error(502, "all_providers_failed");
    assert_eq!(world.run("two").await.text(), "fine");
    assert_eq!(
        (&world.provider("p").await["circuit"], &world.model("p", "n").await["circuit"]),
        (&json!("open"), &json!("closed"))
    );
}

/// Waits until another revision serves than the one of before.
async fn await_reload(world: &World, before: &serde_json::Value) {
    world.pod.await_state("a new revision", |state| state["revision"] != before["revision"]).await;
}

#[tokio::test]
async fn a_new_prompt_changes_nothing_of_what_is_known() {
    let server = ModelServer::start([failed()]).await;
    let world = World::of([provider("p", &server.url(), fragile()), agent("asked", &["p"], json!({}))]).await;
    world.run("asked").await.assert_error(502, "all_providers_failed");
    let before = world.pod.state().await;
    world.folder.put(&agent("asked", &["p"], json!({"prompts": {"system": "Be long."}})));
    await_reload(&world, &before).await;
    assert_eq!(world.provider("p").await["circuit"], "open");
    world.run("asked").await.assert_error(503, "all_circuits_open");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn another_endpoint_is_another_server_for_all_agents_at_once() {
    let (old, new) = (ModelServer::start([failed()]).await, ModelServer::good("new").await);
    let manifests =
        [provider("p", &old.url(), fragile()), agent("one", &["p"], json!({})), agent("two", &["p"], json!({}))];
    let world = World::of(manifests).await;
    world.run("one").await.assert_error(502, "all_providers_failed");
    let before = world.pod.state().await;
    world.folder.put(&provider("p", &new.url(), fragile()));
    await_reload(&world, &before).await;
    assert_eq!(world.provider("p").await["circuit"], "closed");
    assert_eq!((world.run("one").await.text(), world.run("two").await.text()), ("new", "new"));
    // And what is learnt of it from now on is shared again.
    new.script([failed()]);
    world.run("one").await.assert_error(502, "all_providers_failed");
    world.run("two").await.assert_error(503, "all_circuits_open");
    assert_eq!((world.provider("p").await["circuit"].as_str(), new.count()), (Some("open"), 3));
}

#[tokio::test]
async fn an_agent_that_is_added_knows_what_the_others_do() {
    let server = ModelServer::start([failed()]).await;
    let world = World::of([provider("p", &server.url(), fragile()), agent("one", &["p"], json!({}))]).await;
    world.run("one").await.assert_error(502, "all_providers_failed");
    world.folder.put(&agent("two", &["p"], json!({})));
    world.pod.await_state("both agents", |state| state["agents"].as_array().unwrap().len() == 2).await;
    world.run("two").await.assert_error(503, "all_circuits_open");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_run_under_way_ends_on_what_it_began_with() {
    let (old, new) =
        (ModelServer::start([Reply::gate().and(Reply::answer("old"))]).await, ModelServer::good("new").await);
    let world = World::of([provider("p", &old.url(), json!({})), agent("asked", &["p"], json!({}))]).await;
    let changed = async {
        old.await_calls(1).await;
        let before = world.pod.state().await;
        world.folder.put(&provider("p", &new.url(), json!({})));
        await_reload(&world, &before).await;
        assert_eq!(world.run("asked").await.text(), "new");
        old.release(1);
    };
    assert_eq!(tokio::join!(world.run("asked"), changed).0.text(), "old");
    until("rest", async || world.pod.state().await["inFlight"] == 0).await;
}
