//! A model server that does not answer.

use astromesh_crds::v1alpha1::{Agent, Provider};
use astromesh_e2e::manifests::{provider, with};
use astromesh_e2e::namespace::PATIENCE;
use astromesh_e2e::scripted_llm::Script;
use astromesh_e2e::with_temp_ns;
use serde_json::json;

use crate::support::{echoing, scripted, support};

/// The port 9 discards, and nobody listens on it.
const DEAD: &str = "http://127.0.0.1:9/v1";

#[tokio::test(flavor = "multi_thread")]
async fn the_next_candidate_answers_when_one_does_not() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        ns.apply(provider("dead", DEAD)).await?;
        let candidates = json!([{"providerRef": {"name": "dead"}}, {"providerRef": {"name": "scripted"}}]);
        let agent = with(support("Be kind."), "/spec/model/candidates", candidates);
        let (_llm, caller) = echoing(ns, agent).await?;
        let answer = caller.ask("Hello").await?;
        assert_eq!(answer.text()?, "Be kind.");
        let attempts = answer.body["attempts"].as_array().unwrap();
        let told: Vec<_> = attempts.iter().map(|attempt| attempt["provider"].as_str().unwrap()).collect();
        assert_eq!((told.first(), told.last()), (Some(&"dead"), Some(&"scripted")), "{}", answer.body);
        assert_eq!(attempts.last().unwrap()["outcome"], "ok");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_model_server_fails_calls_and_leaves_pods_alone() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let (llm, caller) = echoing(ns, support("Be kind.")).await?;
        let pods = ns.pod_uids("support").await?;
        drop(llm);
        let answer = caller.ask("Hello").await?;
        assert_eq!(answer.refusal(), (502, "all_providers_failed"), "{}", answer.body);
        assert!(!answer.body["error"]["details"]["attempts"].as_array().unwrap().is_empty());

        let again = scripted(ns, Script::EchoSystem).await?;
        let endpoint = again.endpoint();
        ns.await_status::<Provider>("scripted", &["Ready=True"], PATIENCE).await?;
        astromesh_e2e::eventually("the new server answers", PATIENCE, async || {
            Ok(caller.ask("Hello").await?.text().ok().map(|_text| ()))
        })
        .await
        .map_err(|error| error.context(format!("the server is at {endpoint}")))?;
        ns.await_status::<Agent>("support", &["Ready=True"], PATIENCE).await?;
        assert_eq!(ns.pod_uids("support").await?, pods);
        let restarts =
            ns.pods("support").await?.into_iter().flat_map(|pod| pod.status.unwrap().container_statuses.unwrap());
        assert_eq!(restarts.map(|status| status.restart_count).sum::<i32>(), 0);
        Ok(())
    })
    .await
}
