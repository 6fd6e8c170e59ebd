use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::controllers::agent::build::build;
use crate::testing::fake_api::FakeApi;
use crate::testing::validated;

const CONFIG_MAP: &str = "/api/v1/namespaces/shop/configmaps/support-agent";
const SERVICE: &str = "/api/v1/namespaces/shop/services/support-agent";

fn children() -> [Desired; 4] {
    let children = build(&validated(json!({})), None);
    [
        Desired::new(ChildKind::ConfigMap, &children.config_map),
        Desired::new(ChildKind::ServiceAccount, &children.service_account),
        Desired::new(ChildKind::Service, &children.service),
        Desired::new(ChildKind::Deployment, &children.deployment),
    ]
}

fn owner() -> Owner {
    Owner { uid: "a-uid".into(), name: "Agent `support`".into() }
}

/// Applies every child as a controller that has just started, with nothing remembered.
async fn pass(api: &FakeApi) -> BTreeMap<ChildKind, Result<Live, ApplyError>> {
    let applier = Applier::new(api.client.clone());
    let mut results = BTreeMap::new();
    for child in &children() {
        results.insert(child.kind, applier.apply(child, &owner(), None).await);
    }
    results
}

#[tokio::test]
async fn only_the_first_pass_writes() {
    let api = FakeApi::start().await;
    assert!(pass(&api).await.values().all(Result::is_ok));
    assert_eq!(api.take_writes(), ["configmaps", "serviceaccounts", "services", "deployments"]);
    for _pass in 0..10 {
        assert!(pass(&api).await.values().all(Result::is_ok));
        assert_eq!(api.take_writes(), [""; 0]);
    }
}

#[tokio::test]
async fn a_child_that_the_watch_shows_unchanged_is_not_even_read() {
    let api = FakeApi::start().await;
    let applier = Applier::new(api.client.clone());
    let [config_map, ..] = children();
    applier.apply(&config_map, &owner(), None).await.unwrap();
    let version = api.cluster.lock().unwrap().objects[CONFIG_MAP]["metadata"]["resourceVersion"].clone();
    let reads = api.cluster.lock().unwrap().reads;
    applier.apply(&config_map, &owner(), version.as_str()).await.unwrap();
    assert_eq!(api.cluster.lock().unwrap().reads, reads);
    applier.apply(&config_map, &owner(), Some("999")).await.unwrap();
    assert_eq!(api.cluster.lock().unwrap().reads, reads + 1, "a change that the watch tells of is looked at");
}

#[tokio::test]
async fn drift_of_one_child_is_one_write() {
    let api = FakeApi::start().await;
    pass(&api).await;
    api.take_writes();
    api.cluster.lock().unwrap().objects.get_mut(SERVICE).unwrap()["spec"]["selector"] = json!({"other": "app"});
    pass(&api).await;
    assert_eq!(api.take_writes(), ["services"]);
    api.cluster.lock().unwrap().objects.remove(CONFIG_MAP);
    pass(&api).await;
    assert_eq!(api.take_writes(), ["configmaps"]);
}

#[tokio::test]
async fn what_others_add_is_left_alone() {
    let api = FakeApi::start().await;
    pass(&api).await;
    api.take_writes();
    api.cluster.lock().unwrap().objects.get_mut(SERVICE).unwrap()["metadata"]["annotations"]["foreign"] = json!("yes");
    pass(&api).await;
    assert_eq!(api.take_writes(), [""; 0]);
}

#[tokio::test]
async fn somebody_elses_object_is_not_touched() {
    let api = FakeApi::start().await;
    let foreign = |metadata: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
    for metadata in [
        json!({"name": "support-agent", "uid": "x"}),
        json!({"name": "support-agent", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "o-uid", "controller": true}]}),
        json!({"name": "support-agent", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Agent", "name": "support", "uid": "former", "controller": true}]}),
    ] {
        api.cluster.lock().unwrap().objects.insert(CONFIG_MAP.into(), foreign(metadata));
        let results = pass(&api).await;
        assert!(matches!(results[&ChildKind::ConfigMap], Err(ApplyError::Conflict { .. })), "{results:?}");
        assert!(!api.take_writes().contains(&"configmaps".to_owned()));
    }
}

#[tokio::test]
async fn an_orphan_that_the_operator_made_is_taken_on_again() {
    let api = FakeApi::start().await;
    pass(&api).await;
    api.take_writes();
    api.cluster.lock().unwrap().objects.get_mut(CONFIG_MAP).unwrap()["metadata"]["ownerReferences"] = json!([]);
    assert!(pass(&api).await[&ChildKind::ConfigMap].is_ok());
    assert_eq!(api.take_writes(), ["configmaps"]);
}

