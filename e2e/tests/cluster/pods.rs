//! What an agent's pods are given.

use astromesh_e2e::manifests::{provider_with_key, secret};
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::{ScriptedLlm, with_temp_ns};

use crate::support::support;

#[tokio::test(flavor = "multi_thread")]
async fn pods_have_no_token_for_the_api_server_and_nothing_that_they_do_not_need() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let llm = ScriptedLlm::start(Script::EchoSystem).await?;
        ns.apply(secret("llm", "api-key", "key")).await?;
        ns.apply(provider_with_key("scripted", &llm.endpoint(), "llm", "api-key")).await?;
        ns.apply(support("Be kind.")).await?;
        ns.agent_ready("support").await?;

        let pod = ns.pods("support").await?.remove(0).spec.unwrap();
        assert_eq!(pod.automount_service_account_token, Some(false));
        let sources = pod.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref()?.sources.as_ref());
        let audiences: Vec<_> = sources
            .flatten()
            .filter_map(|source| source.service_account_token.as_ref())
            .map(|token| token.audience.as_deref())
            .collect();
        assert_eq!(audiences, [Some("astromesh")], "the only token is one that the API server does not accept");

        assert_eq!(pod.containers.len(), 1);
        let container = &pod.containers[0];
        assert!(container.env.is_none() && container.env_from.is_none(), "nothing comes by the environment");
        let security = container.security_context.as_ref().unwrap();
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.capabilities.as_ref().unwrap().drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(pod.security_context.unwrap().run_as_non_root, Some(true));
        assert!(container.startup_probe.is_some() && container.readiness_probe.is_some());
        assert!(container.liveness_probe.is_some());
        assert!(container.resources.as_ref().is_some_and(|r| r.requests.is_some() && r.limits.is_some()));
        Ok(())
    })
    .await
}
