//! Providers that are misconfigured: asked once, then set aside while another one works.

use rstest::rstest;
use serde_json::json;

use crate::model_server::{ModelServer, header};
use crate::reply::Reply;
use crate::world::{World, agent, provider};

#[rstest]
#[case::wrong_key(401, "unauthorized")]
#[case::no_right(403, "unauthorized")]
#[case::no_such_model(404, "not_found")]
#[tokio::test]
async fn a_misconfigured_provider_is_set_aside_while_another_works(#[case] status: u16, #[case] outcome: &str) {
    let (wrong, spare) = (ModelServer::start([Reply::refusal(status, &[])]).await, ModelServer::good("spare").await);
    let manifests = [
        provider("wrong", &wrong.url(), json!({})),
        provider("spare", &spare.url(), json!({})),
        agent("asked", &["wrong", "spare"], json!({})),
    ];
    let world = World::of(manifests).await;
    assert_eq!(world.run("asked").await.attempts(), [format!("wrong {outcome}"), "spare ok".to_owned()]);
    assert_eq!(world.run("asked").await.attempts(), ["spare ok"]);
    assert_eq!((wrong.count(), spare.count()), (1, 2));
    let state = world.provider("wrong").await;
    assert_eq!((&state["circuit"], &state["lastError"]), (&json!("closed"), &json!(outcome)));

    // It is tried once more before the run fails.
    spare.script([Reply::refusal(500, &[])]);
    let answer = world.run("asked").await;
    answer.assert_error(502, "all_providers_failed");
    assert_eq!(answer.attempts().last().unwrap(), &format!("wrong {outcome}"));
    assert_eq!(wrong.count(), 2);
}

#[tokio::test]
async fn a_new_key_ends_the_time_aside() {
    let (server, spare) = (ModelServer::start([Reply::refusal(401, &[])]).await, ModelServer::good("spare").await);
    let spec = json!({"auth": {"secretKeyRef": {"name": "keys", "key": "k"}}});
    let manifests = [
        provider("locked", &server.url(), spec),
        provider("spare", &spare.url(), json!({})),
        agent("asked", &["locked", "spare"], json!({})),
        secret("old"),
    ];
    let world = World::of(manifests).await;
    assert_eq!(world.run("asked").await.attempts(), ["locked unauthorized", "spare ok"]);
    server.script([Reply::answer("unlocked")]);
    assert_eq!(world.run("asked").await.text(), "spare");
    world.folder.put(&secret("new"));
    crate::world::until("the new key", async || world.run("asked").await.text() == "unlocked").await;
    let keys: Vec<_> =
        server.calls().iter().map(|call| header(&call.head, "authorization").unwrap().to_owned()).collect();
    assert_eq!(keys, ["Bearer old", "Bearer new"]);
}

fn secret(value: &str) -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"k": value}})
}
