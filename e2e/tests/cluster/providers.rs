//! What a Provider says of its server: what the pods of its agents report, and without agents what the operator sees.

use std::time::Duration;

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::conditions::Reported as _;
use astromesh_e2e::manifests::{provider, provider_with_key, secret, with};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{ScriptedLlm, eventually, with_temp_ns};
use serde_json::json;

use crate::support::{echoing, support};

/// Pods are asked every 15 s, and ask a server that answered every minute.
const SHOWN_WITHIN: Duration = Duration::from_secs(100);
/// A server that nobody uses is looked at every minute.
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(75);
/// The kubelet refreshes Secrets at its own pace.
const REFRESHED_WITHIN: Duration = Duration::from_secs(120);

/// The port 9 discards, and nobody listens on it.
const DISCARD: u16 = 9;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_shows_and_takes_no_readiness_from_its_agents() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (mut llm, caller) = echoing(ns, support("Be kind.")).await?;
        let well = ["EndpointReachable=True", "ModelsAvailable=True", "CircuitClosed=True", "Ready=True"];
        let seen: Provider = ns.await_status("scripted", &well, SHOWN_WITHIN).await?;
        assert_eq!(seen.status.unwrap().models, ["scripted"]);

        llm.stop().await;
        let down = ["EndpointReachable=False/EndpointUnreachable", "Ready=False/EndpointUnreachable"];
        ns.await_status::<Provider>("scripted", &down, SHOWN_WITHIN).await?;
        let degraded = ["Degraded=True/ProviderUnavailable", "Ready=True"];
        let agent: Agent = ns.await_status("support", &degraded, SHOWN_WITHIN).await?;
        let message = &agent.condition("Degraded").unwrap().message;
        assert!(message.contains("scripted/scripted"), "the candidate is named: {message}");

        llm.start_again().await?;
        ns.await_status::<Provider>("scripted", &well[..1], SHOWN_WITHIN).await?;
        eventually("calls are answered again", LOOKED_AT_WITHIN, async || {
            Ok(caller.ask("Hello").await?.text().ok().map(|_text| ()))
        })
        .await?;
        ns.await_status::<Agent>("support", &["!Degraded", "Ready=True"], SHOWN_WITHIN).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_circuit_shows_until_a_call_succeeds() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (llm, caller) = echoing(ns, support("Be kind.")).await?;
        let fragile = with(provider("scripted", &llm.endpoint()), "/spec/retry", json!({"maxAttempts": 1}));
        let fragile = with(fragile, "/spec/circuitBreaker", json!({"failureThreshold": 1, "cooldown": "30s"}));
        ns.apply(fragile).await?;
        ns.agent_ready("support").await?;

        llm.set_script(Script::Failing(500));
        assert_eq!(caller.ask("Hello").await?.status, 502);
        ns.await_status::<Provider>("scripted", &["CircuitClosed=False/CircuitOpen", "Ready=True"], SHOWN_WITHIN)
            .await?;
        let degraded = ["Degraded=True/ProviderUnavailable", "Ready=True"];
        ns.await_status::<Agent>("support", &degraded, SHOWN_WITHIN).await?;

        llm.set_script(Script::EchoSystem);
        eventually("the circuit lets a call through", PATIENCE, async || {
            Ok(caller.ask("Hello").await?.text().ok().map(|_text| ()))
        })
        .await?;
        ns.await_status::<Provider>("scripted", &["CircuitClosed=True"], SHOWN_WITHIN).await?;
        ns.await_status::<Agent>("support", &["!Degraded", "Ready=True"], SHOWN_WITHIN).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_refused_shows_until_it_is_corrected() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let llm = ScriptedLlm::start(Script::EchoSystemFor("right-key")).await?;
        ns.apply(secret("llm", "api-key", "wrong-key")).await?;
        ns.apply(provider_with_key("scripted", &llm.endpoint(), "llm", "api-key")).await?;
        ns.apply(support("Be kind.")).await?;
        ns.await_status::<Agent>("support", &["Ready=False/CredentialsRejected"], SHOWN_WITHIN).await?;
        let caller = ns.caller("support").await?;
        assert_eq!(caller.ask("Hello").await?.status, 502);
        let refused = ["CredentialsResolved=False/CredentialsRejected", "Ready=False/CredentialsRejected"];
        ns.await_status::<Provider>("scripted", &refused, SHOWN_WITHIN).await?;
        let degraded = ["Degraded=True/ProviderUnavailable", "Ready=False/CredentialsRejected"];
        ns.await_status::<Agent>("support", &degraded, SHOWN_WITHIN).await?;

        ns.apply(secret("llm", "api-key", "right-key")).await?;
        eventually("the new key is used", REFRESHED_WITHIN, async || {
            Ok(caller.ask("Hello").await?.text().ok().map(|_text| ()))
        })
        .await?;
        ns.await_status::<Provider>("scripted", &["CredentialsResolved=True", "Ready=True"], SHOWN_WITHIN).await?;
        ns.await_status::<Agent>("support", &["!Degraded", "Ready=True"], SHOWN_WITHIN).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_the_server_does_not_list_is_named() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let llm = ScriptedLlm::start(Script::EchoSystem).await?;
        llm.set_models(&["other"]);
        ns.apply(provider("scripted", &llm.endpoint())).await?;
        ns.apply(support("Be kind.")).await?;
        ns.await_status::<Agent>("support", &["Ready=False/ModelNotFound"], SHOWN_WITHIN).await?;
        let lacking = ["ModelsAvailable=False/ModelNotFound", "EndpointReachable=True", "Ready=True"];
        let seen: Provider = ns.await_status("scripted", &lacking, SHOWN_WITHIN).await?;
        let message = &seen.condition("ModelsAvailable").unwrap().message;
        assert!(message.contains("`scripted`"), "{message}");
        ns.await_status::<Agent>("support", &["Degraded=True/ProviderUnavailable"], SHOWN_WITHIN).await?;

        llm.set_models(&["other", "scripted"]);
        let seen: Provider = ns.await_status("scripted", &["ModelsAvailable=True"], SHOWN_WITHIN).await?;
        assert_eq!(seen.status.unwrap().models, ["other", "scripted"]);
        ns.await_status::<Agent>("support", &["!Degraded", "Ready=True"], SHOWN_WITHIN).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_uses_is_looked_at_by_the_operator() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let mut llm = ScriptedLlm::start(Script::EchoSystem).await?;
        let of_the_server = provider_with_key("scripted", &llm.endpoint(), "llm", "api-key");
        ns.apply(of_the_server.clone()).await?;
        let unused = ["CredentialsResolved=Unknown/Unused", "ModelsAvailable=Unknown/Unused"];
        let reachable = ["EndpointReachable=True", "CircuitClosed=Unknown/Unused", "Ready=True"];
        ns.await_status::<Provider>("scripted", &[&unused[..], &reachable].concat(), PATIENCE).await?;
        assert!(llm.calls().is_empty(), "it costs no tokens");

        llm.stop().await;
        let down = ["EndpointReachable=False/EndpointUnreachable", "Ready=False/EndpointUnreachable"];
        ns.await_status::<Provider>("scripted", &down, LOOKED_AT_WITHIN).await?;
        let other = ScriptedLlm::start(Script::EchoSystem).await?;
        ns.apply(with(of_the_server.clone(), "/spec/endpoint", json!(other.endpoint()))).await?;
        ns.await_status::<Provider>("scripted", &reachable, Duration::from_secs(15)).await?;

        ns.apply(with(of_the_server, "/spec/endpoint", json!("http://169.254.169.254/latest"))).await?;
        let seen: Provider = ns.await_status("scripted", &down, Duration::from_secs(15)).await?;
        let message = &seen.condition("EndpointReachable").unwrap().message;
        assert!(message.contains("does not call"), "{message}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_that_is_down_degrades_an_agent_that_answers() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        ns.apply(provider("spare", &format!("http://127.0.0.1:{DISCARD}/v1"))).await?;
        let candidates = json!([{"providerRef": {"name": "scripted"}}, {"providerRef": {"name": "spare"}}]);
        let (_llm, caller) = echoing(ns, with(support("Be kind."), "/spec/model/candidates", candidates)).await?;
        let degraded = ["Degraded=True/ProviderUnavailable", "Ready=True"];
        let agent: Agent = ns.await_status("support", &degraded, SHOWN_WITHIN).await?;
        let message = &agent.condition("Degraded").unwrap().message;
        assert!(message.contains("`spare/scripted`") && !message.contains("`scripted/scripted`"), "{message}");
        assert_eq!(caller.ask("Hello").await?.text()?, "Be kind.");
        Ok(())
    })
    .await
}
