//! What somebody breaks, whatever the agent's newest spec says: healed, or told with the remedy.

use std::time::Duration;

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::conditions::Reported as _;
use astromesh_e2e::manifests::{provider, with};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{ScriptedLlm, await_object, eventually, with_temp_ns};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject};
use serde_json::json;

use crate::children::{self, KINDS, NAME};
use crate::support::{RESTORED_WITHIN, echoing, support};

/// How soon access ends when consent does.
const ENDED_WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_added_where_nobody_may_is_taken_away() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Be kind.")).await?;
        ns.merge::<Service>(NAME, json!({"spec": {"selector": {"evil": "true"}, "externalIPs": ["192.0.2.77"]}}))
            .await?;
        await_object(ns.api::<Service>(), NAME, "the Service is as it was", RESTORED_WITHIN, |service| {
            let spec = service.and_then(|service| service.spec.as_ref());
            spec.is_some_and(|spec| {
                spec.selector.as_ref().is_some_and(|selector| !selector.contains_key("evil"))
                    && spec.external_ips.is_none()
            })
        })
        .await?;
        let template = json!({"spec": {"nodeSelector": {"no": "node"}}});
        ns.merge::<Deployment>(NAME, json!({"spec": {"template": template}})).await?;
        await_object(ns.api::<Deployment>(), NAME, "the template is as it was", RESTORED_WITHIN, |deployment| {
            let spec = deployment.and_then(|deployment| deployment.spec.as_ref()?.template.spec.as_ref());
            spec.is_some_and(|spec| spec.node_selector.is_none())
        })
        .await?;
        ns.await_status::<Agent>("support", &["Ready=True", "!Reconciling"], PATIENCE).await?;
        assert_eq!(caller.ask("Hello").await?.text()?, "Be kind.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_puts_another_program_in_the_place_of_the_agent() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Be kind.")).await?;
        let container = "/spec/template/spec/containers/0";
        let patch = json!([
            {"op": "add", "path": format!("{container}/command"), "value": ["sleep", "1h"]},
            {"op": "add", "path": format!("{container}/ports/-"), "value": {"containerPort": 9}},
            {"op": "replace", "path": "/spec/template/spec/schedulerName", "value": "nobody"},
        ]);
        let deployment = format!("deployment/{NAME}");
        ns.kubectl(&["patch", &deployment, "--type=json", "--patch", &patch.to_string()]).await?.text()?;
        await_object(ns.api::<Deployment>(), NAME, "the template is as it was", RESTORED_WITHIN, |deployment| {
            let spec = deployment.and_then(|deployment| deployment.spec.as_ref()?.template.spec.as_ref());
            spec.is_some_and(|spec| {
                let agent = &spec.containers[0];
                let ports = agent.ports.as_ref().map_or(0, Vec::len);
                (&agent.command, ports, spec.scheduler_name.as_deref()) == (&None, 2, Some("default-scheduler"))
            })
        })
        .await?;
        ns.await_status::<Agent>("support", &["Ready=True", "!Reconciling"], PATIENCE).await?;
        assert_eq!(caller.ask("Hello").await?.text()?, "Be kind.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_somebody_else_writes_is_set_right() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        let before: Agent = ns.await_status("support", &["Ready=True", "!Reconciling"], PATIENCE).await?;
        for status in [json!({"conditions": [], "revision": null}), json!({"readyReplicas": 7})] {
            let patch = json!({"status": status}).to_string();
            let args = ["patch", "agent", "support", "--subresource=status", "--type=merge", "--patch", &patch];
            ns.kubectl(&args).await?.text()?;
            await_object(ns.api::<Agent>(), "support", "the status is as it was", RESTORED_WITHIN, |agent| {
                let lasting = |agent: &Agent| {
                    let status = agent.status.clone().unwrap_or_default();
                    let says = agent.says("Ready=True") && agent.says("Loaded=True");
                    (says, status.revision, status.ready_replicas, status.summary)
                };
                agent.is_some_and(|agent| lasting(agent) == lasting(&before))
            })
            .await?;
        }
        let patch = json!({"status": {"agents": 9, "conditions": []}}).to_string();
        let args = ["patch", "provider", "scripted", "--subresource=status", "--type=merge", "--patch", &patch];
        ns.kubectl(&args).await?.text()?;
        await_object(ns.api::<Provider>(), "scripted", "the status is as it was", RESTORED_WITHIN, |provider| {
            provider.is_some_and(|provider| {
                provider.says("Ready=True") && provider.status.as_ref().is_some_and(|status| status.agents == 1)
            })
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_deployment_goes_on() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        ns.kubectl(&["rollout", "pause", &format!("deployment/{NAME}")]).await?.text()?;
        await_object(ns.api::<Deployment>(), NAME, "it is not paused", RESTORED_WITHIN, |deployment| {
            let spec = deployment.and_then(|deployment| deployment.spec.as_ref());
            spec.is_some_and(|spec| spec.paused != Some(true))
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_config_map_is_told_with_the_remedy() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Before.")).await?;
        ns.merge::<ConfigMap>(NAME, json!({"immutable": true})).await?;
        ns.apply(support("After.")).await?;
        let stalled = ["Programmed=False/ApplyFailed", "Stalled=True/ApplyFailed", "!Reconciling"];
        let agent: Agent = ns.await_status("support", &stalled, PATIENCE).await?;
        let message = &agent.condition("Programmed").unwrap().message;
        assert!(message.contains("delete it, set spec.suspend"), "{message}");

        // The remedy, word for word.
        ns.api::<ConfigMap>().delete(NAME, &DeleteParams::default()).await?;
        ns.merge::<Agent>("support", json!({"spec": {"suspend": true}})).await?;
        eventually("there is no pod", PATIENCE, async || Ok(ns.pods("support").await?.is_empty().then_some(())))
            .await?;
        ns.merge::<Agent>("support", json!({"spec": {"suspend": null}})).await?;
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("Hello").await?.text()?, "After.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_has_lost_a_label_of_ours_is_still_seen() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Before.")).await?;
        let pod = ns.pods("support").await?.remove(0).name_any();
        let labels = json!({"app.kubernetes.io/managed-by": null, "astromesh.io/agent": null});
        ns.merge::<Pod>(&pod, json!({"metadata": {"labels": labels}})).await?;
        ns.apply(support("After.")).await?;
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("Hello").await?.text()?, "After.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_spec_is_refused_its_last_good_children_are_healed() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Before.")).await?;
        let pattern = json!({"output": [{"type": "content_filter", "action": "redact", "patterns": ["("]}]});
        ns.apply(with(support("After."), "/spec/guardrails", pattern)).await?;
        ns.await_status::<Agent>("support", &["Ready=False/Invalid"], PATIENCE).await?;
        for (kind, before) in KINDS.into_iter().zip(children::all(ns).await?) {
            let api = children::api(ns, kind)?;
            api.delete(NAME, &DeleteParams::background()).await?;
            let is_new = |child: Option<&DynamicObject>| child.is_some_and(|child| child.uid() != before.uid());
            let what = format!("the deleted {} is there again", kind.1);
            await_object(api, NAME, &what, RESTORED_WITHIN, is_new).await?;
        }
        eventually("what served before serves again", PATIENCE, async || {
            let answer = caller.ask("Hello").await.ok().and_then(|answer| answer.text().ok().map(str::to_owned));
            Ok((answer.as_deref() == Some("Before.")).then_some(()))
        })
        .await?;
        let agent = ns.api::<Agent>().get("support").await?;
        assert!(agent.says("Ready=False/Invalid") && agent.says("Stalled=True/Invalid"), "{:?}", agent.status);
        ns.apply(support("After.")).await?;
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("Hello").await?.text()?, "After.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn when_consent_ends_access_ends() -> anyhow::Result<()> {
    with_temp_ns(async |owner| {
        with_temp_ns(async |ns| {
            let llm = ScriptedLlm::start(Script::EchoSystem).await?;
            let shared =
                |from| with(provider("scripted", &llm.endpoint()), "/spec/allowedNamespaces", json!({"from": from}));
            owner.apply(shared("All")).await?;
            let reference = json!({"name": "scripted", "namespace": owner.name});
            ns.apply(with(support("Be kind."), "/spec/model/candidates/0/providerRef", reference)).await?;
            ns.agent_ready("support").await?;
            let caller = ns.caller("support").await?;
            assert_eq!(caller.ask("Hello").await?.text()?, "Be kind.");

            owner.apply(shared("Same")).await?;
            await_object(ns.api::<ConfigMap>(), NAME, "the document has no provider", ENDED_WITHIN, |config_map| {
                let document = config_map.and_then(|config_map| config_map.data.as_ref()?.get("document.json"));
                document.is_some_and(|document| !document.contains(&llm.endpoint()))
            })
            .await?;
            let calls = eventually("calls end", PATIENCE, async || {
                Ok((caller.ask("Hello").await?.status == 503).then(|| llm.calls().len()))
            })
            .await?;
            assert_eq!(caller.ask("Hello").await?.status, 503);
            assert_eq!(llm.calls().len(), calls, "the server is not asked any more");
            ns.await_status::<Agent>("support", &["Ready=False/RefNotPermitted"], PATIENCE).await?;

            owner.apply(shared("All")).await?;
            ns.agent_ready("support").await?;
            assert_eq!(caller.ask("Hello").await?.text()?, "Be kind.");
            Ok(())
        })
        .await
    })
    .await
}
