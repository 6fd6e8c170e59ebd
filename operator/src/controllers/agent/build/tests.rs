use insta::assert_yaml_snapshot;
use serde_json::json;

use super::*;
use crate::testing::validated;

fn build(agent: &Validated) -> Children {
    super::build(agent, None)
}

#[test]
fn the_children_of_a_full_agent() {
    let children = build(&validated(json!({
        "runtime": {
            "replicas": 3,
            "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi", "cpu": "1"}},
            "drainTimeout": "90s", "endpointDelay": "2500ms",
            "image": "registry.example.com/agent-pod:2",
            "imagePullSecrets": [{"name": "registry"}],
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "podLabels": {"team": "shop", "app.kubernetes.io/name": "mine"},
            "podAnnotations": {"note": "x"},
        },
    })));
    assert_yaml_snapshot!("config_map", children.config_map);
    assert_yaml_snapshot!("service_account", children.service_account);
    assert_yaml_snapshot!("service", children.service);
    assert_yaml_snapshot!("deployment", children.deployment);
}

#[test]
fn an_edit_of_a_prompt_changes_the_document_and_not_the_pods() {
    let before = build(&validated(json!({})));
    let after = build(&validated(json!({
        "prompts": {"system": "Another one"},
        "orchestration": {"maxIterations": 3},
        "memory": {"conversational": {"backend": "in_memory"}},
    })));
    assert_ne!(before.config_map, after.config_map);
    assert_eq!(before.deployment, after.deployment);
}

#[test]
fn an_agent_whose_files_shall_last_has_a_volume_and_one_pod_at_a_time() {
    let children = build(&validated(json!({
        "memory": {"conversational": {"backend": "sqlite"}, "persistence": {"size": "1Gi", "storageClassName": "fast"}},
    })));
    assert_yaml_snapshot!("claim", children.claim);
    let spec = children.deployment.spec.unwrap();
    assert_eq!(spec.strategy.unwrap().type_.as_deref(), Some("Recreate"));
    let volumes = spec.template.spec.unwrap().volumes.unwrap();
    let data = volumes.into_iter().find(|volume| volume.name == "data").unwrap();
    assert_eq!(data.persistent_volume_claim.unwrap().claim_name, "support-agent");
    assert_eq!(data.empty_dir, None);
}

#[test]
fn the_secrets_of_a_memory_are_mounted_and_no_volume_is_asked_for() {
    let connection = json!({"secretKeyRef": {"name": "store", "key": "url"}});
    let events = json!({"secretKeyRef": {"name": "events", "key": "url"}});
    let memory = json!({
        "conversational": {"backend": "postgres", "connection": connection},
        "episodic": {"backend": "postgres", "connection": events},
        "semantic": {
            "backend": "pgvector", "connection": {"secretKeyRef": {"name": "vectors", "key": "url"}},
            "embeddings": {"provider": "openai_compat", "model": "e", "endpoint": "http://llama:8080", "dimension": 4,
                           "auth": {"secretKeyRef": {"name": "embeddings", "key": "token"}}},
        },
    });
    let children = build(&validated(json!({"memory": memory, "runtime": {"replicas": 2}})));
    assert_eq!(children.claim, None);
    let pod = children.deployment.spec.unwrap().template.spec.unwrap();
    let secrets: Vec<_> = pod.volumes.into_iter().flatten().filter_map(|volume| volume.secret?.secret_name).collect();
    assert_eq!(secrets, ["embeddings", "events", "openai", "store", "vectors"]);
}

#[test]
fn a_suspended_agent_keeps_everything_and_has_no_pods() {
    let children = build(&validated(json!({"suspend": true, "runtime": {"replicas": 3}})));
    assert_eq!(children.deployment.spec.unwrap().replicas, Some(0));
}

#[test]
fn pods_never_get_a_token_of_the_kubernetes_api() {
    let children = build(&validated(json!({})));
    let pod = children.deployment.spec.unwrap().template.spec.unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(children.service_account.automount_service_account_token, Some(false));
    let projections: Vec<_> = pod.volumes.into_iter().flatten().filter_map(|volume| volume.projected).collect();
    for token in projections.iter().flat_map(|projected| projected.sources.iter().flatten()) {
        assert_eq!(token.service_account_token.as_ref().unwrap().audience.as_deref(), Some("astromesh"));
    }
}
