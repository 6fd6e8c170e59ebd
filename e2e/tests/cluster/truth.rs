//! Why an agent does not serve stands in its conditions, and what cannot heal by itself is stalled.

use std::time::Duration;

use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::conditions::{Kstatus, Reported as _};
use astromesh_e2e::manifests::{provider_with_key, secret, with};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{Operator, ScriptedLlm, TempNs, await_object, operator, with_temp_ns};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};

use crate::children::NAME;
use crate::support::{echoing, scripted, support};

/// Refreshing a pod's volume takes no longer than the kubelet needs after a nudge.
const REPAIRED_WITHIN: Duration = Duration::from_secs(10);

/// Waits until the message of `Ready` has all of these.
async fn await_message(ns: &TempNs, ready: &str, parts: &[&str]) -> anyhow::Result<Agent> {
    let what = format!("{ready} with {parts:?}");
    let agent = await_object(ns.api::<Agent>(), "support", &what, PATIENCE, |agent| {
        agent.is_some_and(|agent| {
            let message = agent.condition("Ready").map(|ready| ready.message.as_str()).unwrap_or_default();
            agent.says(ready) && parts.iter().all(|part| message.contains(part))
        })
    });
    Ok(agent.await?.unwrap())
}

fn short(agent: &Agent) -> (String, String) {
    let summary = agent.status.as_ref().and_then(|status| status.summary.clone()).unwrap_or_default();
    (summary.status, summary.replicas)
}

