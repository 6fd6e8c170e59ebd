//! Two replicas before an API server that answers late.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::memory_api::{Call, MemoryApi, Written};

const NAMESPACE: &str = "astromesh-system";
const LEASE_PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/astromesh-system/leases/astromesh-operator";

fn candidate(api: &MemoryApi, name: &str) -> Candidate {
    Candidate::new(api.client(name), NAMESPACE, name, None)
}

/// Leads when it may and writes as long as it leads, as the operator does; says why it has ended.
async fn replica(api: MemoryApi, name: &str) -> Lost {
    let mut candidate = candidate(&api, name);
    let stop = CancellationToken::new();
    assert!(candidate.acquire(&stop).await);
    let client = candidate.fence().around(&api.client(name));
    tokio::select! {
        lost = candidate.keep(&stop) => lost,
        () = write(client) => unreachable!("it writes for ever"),
    }
}

async fn write(client: Client) {
    let api: Api<ConfigMap> = Api::namespaced(client, "shop");
    loop {
        let patch =
            Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "support-agent"}}));
        // Whoever may not write, or gets no answer, tries again like a controller.
        drop(api.patch("support-agent", &PatchParams::apply(MANAGER).force(), &patch).await);
        sleep(Duration::from_millis(50)).await;
    }
}

fn by(written: &[Written], name: &str) -> Vec<u64> {
    written.iter().filter(|it| it.by == name).map(|it| it.version).collect()
}

/// The writes of `former` all come before those of `latter`, by their versions.
fn assert_one_after_the_other(written: &[Written], former: &str, latter: &str) {
    let (before, after) = (by(written, former), by(written, latter));
    let (Some(last), Some(first)) = (before.iter().max(), after.iter().min()) else {
        panic!("both have written: {} and {} writes", before.len(), after.len())
    };
    let overlap: Vec<_> = written.iter().filter(|it| it.version >= *first && it.by == former).collect();
    assert!(last < first, "`{former}` wrote after `{latter}` had begun: {overlap:?}");
}

/// Lets `a` lead, with `b` beside it from the first second on. Says why `a` has ended.
async fn two_replicas(api: &MemoryApi, seconds: u64) -> Lost {
    let (told, lost) = tokio::sync::oneshot::channel();
    let a = Box::pin(async { told.send(replica(api.clone(), "a").await) });
    let b = Box::pin(async {
        sleep(Duration::from_secs(1)).await;
        replica(api.clone(), "b").await
    });
    let both = Box::pin(async { tokio::join!(a, b) });
    timeout(Duration::from_secs(seconds), both).await.map(|_| ()).expect_err("`b` leads to the end");
    lost.await.expect("`a` has ended")
}

