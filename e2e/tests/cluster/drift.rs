//! What somebody does to an agent's objects by hand.

use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::{Operator, TempNs, await_object, eventually, with_temp_ns};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::children::{self, KINDS, NAME};
use crate::support::{RESTORED_WITHIN, echoing, support};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_child_is_made_again_within_ten_seconds() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Be kind.")).await?;
        for (kind, before) in KINDS.into_iter().zip(children::all(ns).await?) {
            let api = children::api(ns, kind)?;
            api.delete(NAME, &DeleteParams::background()).await?;
            let began = Instant::now();
            let is_new = |child: Option<&DynamicObject>| child.is_some_and(|child| child.uid() != before.uid());
            let what = format!("the deleted {} is there again", kind.1);
            let after = await_object(api, NAME, &what, RESTORED_WITHIN, is_new).await?.unwrap();
            println!("{}: there again after {:?}", kind.1, began.elapsed());
            assert_eq!(after.labels(), before.labels());
            assert_eq!(after.owner_references(), before.owner_references());
        }
        ns.await_status::<Agent>("support", &["Ready=True", "!Reconciling"], PATIENCE).await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Be kind.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_child_is_set_right_within_ten_seconds() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Be kind.")).await?;
        let of_all = [
            json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}),
            json!({"metadata": {"labels": {"astromesh.io/agent": "other"}}}),
            json!({"metadata": {"ownerReferences": null}}),
        ];
        for (kind, before) in KINDS.into_iter().zip(children::all(ns).await?) {
            let of_kind = match kind.1 {
                "ConfigMap" => vec![json!({"data": {"document.json": "{}"}}), json!({"data": null})],
                "ServiceAccount" => vec![json!({"automountServiceAccountToken": true})],
                "Service" => vec![
                    json!({"spec": {"selector": {"app.kubernetes.io/instance": "other"}}}),
                    json!({"spec": {"ports": [{"name": "http", "port": 81, "targetPort": "http"}]}}),
                ],
                _deployment => vec![
                    json!({"spec": {"replicas": 3}}),
                    json!({"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "example.com/other:1"}]}}}}),
                    json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}),
                ],
            };
            for patch in of_all.iter().chain(&of_kind) {
                is_set_right(ns, kind, &before, patch).await?;
            }
        }
        ns.await_status::<Agent>("support", &["Ready=True", "!Reconciling"], PATIENCE).await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Be kind.");
        Ok(())
    })
    .await
}

async fn is_set_right(ns: &TempNs, kind: (&str, &str), before: &DynamicObject, patch: &Value) -> anyhow::Result<()> {
    let api = children::api(ns, kind)?;
    let altered = api.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    assert_ne!(children::essence(&altered), children::essence(before), "{patch} alters nothing");
    let is_right = |child: Option<&DynamicObject>| {
        child.is_some_and(|child| children::essence(child) == children::essence(before))
    };
    await_object(api, NAME, &format!("{} is set right after {patch}", kind.1), RESTORED_WITHIN, is_right).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_forced_reconciliations_write_nothing() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let operator = Operator::find(&ns.cluster.client).await?;
        echoing(ns, support("Be kind.")).await?;
        ns.await_status::<Agent>("support", &["Ready=True", "!Reconciling"], PATIENCE).await?;
        let before = children::versions(ns).await?;

        let reconciled = async || operator.counter("astromesh_operator_reconcile_total{kind=\"Agent\"").await;
        let mut forced = None;
        for time in 1..=10 {
            let count = reconciled().await?;
            let annotations = json!({"example.com/force": time.to_string()});
            let agent: Agent = ns.merge("support", json!({"metadata": {"annotations": annotations}})).await?;
            forced = agent.resource_version();
            eventually("the agent is reconciled", PATIENCE, async || Ok((reconciled().await? > count).then_some(())))
                .await?;
        }
        assert_eq!(children::versions(ns).await?, before, "nothing was to be written");
        let agent = ns.api::<Agent>().get("support").await?;
        assert_eq!(agent.resource_version(), forced, "the status was not to be written");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_what_others_write_survive() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Before.")).await?;
        let old = ns.pod_uids("support").await?;
        let foreign = json!({"example.com/foreign": "kept"});
        for kind in KINDS {
            let patch = json!({"metadata": {"annotations": foreign, "labels": foreign}});
            children::api(ns, kind)?.patch(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        let deployment = format!("deployment/{NAME}");
        ns.kubectl(&["rollout", "restart", &deployment]).await?.text()?;
        ns.kubectl(&["rollout", "status", &deployment, "--timeout=60s"]).await?.text()?;
        ns.await_status::<Agent>("support", &["Ready=True", "!Reconciling"], PATIENCE).await?;
        let new = ns.pod_uids("support").await?;
        assert_ne!(new, old, "the restart has replaced the pod");

        ns.apply(support("After.")).await?;
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "After.");
        assert_eq!(ns.pod_uids("support").await?, new, "the edit has not undone the restart");
        for child in children::all(ns).await? {
            let kept = |map: &std::collections::BTreeMap<String, String>| map.contains_key("example.com/foreign");
            assert!(kept(child.annotations()) && kept(child.labels()), "{:?}", child.types);
        }
        let template = ns.api::<Deployment>().get(NAME).await?.spec.unwrap().template.metadata.unwrap();
        assert!(template.annotations.unwrap().contains_key("kubectl.kubernetes.io/restartedAt"));
        Ok(())
    })
    .await
}
