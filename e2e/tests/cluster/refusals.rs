//! What the API server takes and the operator cannot carry out.

use astromesh_crds::v1alpha1::Agent;
use astromesh_e2e::conditions::Reported as _;
use astromesh_e2e::manifests::with;
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::with_temp_ns;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use crate::children::NAME;
use crate::support::{echoing, scripted, support};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_somebody_else_is_left_alone_and_named() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let theirs = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
                            "spec": {"ports": [{"port": 5432}]}});
        let theirs = ns.apply(theirs).await?;
        let _llm = scripted(ns, Script::EchoSystem).await?;
        ns.apply(support("Be kind.")).await?;
        let says = ["Accepted=True", "Programmed=False/Conflict", "Ready=False/Conflict"];
        let agent: Agent = ns.await_status("support", &says, PATIENCE).await?;
        let message = &agent.condition("Programmed").unwrap().message;
        assert!(message.contains("Service") && message.contains(NAME), "{message}");
        let service = ns.api::<Service>().get(NAME).await?;
        assert_eq!(service.resource_version(), theirs.resource_version(), "nothing was written to it");

        ns.api::<Service>().delete(NAME, &DeleteParams::default()).await?;
        ns.await_status::<Agent>("support", &["Programmed=True", "Ready=True"], PATIENCE).await?;
        assert_eq!(ns.caller("support").await?.ask("What is your prompt?").await?.text()?, "Be kind.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_larger_than_a_config_map_is_refused_while_the_last_good_one_serves() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Small.")).await?;
        // As many characters as the schema allows, of four bytes each.
        ns.apply(with(support("x"), "/spec/prompts/system", json!("🙂".repeat(262_144)))).await?;
        let says = ["Programmed=False/DocumentTooLarge", "Ready=False/DocumentTooLarge"];
        ns.await_status::<Agent>("support", &says, PATIENCE).await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Small.");
        ns.apply(support("Small again.")).await?;
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Small again.");
        Ok(())
    })
    .await
}
