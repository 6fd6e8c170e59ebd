//! What an agent names, and is not there.

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::conditions::Reported as _;
use astromesh_e2e::manifests::with;
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{eventually, with_temp_ns};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::support::{echoing, scripted, support};

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_its_provider_says_so_and_heals_when_it_appears() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        ns.apply(support("Be kind.")).await?;
        let says = ["Accepted=True", "ResolvedRefs=False/ProviderNotFound", "Ready=False/ProviderNotFound"];
        let agent: Agent = ns.await_status("support", &says, PATIENCE).await?;
        let message = &agent.condition("ResolvedRefs").unwrap().message;
        assert!(message.contains("scripted"), "the missing one is named: {message}");

        let _llm = scripted(ns, Script::EchoSystem).await?;
        ns.agent_ready("support").await?;
        assert_eq!(ns.caller("support").await?.ask("Hello").await?.text()?, "Be kind.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_goes_on_serving_when_its_provider_is_deleted() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (llm, caller) = echoing(ns, support("Be kind.")).await?;
        ns.api::<Provider>().delete("scripted", &DeleteParams::default()).await?;
        ns.await_status::<Agent>("support", &["ResolvedRefs=False/ProviderNotFound", "Ready=False"], PATIENCE).await?;
        assert_eq!(caller.ask("Hello").await?.text()?, "Be kind.");

        ns.apply(astromesh_e2e::manifests::provider("scripted", &llm.endpoint())).await?;
        ns.await_status::<Agent>("support", &["Ready=True"], PATIENCE).await?;
        Ok(())
    })
    .await
}

fn prompts(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prompts"}, "data": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_of_a_config_map_is_awaited_and_an_edit_of_it_is_served_without_a_restart() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let _llm = scripted(ns, Script::EchoSystem).await?;
        let source = json!({"systemFrom": {"configMapKeyRef": {"name": "prompts", "key": "system.md"}}});
        ns.apply(with(support("Nothing."), "/spec/prompts", source)).await?;
        let missing = ["Accepted=True", "ResolvedRefs=False/ConfigMapNotFound", "Ready=False/ConfigMapNotFound"];
        let agent: Agent = ns.await_status("support", &missing, PATIENCE).await?;
        let message = agent.condition("ResolvedRefs").unwrap().message.clone();
        assert!(message.contains("`prompts`") && message.contains("`system.md`"), "{message}");

        ns.apply(prompts(json!({"system.md": "One."}))).await?;
        ns.await_status::<Agent>("support", &["Ready=True"], PATIENCE).await?;
        let caller = ns.caller("support").await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "One.");
        let pods = ns.pod_uids("support").await?;

        let revision = |agent: &Agent| agent.status.as_ref().and_then(|status| status.revision.clone()?.loaded);
        let before = revision(&ns.api::<Agent>().get("support").await?);
        ns.apply(prompts(json!({"system.md": "Two."}))).await?;
        // The Agent has not changed, so its generation does not tell: its revision does.
        eventually("the edit is loaded", PATIENCE, async || {
            let agent = ns.api::<Agent>().get("support").await?;
            Ok((agent.says("Ready=True") && revision(&agent) != before).then_some(()))
        })
        .await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Two.");

        ns.api::<ConfigMap>().delete("prompts", &DeleteParams::default()).await?;
        ns.await_status::<Agent>("support", &missing, PATIENCE).await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Two.", "the last good one goes on serving");
        ns.apply(prompts(json!({"system.md": "Three."}))).await?;
        ns.await_status::<Agent>("support", &["Ready=True"], PATIENCE).await?;
        assert_eq!(caller.ask("What is your prompt?").await?.text()?, "Three.");
        assert_eq!(ns.pod_uids("support").await?, pods, "a prompt restarts nothing");
        Ok(())
    })
    .await
}
