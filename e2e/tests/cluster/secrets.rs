//! Credentials: read by the pods only, followed when they change, kept when they go.

use std::time::Duration;

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::manifests::{agent, provider_with_key, secret};
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{Caller, Load, Operator, ScriptedLlm, TempNs, eventually, kubectl, operator, with_temp_ns};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::DeleteParams;

use tokio::time::Instant;

use crate::support::{echoing, support};

/// The kubelet refreshes Secrets at its own pace: about a minute with its defaults.
const REFRESHED_WITHIN: Duration = Duration::from_secs(120);

/// The agent `support` of a server that wants a key.
async fn with_key(ns: &TempNs, key: &str) -> anyhow::Result<(ScriptedLlm, Caller)> {
    let llm = ScriptedLlm::start(Script::EchoSystem).await?;
    ns.apply(secret("llm", "api-key", key)).await?;
    ns.apply(provider_with_key("scripted", &llm.endpoint(), "llm", "api-key")).await?;
    ns.apply(support("Be kind.")).await?;
    ns.agent_ready("support").await?;
    let caller = ns.caller("support").await?;
    Ok((llm, caller))
}

/// Calls until a call carries this key. No call may fail on the way.
async fn await_key(llm: &ScriptedLlm, caller: &Caller, key: &str) -> anyhow::Result<()> {
    let expected = format!("Bearer {key}");
    eventually(&format!("a call carries the key `{key}`"), REFRESHED_WITHIN, async || {
        caller.ask("Which key?").await?.text()?;
        Ok(llm.last_call().filter(|call| call.authorization.as_ref() == Some(&expected)).map(|_call| ()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_used_and_a_deleted_one_is_kept_without_a_restart() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (llm, caller) = with_key(ns, "first-key").await?;
        let pods = ns.pod_uids("support").await?;
        await_key(&llm, &caller, "first-key").await?;
        ns.await_status::<Provider>("scripted", &["CredentialsResolved=True"], REFRESHED_WITHIN).await?;

        ns.apply(secret("llm", "api-key", "second-key")).await?;
        await_key(&llm, &caller, "second-key").await?;

        ns.api::<Secret>().delete("llm", &DeleteParams::default()).await?;
        let degraded = ["Degraded=True/CredentialsMissing", "Ready=True"];
        ns.await_status::<Agent>("support", &degraded, REFRESHED_WITHIN).await?;
        let unresolved = ["CredentialsResolved=False/CredentialsMissing"];
        ns.await_status::<Provider>("scripted", &unresolved, REFRESHED_WITHIN).await?;
        await_key(&llm, &caller, "second-key").await?;

        ns.apply(secret("llm", "api-key", "third-key")).await?;
        await_key(&llm, &caller, "third-key").await?;
        ns.await_status::<Agent>("support", &["!Degraded", "Ready=True"], REFRESHED_WITHIN).await?;
        ns.await_status::<Provider>("scripted", &["CredentialsResolved=True"], REFRESHED_WITHIN).await?;
        assert_eq!(ns.pod_uids("support").await?, pods, "a Secret's value restarts nothing");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_rotated_and_revoked_at_once_costs_no_failed_call() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (llm, caller) = with_key(ns, "first-key").await?;
        llm.set_script(Script::EchoSystemFor("first-key"));
        await_key(&llm, &caller, "first-key").await?;
        let load = Load::start(&caller, 10);
        ns.apply(secret("llm", "api-key", "second-key")).await?;
        llm.set_script(Script::EchoSystemFor("second-key"));
        let began = Instant::now();
        await_key(&llm, &caller, "second-key").await?;
        println!("served with the new key after {:?}", began.elapsed());
        load.stop().await?.expect_no_failure()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_never_there_degrades_the_agent_until_it_comes() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let llm = ScriptedLlm::start(Script::EchoSystemFor("late-key")).await?;
        ns.apply(provider_with_key("scripted", &llm.endpoint(), "llm", "api-key")).await?;
        ns.apply(support("Be kind.")).await?;
        ns.await_status::<Agent>("support", &["Degraded=True/CredentialsMissing"], REFRESHED_WITHIN).await?;
        let unresolved = ["CredentialsResolved=False/CredentialsMissing", "Ready=False/CredentialsMissing"];
        ns.await_status::<Provider>("scripted", &unresolved, REFRESHED_WITHIN).await?;
        let pods = ns.pod_uids("support").await?;
        let caller = ns.caller("support").await?;
        let answer = caller.ask("Which key?").await?;
        assert_eq!(answer.status, 502, "{}", answer.body);

        ns.apply(secret("llm", "api-key", "late-key")).await?;
        ns.await_status::<Agent>("support", &["!Degraded", "Ready=True"], REFRESHED_WITHIN).await?;
        ns.await_status::<Provider>("scripted", &["CredentialsResolved=True"], REFRESHED_WITHIN).await?;
        assert_eq!(caller.ask("Which key?").await?.text()?, "Be kind.");
        assert_eq!(ns.pod_uids("support").await?, pods);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_moves_to_a_provider_with_a_key_without_a_failed_call() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_open, caller) = echoing(ns, support("Be kind.")).await?;
        let closed = ScriptedLlm::start(Script::EchoSystemFor("new-key")).await?;
        ns.apply(secret("llm", "api-key", "new-key")).await?;
        ns.apply(provider_with_key("closed", &closed.endpoint(), "llm", "api-key")).await?;

        let load = Load::start(&caller, 10);
        // A Secret that was not mounted before: the pods are replaced.
        ns.apply(agent("support", "closed", "Be kinder.")).await?;
        ns.agent_ready("support").await?;
        assert_eq!(caller.ask("Which key?").await?.text()?, "Be kinder.");
        load.stop().await?.expect_no_failure()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_nowhere_but_in_its_secret() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let canary = "canary-5f1d7c2e9b";
        let (llm, caller) = with_key(ns, canary).await?;
        await_key(&llm, &caller, canary).await?;
        let answer = caller.ask("Which key?").await?;
        let description = caller.get("/v1/agents/support").await?;

        let pod = ns.pods("support").await?[0].name_any();
        let metrics = format!("/api/v1/namespaces/{}/pods/{pod}:8081/proxy/metrics", ns.name);
        let operator = Operator::find(&ns.cluster.client).await?;
        let deployment = format!("deployment/{}", operator.deployment);
        let places: [&[&str]; 5] = [
            &["-n", &ns.name, "get", "configmaps,pods,deployments,services,agents,providers", "-o", "yaml"],
            &["-n", &ns.name, "get", "events", "-o", "yaml"],
            &["-n", &ns.name, "logs", &pod],
            &["get", "--raw", &metrics],
            &["-n", operator::NAMESPACE, "logs", &deployment],
        ];
        for place in places {
            let text = kubectl(place).await?.text()?;
            assert!(!text.contains(canary), "the key is in `kubectl {}`", place.join(" "));
        }
        assert!(!answer.body.to_string().contains(canary) && !description.body.to_string().contains(canary));
        Ok(())
    })
    .await
}