#[tokio::test]
async fn a_missing_permission_is_told_apart() {
    let api = FakeApi::start().await;
    api.cluster.lock().unwrap().forbidden.insert("deployments");
    let results = pass(&api).await;
    assert!(matches!(results[&ChildKind::Deployment], Err(ApplyError::Denied { .. })), "{results:?}");
    assert!(results[&ChildKind::Service].is_ok(), "one that fails does not stop the others");
}

/// Changes one child as somebody else would, and says what a pass writes and makes of it.
async fn healed(path: &'static str, change: impl FnOnce(&mut Value)) -> (Vec<String>, Value) {
    let api = FakeApi::start().await;
    pass(&api).await;
    api.take_writes();
    let before = api.cluster.lock().unwrap().objects[path].clone();
    change(api.cluster.lock().unwrap().objects.get_mut(path).unwrap());
    let results = pass(&api).await;
    assert!(results.values().all(Result::is_ok), "{results:?}");
    let (writes, after) = (api.take_writes(), api.cluster.lock().unwrap().objects[path].clone());
    assert!(pass(&api).await.values().all(Result::is_ok));
    assert_eq!(api.take_writes(), [""; 0], "once is enough");
    assert_eq!(after["spec"], before["spec"]);
    (writes, after)
}

const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/support-agent";

#[tokio::test]
async fn what_is_added_to_a_value_that_is_one_is_taken_away() {
    let (writes, _) = healed(SERVICE, |service| service["spec"]["selector"]["evil"] = json!("true")).await;
    assert_eq!(writes, ["services"]);
    let (writes, _) = healed(SERVICE, |service| {
        service["spec"]["ports"].as_array_mut().unwrap().push(json!({"name": "admin", "port": 8081}));
        service["spec"]["externalIPs"] = json!(["192.0.2.7"]);
    })
    .await;
    assert_eq!(writes, ["services", "services"]);
    let (writes, _) = healed(DEPLOYMENT, |deployment| {
        deployment["spec"]["template"]["spec"]["nodeSelector"] = json!({"no": "node"});
    })
    .await;
    assert_eq!(writes, ["deployments", "deployments"]);
}

#[tokio::test]
async fn a_paused_deployment_goes_on() {
    let (writes, after) = healed(DEPLOYMENT, |deployment| deployment["spec"]["paused"] = json!(true)).await;
    assert_eq!((writes.len(), after["spec"].get("paused")), (2, None));
}

#[tokio::test]
async fn a_lost_label_comes_back() {
    let (writes, after) = healed(CONFIG_MAP, |config_map| {
        config_map["metadata"]["labels"].as_object_mut().unwrap().remove("app.kubernetes.io/managed-by");
    })
    .await;
    assert_eq!(writes, ["configmaps"]);
    assert_eq!(after["metadata"]["labels"]["app.kubernetes.io/managed-by"], "astromesh-operator");
}

#[tokio::test]
async fn an_edit_of_a_child_that_is_unchanged_is_one_write_and_no_look() {
    let api = FakeApi::start().await;
    let applier = Applier::new(api.client.clone());
    let [config_map, ..] = children();
    applier.apply(&config_map, &owner(), None).await.unwrap();
    let version = api.cluster.lock().unwrap().objects[CONFIG_MAP]["metadata"]["resourceVersion"].clone();
    let reads = api.cluster.lock().unwrap().reads;
    let edited =
        Desired::new(ChildKind::ConfigMap, &build(&validated(json!({"prompts": {"system": "New."}})), None).config_map);
    applier.apply(&edited, &owner(), version.as_str()).await.unwrap();
    assert_eq!(api.take_writes(), ["configmaps", "configmaps"]);
    assert_eq!(api.cluster.lock().unwrap().reads, reads);
}

#[rstest::rstest]
#[case::role(403, "services is forbidden: User \"o\" cannot patch resource \"services\"", "the operator may not patch")]
#[case::quota(403, "pods \"x\" is forbidden: exceeded quota: q", "the API server refused")]
#[case::class(403, "only dynamically provisioned pvc can be resized", "the API server refused")]
#[case::invalid(422, "spec.x: Invalid value", "the API server refused")]
#[case::immutable(422, "data: Forbidden: field is immutable when `immutable` is set", "delete it, set spec.suspend")]
#[case::own_fault(
    500,
    "quantities must match",
    "the API server failed with ConfigMap `support-agent`: quantities must match"
)]
#[case::patience(429, "too many requests", "the API server failed with")]
fn what_the_api_server_says_decides_who_has_to_act(#[case] code: u16, #[case] message: &str, #[case] told: &str) {
    let [config_map, ..] = children();
    let status = kube::core::Status::failure(message, "Any").with_code(code);
    let error = refusal("patch", &config_map, &status).to_string();
    assert!(error.contains(told) && error.contains(message), "{error}");
}
