//! Upgrade, uninstall, install.

use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::manifests::{agent, with};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::operator::{NAMESPACE, SELECTOR};
use astromesh_e2e::{Load, await_object, eventually, kubectl, objects, with_temp_ns};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::json;
use tokio::time::Instant;

use crate::releases::{CRDS, OPERATOR, definitions, former_definitions, operator, restoring, support, uninstall};

const EVERYTHING: &str = "deployments,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,pods,\
                          validatingadmissionpolicies,validatingadmissionpolicybindings";

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_the_operator_leaves_agents_alone() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = support(ns, "Before.").await?;
        let pods = ns.pod_uids("support").await?;
        restoring(async || {
            let load = Load::start(&caller, 10);
            definitions(&["upgrade"]).await?;
            operator(&["upgrade"], &["--set", "replicas=2", "--set", "podAnnotations.upgraded=yes"]).await?;
            ns.apply(agent("support", "scripted", "After.")).await?;
            ns.agent_ready("support").await?;
            assert_eq!(caller.ask("What is your prompt?").await?.text()?, "After.");
            load.stop().await?.expect_no_failure()?;
            assert_eq!(ns.pod_uids("support").await?, pods);
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_of_the_definitions_brings_new_fields_and_keeps_agents() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = support(ns, "Be kind.").await?;
        restoring(async || {
            let suspended = with(agent("support", "scripted", "Be kind."), "/spec/suspend", json!(true));
            former_definitions().await?;
            let refusal = objects::refusal(&ns.cluster.client, &ns.name, &suspended).await?;
            assert!(refusal.contains("suspend"), "the former release does not know the field: {refusal}");
            definitions(&["upgrade"]).await?;
            eventually("the API server knows the field", PATIENCE, async || {
                Ok(objects::accepted(&ns.cluster.client, &ns.name, &suspended).await.ok())
            })
            .await?;
            assert_eq!(caller.ask("Are you there?").await?.text()?, "Be kind.");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uninstall_keeps_agents_and_an_install_takes_them_up_again() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = support(ns, "Before.").await?;
        ns.apply(agent("leaving", "scripted", "x")).await?;
        ns.agent_ready("leaving").await?;
        let pods = ns.pod_uids("support").await?;
        restoring(async || {
            let load = Load::start(&caller, 10);
            uninstall(OPERATOR).await?;
            uninstall(CRDS).await?;
            eventually("nothing of the operator is left", PATIENCE, async || {
                let left =
                    kubectl(&["-n", NAMESPACE, "get", EVERYTHING, "-l", SELECTOR, "-o", "name"]).await?.text()?;
                Ok(left.trim().is_empty().then_some(()))
            })
            .await?;
            let definitions_kept: Api<CustomResourceDefinition> = Api::all(ns.cluster.client.clone());
            for name in ["agents.astromesh.io", "providers.astromesh.io"] {
                assert!(definitions_kept.get(name).await?.metadata.deletion_timestamp.is_none(), "{name} is kept");
            }
            // Nothing waits for an operator that is not there.
            ns.kubectl(&["delete", "agent", "leaving", "--timeout=30s"]).await?.text()?;
            let gone = |deployment: Option<&Deployment>| deployment.is_none();
            await_object(ns.api::<Deployment>(), "leaving-agent", "the child is gone", PATIENCE, gone).await?;
            ns.apply(agent("support", "scripted", "After.")).await?;
            assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Before.");

            let began = Instant::now();
            definitions(&["install"]).await?;
            operator(&["install"], &[]).await?;
            println!("installed after {:?}", began.elapsed());
            ns.await_status::<Agent>("support", &["Ready=True"], PATIENCE).await?;
            assert_eq!(caller.ask("What is your prompt?").await?.text()?, "After.");
            load.stop().await?.expect_no_failure()?;
            assert_eq!(ns.pod_uids("support").await?, pods);
            Ok(())
        })
        .await
    })
    .await
}