#[tokio::test(flavor = "multi_thread")]
async fn why_pods_do_not_come_is_told() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        scripted(ns, Script::EchoSystem).await?;
        let unavailable = "Ready=False/PodsUnavailable";
        let table: [(&str, Value, &[&str]); 4] = [
            (
                "/spec/runtime/image",
                json!("localhost/astromesh/missing:1"),
                &["ImagePullBackOff", "localhost/astromesh/missing:1"],
            ),
            ("/spec/runtime/nodeSelector", json!({"no": "node"}), &["Unschedulable", "0/1 nodes are available"]),
            ("/spec/runtime/resources", json!({"requests": {"cpu": "500"}}), &["Unschedulable", "Insufficient cpu"]),
            ("/spec/runtime/image", json!("UPPER CASE"), &["InvalidImageName"]),
        ];
        for (pointer, value, parts) in table {
            // A name that the schema lets through is the kubelet's to refuse.
            let Ok(_applied) = ns.apply(with(support("Be kind."), pointer, value)).await else { continue };
            let agent = await_message(ns, unavailable, parts).await?;
            println!("{}", agent.condition("Ready").unwrap().message);
            ns.kubectl(&["delete", "agent", "support", "--wait=true"]).await?.text()?;
            await_object(ns.api::<Deployment>(), NAME, "it is gone", PATIENCE, |found| found.is_none()).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_crashes_is_told_with_its_last_words() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        scripted(ns, Script::EchoSystem).await?;
        // An image that is there and takes other arguments.
        let operator = Operator::find(&ns.cluster.client).await?;
        let deployments: Api<Deployment> = Api::namespaced(ns.cluster.client.clone(), operator::NAMESPACE);
        let template = deployments.get(&operator.deployment).await?.spec.unwrap().template.spec.unwrap();
        let image = template.containers[0].image.clone().unwrap();
        ns.apply(with(support("Be kind."), "/spec/runtime/image", json!(image))).await?;
        let parts = ["CrashLoopBackOff", "it said last: ", "--help"];
        let agent = await_message(ns, "Ready=False/PodsUnavailable", &parts).await?;
        println!("{}", agent.condition("Ready").unwrap().message);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_its_node_cannot_set_up_is_told() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        scripted(ns, Script::EchoSystem).await?;
        let limits = json!({"requests": {"memory": "2Mi"}, "limits": {"memory": "2Mi"}});
        ns.apply(with(support("Be kind."), "/spec/runtime/resources", limits)).await?;
        await_message(ns, "Ready=False/PodsUnavailable", &["memory"]).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_and_a_volume_that_stand_in_the_way_are_told() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        scripted(ns, Script::EchoSystem).await?;
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
        ns.apply(quota).await?;
        ns.apply(support("Be kind.")).await?;
        await_message(ns, "Ready=False/PodsUnavailable", &["FailedCreate", "exceeded quota: none"]).await?;
        ns.kubectl(&["delete", "resourcequota", "none"]).await?.text()?;
        ns.kubectl(&["delete", "agent", "support", "--wait=true"]).await?.text()?;
        await_object(ns.api::<Deployment>(), NAME, "it is gone", PATIENCE, |found| found.is_none()).await?;

        let memory = json!({"conversational": {"backend": "sqlite"}, "persistence": {"size": "1Gi", "storageClassName": "none"}});
        ns.apply(with(support("Be kind."), "/spec/memory", memory)).await?;
        await_message(ns, "Ready=False/PodsUnavailable", &["VolumePending", "storage class `none`"]).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_missing_after_a_rollout_are_no_rollout() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Be kind.")).await?;
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one"}, "spec": {"hard": {"pods": "1"}}});
        ns.apply(quota).await?;
        ns.kubectl(&["scale", "agent", "support", "--replicas=2"]).await?.text()?;
        await_message(ns, "Ready=False/PodsUnavailable", &["FailedCreate", "exceeded quota: one"]).await?;
        let agent: Agent = ns.await_status("support", &["!Reconciling", "!Stalled"], PATIENCE).await?;
        assert_eq!(short(&agent), ("Degraded".to_owned(), "1/2".to_owned()));
        assert_eq!(caller.ask("Hello").await?.text()?, "Be kind.");
        ns.kubectl(&["delete", "resourcequota", "one"]).await?.text()?;
        ns.kubectl(&["scale", "agent", "support", "--replicas=1"]).await?.text()?;
        ns.agent_ready("support").await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_has_given_up_is_stalled_and_heals_with_an_edit() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Be kind.")).await?;
        // A field that is not the operator's: it stays.
        ns.merge::<Deployment>(NAME, json!({"spec": {"progressDeadlineSeconds": 3}})).await?;
        ns.apply(with(support("Be kind."), "/spec/runtime/image", json!("localhost/astromesh/missing:1"))).await?;
        let stalled = ["Stalled=True/ProgressDeadlineExceeded", "!Reconciling"];
        let agent: Agent = ns.await_status("support", &stalled, PATIENCE).await?;
        assert_eq!(agent.kstatus(), Kstatus::Failed);
        assert_eq!(short(&agent).0, "Stalled");
        let message = &agent.condition("Stalled").unwrap().message;
        assert!(message.contains("ImagePullBackOff"), "{message}");
        assert_eq!(caller.ask("Hello").await?.text()?, "Be kind.", "the former pod serves on");
        ns.apply(support("Be kinder.")).await?;
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("Hello").await?.text()?, "Be kinder.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_asked_to_serve_nothing_is_current() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        for (patch, says) in [
            (json!({"spec": {"suspend": true}}), "Ready=True/Suspended"),
            (json!({"spec": {"suspend": null, "runtime": {"replicas": 0}}}), "Ready=True/Succeeded"),
        ] {
            ns.merge::<Agent>("support", patch).await?;
            let agent: Agent = ns.await_status("support", &[says, "!Reconciling", "!Stalled"], PATIENCE).await?;
            assert_eq!(agent.kstatus(), Kstatus::Current);
            assert_eq!(short(&agent).1, "0/0");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_only_model_cannot_answer_is_not_ready() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let llm = scripted(ns, Script::EchoSystem).await?;
        ns.apply(with(support("Be kind."), "/spec/model/candidates/0/model", json!("nobody-has-it"))).await?;
        let agent: Agent = ns.await_status("support", &["Ready=False/ModelNotFound"], PATIENCE).await?;
        assert_eq!(short(&agent).0, "Degraded");
        llm.set_models(&["scripted", "nobody-has-it"]);
        ns.agent_ready("support").await?;

        let keyed = ScriptedLlm::start(Script::EchoSystemFor("late-key")).await?;
        ns.apply(provider_with_key("scripted", &keyed.endpoint(), "llm", "api-key")).await?;
        ns.apply(support("Be kind.")).await?;
        ns.await_status::<Agent>("support", &["Ready=False/CredentialsMissing"], PATIENCE).await?;
        ns.apply(secret("llm", "api-key", "wrong-key")).await?;
        ns.await_status::<Agent>("support", &["Ready=False/CredentialsRejected"], PATIENCE).await?;
        ns.apply(secret("llm", "api-key", "late-key")).await?;
        ns.await_status::<Agent>("support", &["Ready=True", "!Degraded"], REPAIRED_WITHIN * 6).await?;
        assert_eq!(ns.caller("support").await?.ask("Hello").await?.text()?, "Be kind.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_comes_is_used_at_once() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let llm = ScriptedLlm::start(Script::EchoSystemFor("late-key")).await?;
        ns.apply(provider_with_key("scripted", &llm.endpoint(), "llm", "api-key")).await?;
        ns.apply(support("Be kind.")).await?;
        ns.await_status::<Agent>("support", &["Ready=False/CredentialsMissing"], PATIENCE).await?;
        ns.apply(secret("llm", "api-key", "late-key")).await?;
        ns.await_status::<Agent>("support", &["Ready=True", "!Degraded"], REPAIRED_WITHIN).await?;
        Ok(())
    })
    .await
}
