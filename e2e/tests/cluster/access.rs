//! Who may call an agent.

use astromesh_e2e::manifests::with;
use astromesh_e2e::{TempNs, with_temp_ns};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::support::{echoing, support};

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_the_own_namespace_are_let_in_and_nobody_else() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, support("Be kind.")).await?;
        let issued = ns.kubectl(&["create", "token", "default", "--audience", "astromesh"]).await?.text()?;
        let issued = issued.trim();
        assert_eq!(caller.with_token(Some(issued.to_owned())).ask("Hello").await?.text()?, "Be kind.");

        let cluster = &ns.cluster;
        let for_the_api_server = cluster.token_for(&ns.name, "default", "https://kubernetes.default.svc").await?;
        let for_somebody_else = cluster.token_for(&ns.name, "default", "vault").await?;
        let (signed, signature) = issued.rsplit_once('.').unwrap();
        let tampered = format!("{signed}.{}", signature.chars().rev().collect::<String>());
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", signed.split('.').nth(1).unwrap());
        let refused = [
            ("none at all", None),
            ("of the API server's audience", Some(for_the_api_server)),
            ("of another audience", Some(for_somebody_else)),
            ("with another signature", Some(tampered)),
            ("without a signature", Some(unsigned)),
            ("that is none", Some("garbage".to_owned())),
        ];
        for (which, token) in refused {
            let caller = caller.with_token(token);
            let answer = caller.ask("Hello").await?;
            assert_eq!(answer.refusal(), (401, "unauthenticated"), "a token {which}: {}", answer.body);
            let Err(error) = caller.socket().await else { panic!("a token {which} opens a WebSocket") };
            assert!(format!("{error:#}").contains("401"), "a token {which}: {error:#}");
        }

        assert_eq!(caller.with_token(None).get("/v1/health").await?.status, 200, "health needs no token");

        with_temp_ns(async |stranger| {
            let token = cluster.token(&stranger.name, "default").await?;
            let answer = caller.with_token(Some(token)).ask("Hello").await?;
            assert_eq!(answer.refusal(), (403, "forbidden"), "{}", answer.body);
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_callers_that_are_listed_are_let_in() -> anyhow::Result<()> {
    with_temp_ns(async |ns| with_temp_ns(async |friend| only_those_listed(ns, friend).await).await).await
}

async fn only_those_listed(ns: &TempNs, friend: &TempNs) -> anyhow::Result<()> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app"}});
    ns.apply(account.clone()).await?;
    friend.apply(account).await?;
    let allowed = json!({"allowed": [{"serviceAccount": "app"}, {"serviceAccount": "app", "namespace": friend.name}]});
    let (_llm, caller) = echoing(ns, with(support("Be kind."), "/spec/access", allowed)).await?;
    let callers = [(ns, "app", 200), (ns, "default", 403), (friend, "app", 200), (friend, "default", 403)];
    for (namespace, account, expected) in callers {
        let token = ns.cluster.token(&namespace.name, account).await?;
        let answer = caller.with_token(Some(token)).ask("Hello").await?;
        assert_eq!(answer.status.as_u16(), expected, "{account} of {}: {}", namespace.name, answer.body);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_let_in_only_where_it_is_written() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (_llm, caller) = echoing(ns, with(support("Open."), "/spec/access", json!({"mode": "none"}))).await?;
        let anybody = caller.with_token(None);
        assert_eq!(anybody.ask("Hello").await?.text()?, "Open.");
        // Access is part of what is reloaded.
        ns.apply(support("Closed.")).await?;
        ns.agent_ready("support").await?;
        assert_eq!(anybody.ask("Hello").await?.refusal(), (401, "unauthenticated"));
        assert_eq!(caller.ask("Hello").await?.text()?, "Closed.");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_agents_opens_nothing_at_the_api_server() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let token = ns.cluster.token(&ns.name, "default").await?;
        let review =
            TokenReview { spec: TokenReviewSpec { token: Some(token), audiences: None }, ..TokenReview::default() };
        let api: Api<TokenReview> = Api::all(ns.cluster.client.clone());
        let reviewed = api.create(&PostParams::default(), &review).await?;
        assert_ne!(reviewed.status.unwrap().authenticated, Some(true));
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_pod_is_for_the_operator_only() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        echoing(ns, support("Be kind.")).await?;
        let pod = ns.pods("support").await?.remove(0).name_any();
        let admin = |path: &str| format!("/api/v1/namespaces/{}/pods/{pod}:8081/proxy{path}", ns.name);
        let refusal = ns.kubectl(&["get", "--raw", &admin("/internal/state")]).await?.refusal()?;
        assert!(refusal.contains("must be logged in") || refusal.contains("Unauthorized"), "{refusal}");
        assert_eq!(ns.kubectl(&["get", "--raw", &admin("/readyz")]).await?.text()?, "ok");
        Ok(())
    })
    .await
}
