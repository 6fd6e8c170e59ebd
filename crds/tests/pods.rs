//! What is sent on to the API server's own objects is checked as it is there, before an agent is taken.

use astromesh_crds::manifest::{Problem, check};
use rstest::rstest;
use serde_json::{Value, json};

fn problems(runtime: &Value) -> Vec<Problem> {
    let spec = json!({"model": {"candidates": [{"providerRef": {"name": "openai"}}]}, "prompts": {"system": "Be kind."},
                      "runtime": runtime});
    check(
        &json!({"apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": "support"}, "spec": spec}),
    )
}

#[rstest]
#[case(json!({"resources": {"requests": {"cpu": 1, "memory": "64Mi"}, "limits": {"cpu": "1.5", "memory": 268_435_456, "example.com/gpu": 1, "ephemeral-storage": "1G"}}}))]
#[case(json!({"resources": {"requests": {"cpu": "1000m", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"}, "limits": {"cpu": "1", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"}}}))]
#[case(json!({"podLabels": {"app.kubernetes.io/part-of": "shop", "team": ""}, "podAnnotations": {"example.com/note": "any text, {\"a\": 1}\n"}, "nodeSelector": {"kubernetes.io/arch": "amd64"}}))]
#[case(json!({"tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}, {"key": "example.com/a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]}))]
#[case(json!({"image": "localhost:5000/team/agent-pod:1.0@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "imagePullSecrets": [{"name": "registry.key"}]}))]
#[case(json!({"image": "agent-pod"}))]
fn pods_may_have(#[case] runtime: Value) {
    assert_eq!(problems(&runtime), []);
}

#[rstest]
#[case(json!({"resources": {"limits": {"memory": "lots"}}}), "runtime.resources.limits: \"memory\" is \"lots\"; use a number")]
#[case(json!({"resources": {"limits": {"memory": "1e99999"}}}), "runtime.resources.limits: \"memory\" is \"1e99999\"; use a number")]
#[case(json!({"resources": {"requests": {"gpu": "1"}}}), "runtime.resources.requests: \"gpu\" is not a resource of a pod")]
#[case(json!({"resources": {"requests": {"kubernetes.io/gpu": "1"}}}), "runtime.resources.requests: \"kubernetes.io/gpu\" is not a resource")]
#[case(json!({"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1000Mi"}}}), "runtime.resources: requests.memory (1Gi) is over limits.memory (1000Mi)")]
#[case(json!({"resources": {"requests": {"memory": "1Gi"}}}), "runtime.resources: requests.memory (1Gi) is over limits.memory (256Mi, the default)")]
#[case(json!({"resources": {"limits": {"memory": "16Mi"}}}), "runtime.resources: requests.memory (32Mi, the default) is over limits.memory (16Mi)")]
#[case(json!({"resources": {"requests": {"cpu": 2}, "limits": {"cpu": 1}}}), "runtime.resources: requests.cpu (2) is over limits.cpu (1)")]
#[case(json!({"resources": {"limits": {"cpu": "1m"}}}), "runtime.resources: requests.cpu (10m, the default) is over limits.cpu (1m)")]
#[case(json!({"resources": {"requests": {"example.com/gpu": "1"}}}), "runtime.resources: devices and hugepages are whole numbers")]
#[case(json!({"resources": {"limits": {"example.com/gpu": "500m"}}}), "runtime.resources: devices and hugepages are whole numbers")]
#[case(json!({"podLabels": {"a b": "c"}}), "runtime.podLabels: \"a b\" is not a key")]
#[case(json!({"podLabels": {"app": "a b"}}), "runtime.podLabels: \"app\" is \"a b\"; use at most 63")]
#[case(json!({"podLabels": {"app.kubernetes.io/instance": "a"}}), "runtime.podLabels: \"app.kubernetes.io/instance\" is set by the operator")]
#[case(json!({"podLabels": {"astromesh.io/agent": "a"}}), "runtime.podLabels: \"astromesh.io/agent\" is set by the operator")]
#[case(json!({"podAnnotations": {"a b": "c"}}), "runtime.podAnnotations: \"a b\" is not a key")]
#[case(json!({"podAnnotations": {"x.astromesh.io/a": "c"}}), "runtime.podAnnotations: \"x.astromesh.io/a\" belongs to the operator")]
#[case(json!({"podAnnotations": {"a": "x".repeat(65_536)}}), "runtime.podAnnotations hold 65537 characters")]
#[case(json!({"nodeSelector": {"a b": "c"}}), "runtime.nodeSelector: \"a b\" is not a key")]
#[case(json!({"nodeSelector": {"disk": "a b"}}), "runtime.nodeSelector: \"disk\" is \"a b\"; use at most 63")]
#[case(json!({"tolerations": [{"value": "a"}]}), "tolerations: key is required")]
#[case(json!({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}), "tolerations: value has no meaning with operator Exists")]
#[case(json!({"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 3}]}), "tolerations: tolerationSeconds belongs to effect NoExecute")]
#[case(json!({"tolerations": [{"key": "a b"}]}), "tolerations: key \"a b\" is not a key")]
#[case(json!({"tolerations": [{"key": "a", "value": "b c"}]}), "tolerations: value \"b c\" is not a value of a taint")]
#[case(json!({"image": "my image"}), "runtime.image \"my image\" is not an image")]
#[case(json!({"image": "Upper/case:1"}), "runtime.image \"Upper/case:1\" is not an image")]
fn pods_may_not_have(#[case] runtime: Value, #[case] message: &str) {
    let problems = problems(&runtime);
    assert!(problems.iter().any(|p| p.message.starts_with(message)), "{problems:?}");
}
