//! A Provider that agents of another namespace use, by its consent.

use std::collections::BTreeMap;

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::conditions::Reported as _;
use astromesh_e2e::manifests::{provider, with};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{ScriptedLlm, TempNs, with_temp_ns};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::support;

const REFUSED: [&str; 2] = ["ResolvedRefs=False/RefNotPermitted", "Ready=False/RefNotPermitted"];

/// An agent whose model is a provider of another namespace.
fn borrower(owner: &TempNs) -> Value {
    let reference = json!({"name": "scripted", "namespace": owner.name});
    with(support("Be kind."), "/spec/model/candidates/0/providerRef", reference)
}

async fn label(ns: &TempNs, value: &str) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(ns.cluster.client.clone());
    let labels = BTreeMap::from([("team", value)]);
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    namespaces.patch(&ns.name, &PatchParams::default(), &patch).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_serves_the_namespaces_that_it_lets_in() -> anyhow::Result<()> {
    with_temp_ns(async |owner| {
        with_temp_ns(async |ns| {
            let llm = ScriptedLlm::start(Script::EchoSystem).await?;
            let own = provider("scripted", &llm.endpoint());
            owner.apply(own.clone()).await?;
            ns.apply(borrower(owner)).await?;
            let agent: Agent = ns.await_status("support", &REFUSED, PATIENCE).await?;
            let message = &agent.condition("ResolvedRefs").unwrap().message;
            assert!(message.contains("spec.model.candidates[0].providerRef.namespace"), "{message}");

            owner.apply(with(own.clone(), "/spec/allowedNamespaces", json!({"from": "All"}))).await?;
            ns.agent_ready("support").await?;
            assert_eq!(ns.caller("support").await?.ask("Hello").await?.text()?, "Be kind.");
            let seen: Provider = owner.await_status("scripted", &["Ready=True", "EndpointReachable"], PATIENCE).await?;
            assert_eq!(seen.status.unwrap().agents, 1);

            let selector = json!({"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}});
            owner.apply(with(own.clone(), "/spec/allowedNamespaces", selector)).await?;
            ns.await_status::<Agent>("support", &REFUSED, PATIENCE).await?;
            label(ns, "shop").await?;
            ns.await_status::<Agent>("support", &["ResolvedRefs=True", "Ready=True"], PATIENCE).await?;
            label(ns, "zoo").await?;
            ns.await_status::<Agent>("support", &REFUSED, PATIENCE).await?;
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_with_a_secret_serves_its_own_namespace_only() -> anyhow::Result<()> {
    with_temp_ns(async |owner| {
        with_temp_ns(async |ns| {
            let own = astromesh_e2e::manifests::provider_with_key("scripted", "http://10.0.0.1/v1", "llm", "api-key");
            owner.apply(with(own, "/spec/allowedNamespaces", json!({"from": "All"}))).await?;
            ns.apply(borrower(owner)).await?;
            let agent: Agent = ns.await_status("support", &REFUSED, PATIENCE).await?;
            let message = &agent.condition("ResolvedRefs").unwrap().message;
            assert!(message.contains("cannot mount"), "{message}");
            Ok(())
        })
        .await
    })
    .await
}
