//! What an agent names, and is not there.

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::conditions::Reported as _;
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::with_temp_ns;
use kube::api::DeleteParams;

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
