//! Whole lives of the operator, before an API server in memory.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::*;
use crate::lease::{DURATION, RENEW_DEADLINE, RENEW_EVERY};
use crate::testing::memory_api::{MemoryApi, Written};
use crate::testing::{agent, provider};

const LEASE_PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/astromesh-system/leases/astromesh-operator";
const AGENT_PATH: &str = "/apis/astromesh.io/v1alpha1/namespaces/shop/agents/support";

/// An API server that knows an agent and its provider.
fn api() -> MemoryApi {
    // A second installation in the same process is refused, and just as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let api = MemoryApi::start();
    api.put("/.well-known/openid-configuration", json!({"issuer": "https://kubernetes.default.svc"}));
    api.put("/openid/v1/jwks", json!({"keys": [{"kid": "a"}]}));
    api.put(AGENT_PATH, serde_json::to_value(agent(json!({}))).unwrap());
    let path = "/apis/astromesh.io/v1alpha1/namespaces/shop/providers/openai";
    api.put(path, serde_json::to_value(provider()).unwrap());
    api
}

fn settings(identity: &str) -> Settings {
    Settings {
        agent_image: "astromesh/agent-pod:1.0.0".into(),
        namespace: "astromesh-system".into(),
        service_account: "astromesh-operator".into(),
        identity: identity.into(),
        watch_namespaces: Vec::new(),
        token_file: "/nowhere/token".into(),
        api_token_file: "/nowhere/token".into(),
        attention_url: None,
        leader_elect: true,
        concurrency: 4,
        listen: ([127, 0, 0, 1], 0).into(),
        logs: Logs::to(std::fs::File::create("/dev/null").unwrap()).unwrap(),
    }
}

async fn replica(api: &MemoryApi, identity: &str, stop: &CancellationToken) -> anyhow::Result<()> {
    let settings = settings(identity);
    let listener = TcpListener::bind(settings.listen).await.unwrap();
    run_until(&settings, api.client(identity), listener, stop).await
}

/// Waits until something has been written of which `wanted` says yes.
async fn written(api: &MemoryApi, what: &str, wanted: impl Fn(&Written) -> bool) {
    let found = async {
        while !api.written().iter().any(&wanted) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), found).await;
    found.unwrap_or_else(|_| panic!("{what}, but there is {:?}", api.written()));
}

/// A reconciliation ends with it.
fn is_status(written: &Written) -> bool {
    written.path == format!("{AGENT_PATH}/status")
}

fn holder(api: &MemoryApi) -> Value {
    api.object(LEASE_PATH).unwrap()["spec"]["holderIdentity"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_is_in_flight_and_gives_the_lease_back() {
    let api = api();
    // The children and the status of an agent take some seconds.
    api.delay(|call| {
        let slow = call.method == "PATCH" && !call.is_of_lease();
        (if slow { Duration::from_millis(400) } else { Duration::ZERO }, Duration::ZERO)
    });
    let stop = CancellationToken::new();
    let stopping = async {
        written(&api, "the first child", |it| it.path.contains("support-agent")).await;
        let before = api.written();
        assert!(!before.iter().any(is_status), "the reconciliation is in flight: {before:?}");
        stop.cancel();
        Instant::now()
    };
    let (ended, stopped) = tokio::join!(replica(&api, "a", &stop), stopping);
    let took = stopped.elapsed();
    ended.unwrap();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let written = api.written();
    assert!(written.iter().any(|it| it.path.ends_with("/deployments/support-agent")), "{written:?}");
    assert!(written.iter().any(is_status), "{written:?}");
    assert_eq!(holder(&api), Value::Null, "the lease is given back");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_finish_is_given_up_in_time_and_the_lease_expires() {
    let api = api();
    api.delay(|call| {
        let stuck = call.method == "PATCH" && call.path.contains("support-agent") && !call.path.contains("configmaps");
        (if stuck { Duration::from_secs(3_600) } else { Duration::ZERO }, Duration::ZERO)
    });
    let stop = CancellationToken::new();
    let stopping = async {
        written(&api, "the first child", |it| it.path.contains("support-agent")).await;
        stop.cancel();
        Instant::now()
    };
    let (ended, stopped) = tokio::join!(replica(&api, "a", &stop), stopping);
    let took = stopped.elapsed();
    ended.unwrap();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(holder(&api), json!("a"), "a write may still come");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_writes_no_more_and_says_why() {
    let api = api();
    let cut_off = async {
        written(&api, "the status", is_status).await;
        let cut = api.now();
        api.delay(|call| {
            let lost = call.by == "a" && call.is_of_lease();
            (if lost { Duration::from_secs(3_600) } else { Duration::ZERO }, Duration::ZERO)
        });
        // There is work to do until the end.
        for generation in 8..100 {
            let mut agent = agent(json!({"prompts": {"system": format!("Edit {generation}.")}}));
            agent.metadata.generation = Some(generation);
            api.put(AGENT_PATH, serde_json::to_value(agent).unwrap());
            sleep(Duration::from_millis(200)).await;
        }
        cut
    };
    let stop = CancellationToken::new();
    let (ended, cut) = tokio::join!(replica(&api, "a", &stop), cut_off);
    let last = api.written().last().unwrap().at;
    let error = ended.unwrap_err().to_string();
    assert!(error.starts_with("the lease could not be renewed for 7 s: the API server did not answer"), "{error}");
    assert!(last > cut + RENEW_EVERY, "it writes for as long as it leads: cut off at {cut:?}, last write at {last:?}");
    assert!(last <= cut + RENEW_DEADLINE, "cut off at {cut:?}, last write at {last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_is_told_to_stop_stops() {
    let api = api();
    let (leader, standby) = (CancellationToken::new(), CancellationToken::new());
    let beside = async {
        written(&api, "the status", is_status).await;
        let stood_by = replica(&api, "b", &standby);
        let (stood_by, ()) = tokio::join!(stood_by, async {
            sleep(DURATION).await;
            standby.cancel();
        });
        leader.cancel();
        stood_by
    };
    let (led, stood_by) = tokio::join!(replica(&api, "a", &leader), beside);
    led.unwrap();
    stood_by.unwrap();
    assert!(api.written().iter().all(|it| it.by == "a"), "{:?}", api.written());
    assert_eq!(holder(&api), Value::Null);
}