const NO_TIME: Duration = Duration::ZERO;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(start_paused = true)]
async fn two_leaders_never_write_when_every_answer_comes_late() {
    let api = MemoryApi::start();
    // As late as a call may be, from when the lease has been renewed for the last time.
    api.delay(|call| match (call.by, call.is_of_lease()) {
        ("a", true) if call.at > ms(6_500) => (ms(1_900), ms(1_900)),
        // On its way for as long as the margin is.
        ("a", false) => (ms(2_900), NO_TIME),
        _ => (NO_TIME, NO_TIME),
    });
    let lost = two_replicas(&api, 60).await;
    let said = lost.to_string();
    assert!(
        said.starts_with("the lease could not be renewed for 7 s: the API server did not answer (tried to "),
        "{said}"
    );
    assert_one_after_the_other(&api.written(), "a", "b");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_leaders_never_write_however_late_the_api_server_is(
        from in 2_000_u64..20_000,
        of_the_leader in prop::collection::vec((0_u64..4_000, 0_u64..4_000), 16),
        of_the_standby in prop::collection::vec((0_u64..1_900, 0_u64..100), 16),
        of_writes in prop::collection::vec((0_u64..2_990, 0_u64..5_000), 16),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let api = MemoryApi::start();
            let turn = std::sync::atomic::AtomicUsize::new(0);
            api.delay(move |call| {
                let turn = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 16;
                let (before, after) = match (call.by, call.is_of_lease()) {
                    // In the end nothing comes through any more.
                    ("a", true) if call.at > ms(from + 30_000) => (100_000, 0),
                    ("a", true) if call.at > ms(from) => of_the_leader[turn],
                    ("b", true) => of_the_standby[turn],
                    (_, true) => (0, 0),
                    (_, false) => of_writes[turn],
                };
                (ms(before), ms(after))
            });
            two_replicas(&api, 120).await;
            assert_one_after_the_other(&api.written(), "a", "b");
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_lease_somebody_deletes_is_not_joined_by_another_one() {
    let api = MemoryApi::start();
    let lost = {
        let api = api.clone();
        let deleting = async {
            sleep(Duration::from_secs(5)).await;
            api.remove(LEASE_PATH);
            // And from then on the leader is cut off.
            api.delay(
                |call| if call.by == "a" && call.is_of_lease() { (ms(100_000), NO_TIME) } else { Default::default() },
            );
        };
        tokio::join!(two_replicas(&api, 60), deleting).0
    };
    assert!(matches!(lost, Lost::NotRenewed { .. }), "{lost}");
    assert_one_after_the_other(&api.written(), "a", "b");
}

#[tokio::test(start_paused = true)]
async fn whoever_has_taken_the_lease_is_named() {
    let api = MemoryApi::start();
    let hand_over = async {
        sleep(Duration::from_secs(5)).await;
        let mut lease = api.object(LEASE_PATH).unwrap();
        lease["spec"]["holderIdentity"] = json!("another");
        api.put(LEASE_PATH, lease);
    };
    let (lost, ()) = tokio::join!(replica(api.clone(), "a"), hand_over);
    assert_eq!(lost.to_string(), "another replica has taken the lease (holder `another`)");
    let last = api.written().last().unwrap().at;
    assert!(last < Duration::from_secs(5) + RENEW_EVERY, "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_fence_lets_reads_pass_and_no_writes() {
    let api = MemoryApi::start();
    let mut candidate = candidate(&api, "a");
    let maps: Api<ConfigMap> = Api::namespaced(candidate.fence().around(&api.client("a")), "shop");
    let map =
        ConfigMap { metadata: ObjectMeta { name: Some("x".into()), ..ObjectMeta::default() }, ..ConfigMap::default() };
    let refused = |error: kube::Error| assert!(chain(&error).contains(&Closed.to_string()), "{error:?}");
    refused(maps.create(&PostParams::default(), &map).await.unwrap_err());
    assert!(maps.list(&Default::default()).await.unwrap().items.is_empty());

    assert!(candidate.acquire(&CancellationToken::new()).await);
    maps.create(&PostParams::default(), &map).await.unwrap();
    // A write that is on its way is given up when the time is over.
    api.delay(|_call| (ms(60_000), NO_TIME));
    let began = Instant::now();
    refused(maps.delete("x", &Default::default()).await.unwrap_err());
    assert_eq!(began.elapsed(), RENEW_DEADLINE);
}

fn account(uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "ServiceAccount".into(),
        name: "astromesh-operator".into(),
        uid: uid.into(),
        ..OwnerReference::default()
    }
}

fn owners(api: &MemoryApi) -> Value {
    api.object(LEASE_PATH).unwrap()["metadata"]["ownerReferences"].clone()
}

#[tokio::test(start_paused = true)]
async fn the_lease_belongs_to_the_account_of_the_installation_that_leads() {
    let api = MemoryApi::start();
    for (name, owner, expected) in [
        ("without", None, Value::Null),
        ("adopting", Some(account("1")), json!([account("1")])),
        ("after-another-install", Some(account("2")), json!([account("2")])),
        ("unknown", None, json!([account("2")])),
    ] {
        let mut candidate = Candidate::new(api.client(name), NAMESPACE, name, owner);
        assert!(candidate.acquire(&CancellationToken::new()).await);
        assert_eq!(owners(&api), expected, "{name}");
        candidate.release().await;
        assert_eq!(owners(&api), expected, "{name} has released");
        assert_eq!(api.object(LEASE_PATH).unwrap()["spec"]["holderIdentity"], Value::Null);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_forbids_to_change_owners_has_a_leader_all_the_same() {
    let api = MemoryApi::start();
    let mut former = candidate(&api, "former");
    former.acquire(&CancellationToken::new()).await;
    former.release().await;
    api.forbid_owners();
    let mut candidate = Candidate::new(api.client("a"), NAMESPACE, "a", Some(account("1")));
    assert!(timeout(Duration::from_secs(1), candidate.acquire(&CancellationToken::new())).await.unwrap());
    assert_eq!(owners(&api), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_is_made_anew_but_not_during_a_stop() {
    let api = MemoryApi::start();
    let (stop, mut candidate) = (CancellationToken::new(), candidate(&api, "a"));
    assert!(candidate.acquire(&stop).await);
    api.remove(LEASE_PATH);
    drop(timeout(RENEW_EVERY * 2, candidate.keep(&stop)).await);
    assert_eq!(api.object(LEASE_PATH).unwrap()["spec"]["holderIdentity"], json!("a"));

    stop.cancel();
    let kept = timeout(RENEW_EVERY * 2, candidate.keep(&stop)).await;
    assert!(kept.is_err(), "it is renewed during a stop: {kept:?}");
    api.remove(LEASE_PATH);
    let lost = timeout(DURATION, candidate.keep(&stop)).await.expect("it is not made anew");
    assert_eq!(lost, Lost::Gone);
    candidate.release().await;
    assert_eq!(api.object(LEASE_PATH), None);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_from_when_it_was_asked_for() {
    // The first one is carried out at once, and told late or never; the next ones are not carried out.
    for (told_after, led_for) in [(1_900, RENEW_EVERY + RENEW_DEADLINE), (100_000, RENEW_DEADLINE)] {
        let api = MemoryApi::start();
        let mut candidate = candidate(&api, "a");
        assert!(candidate.acquire(&CancellationToken::new()).await);
        let (started, second) = (Instant::now(), ms(4_500));
        api.delay(
            move |call: &Call<'_>| {
                if call.at < second { (NO_TIME, ms(told_after)) } else { (ms(100_000), NO_TIME) }
            },
        );
        let lost = candidate.keep(&CancellationToken::new()).await;
        assert!(matches!(lost, Lost::NotRenewed { .. }), "{lost}");
        assert_eq!(started.elapsed(), led_for);
    }
}
