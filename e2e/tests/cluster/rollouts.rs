//! More pods, fewer pods, other pods.

use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::manifests::with;
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{Load, eventually, with_temp_ns};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use crate::children::{self, KINDS};
use crate::support::{echoing, scripted, support};

/// The WebSocket close code of a server that restarts.
const RESTART: u16 = 1012;

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_replaced_without_a_failed_call() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        // The defaults of an agent: this is what they are for.
        let runtime = json!({"replicas": 2});
        let (_llm, caller) = echoing(ns, with(support("Be kind."), "/spec/runtime", runtime)).await?;
        let old = ns.pod_uids("support").await?;

        let load = Load::start(&caller, 10);
        let annotations = json!({"example.com/rolled": "once"});
        ns.merge::<Agent>("support", json!({"spec": {"runtime": {"podAnnotations": annotations}}})).await?;
        ns.agent_ready("support").await?;
        let when_ready = ns.pod_uids("support").await?;
        eventually("the old pods have ended under load", PATIENCE, async || {
            let pods = ns.api::<Pod>().list(&ListParams::default()).await?.items;
            Ok((pods.len() == 2).then_some(()))
        })
        .await?;
        let report = load.stop().await?;
        println!("calls under load: {}, failed: {}", report.calls, report.failed);
        report.expect_no_failure()?;
        let new = ns.pod_uids("support").await?;
        assert!(new.len() == 2 && new.iter().all(|pod| !old.contains(pod)), "{old:?} are replaced by {new:?}");
        assert_eq!(when_ready, new, "ready means that every pod is of the new template");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_ends_before_its_pod_does() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let llm = scripted(ns, Script::Gated(vec!["It ", "is ", "Friday."])).await?;
        ns.apply(support("Be kind.")).await?;
        ns.agent_ready("support").await?;
        let caller = ns.caller("support").await?;
        let mut stream = caller.stream("When?").await?;
        let mut socket = caller.socket().await?;
        llm.release(1);
        stream.next_of("token").await?;

        let pod = ns.pods("support").await?.remove(0).name_any();
        ns.kubectl(&["delete", "pod", &pod, "--wait=false"]).await?.text()?;
        assert_eq!(socket.closed().await?, RESTART, "a socket without a run is told to connect again");
        llm.release(2);
        assert_eq!(stream.next_of("done").await?["answer"], "It is Friday.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_scales_an_agent() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Be kind.")).await?;
        let load = Load::start(&caller, 10);
        for replicas in [2, 1] {
            ns.kubectl(&["scale", "agent/support", &format!("--replicas={replicas}")]).await?.text()?;
            let agent = ns.agent_ready("support").await?;
            assert_eq!(agent.spec.runtime.replicas, replicas);
            eventually("there are as many pods", PATIENCE, async || {
                let status = ns.api::<Agent>().get("support").await?.status.unwrap();
                let pods = i32::try_from(ns.pods("support").await?.len())?;
                Ok(([status.replicas, status.ready_replicas, pods] == [replicas; 3]).then_some(()))
            })
            .await?;
        }
        load.stop().await?.expect_no_failure()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_agent_keeps_everything_but_its_pods() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Be kind.")).await?;
        let uids = async || anyhow::Ok(children::all(ns).await?.iter().map(kube::ResourceExt::uid).collect::<Vec<_>>());
        let before = uids().await?;
        ns.merge::<Agent>("support", json!({"spec": {"suspend": true}})).await?;
        ns.await_status::<Agent>("support", &["Ready=True/Suspended", "!Stalled"], PATIENCE).await?;
        eventually("there is no pod", PATIENCE, async || Ok(ns.pods("support").await?.is_empty().then_some(())))
            .await?;
        assert_eq!(uids().await?, before, "{KINDS:?} are kept");
        assert!(caller.ask("Hello").await.is_err(), "nobody answers");

        ns.merge::<Agent>("support", json!({"spec": {"suspend": null}})).await?;
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("Hello").await?.text()?, "Be kind.");
        Ok(())
    })
    .await
}
