//! With and without a cluster, manifests mean the same.

use astromesh_e2e::manifests::{agent, provider, provider_with_key, secret, with};
use astromesh_e2e::standalone::Standalone;
use astromesh_e2e::with_temp_ns;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_and_a_laptop_get_the_same_document_from_the_same_manifests() -> anyhow::Result<()> {
    with_temp_ns(async |ns| {
        let candidates = json!([
            {"providerRef": {"name": "hosted"}, "parameters": {"temperature": 0.2, "topP": 1, "maxTokens": 500, "stop": ["END"],
             "seed": 7, "extra": {"top_k": 40, "logit_bias": {"50256": -100}}}},
            {"providerRef": {"name": "local"}, "model": "small"},
        ]);
        let support = agent("support", "hosted", "You are {{ identity.displayName }}.\nToday is {{ today }}. — ✓");
        let support = with(support, "/spec/model/candidates", candidates);
        let support = with(support, "/spec/identity", json!({"displayName": "Support", "description": "Answers"}));
        let support = with(support, "/spec/memory", json!({"conversational": {"backend": "in_memory", "ttl": "1h30m"}}));
        let support = with(support, "/spec/orchestration", json!({"maxIterations": 3, "timeout": "1.5s"}));
        let local = provider("local", "http://127.0.0.1:9/v1");
        let objects = [
            secret("llm", "api-key", "key"),
            provider_with_key("hosted", "https://llm.invalid", "llm", "api-key"),
            with(local, "/spec/timeouts", json!({"connect": "250ms", "total": "10m"})),
            support,
        ];
        let objects: Vec<Value> =
            objects.into_iter().map(|object| with(object, "/metadata/namespace", json!(ns.name))).collect();
        for object in &objects {
            ns.apply(object.clone()).await?;
        }
        let status = ns.agent_ready("support").await?.status.unwrap().revision.unwrap();
        let standalone = Standalone::start(&objects).await?;
        assert_eq!(status.desired, Some(standalone.revision().await?));
        assert_eq!(status.loaded, status.desired);

        let document = ns.api::<ConfigMap>().get("support-agent").await?.data.unwrap().remove("document.json").unwrap();
        assert_eq!(status.desired, Some(hex::encode(Sha256::digest(document))), "the revision is the document's hash");
        Ok(())
    })
    .await
}
