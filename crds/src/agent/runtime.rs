//! How an agent's pods run.
#![expect(unreachable_pub, reason = "deriving KubeSchema repeats each struct inside a function")]

mod pods;
mod resources;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::duration::DurationString;
use crate::rules;

pub use resources::*;

/// CEL that is true of a reference to an image: a registry if need be, a repository, a tag or a digest.
const IS_IMAGE: &str = "self.matches('^(([A-Za-z0-9-]+([.][A-Za-z0-9-]+)+(:[0-9]{1,5})?|[A-Za-z0-9-]+:[0-9]{1,5}|localhost)/)?[a-z0-9]+(([._/]|__|-+)[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[a-f0-9]{64})?$')";

/// How the agent's pods run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeSpec {
    /// How many pods.
    #[serde(default = "RuntimeSpec::default_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,
    /// What a pod requests and may use; each absent half has a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Runs at the same time in one pod; one more waits for a place.
    #[serde(default = "RuntimeSpec::default_max_concurrent_runs")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_concurrent_runs: u32,
    /// Runs that wait for a place in one pod; one more is answered with 429. 0: none waits. Absent: twice `maxConcurrentRuns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_queued_runs: Option<u32>,
    /// How long a run waits for a place before it is answered with 429.
    #[serde(default = "RuntimeSpec::default_queue_timeout")]
    #[x_kube(validation = rules::duration("runtime.queueTimeout", "0s", "10m"))]
    pub queue_timeout: DurationString,
    /// The largest request body, in bytes.
    #[serde(default = "RuntimeSpec::default_max_body_bytes")]
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub max_body_bytes: u32,
    /// How long runs may go on after the pod is told to stop.
    #[serde(default = "RuntimeSpec::default_drain_timeout")]
    #[x_kube(validation = rules::duration("runtime.drainTimeout", "0s", "1h"))]
    pub drain_timeout: DurationString,
    /// How long a stopping pod keeps serving, until every client has learnt that it is gone.
    #[serde(default = "RuntimeSpec::default_endpoint_delay")]
    #[x_kube(validation = rules::duration("runtime.endpointDelay", "0s", "5m"))]
    pub endpoint_delay: DurationString,
    /// Image of the runtime; absent: the one of the operator's release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = rules::text("runtime.image", IS_IMAGE, "is not an image: use its repository, with a tag or digest, such as registry.example.com/agent-pod:1.0"))]
    pub image: Option<String>,
    /// Secrets for pulling the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Vec<LocalRef>,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = labels()))]
    #[x_kube(validation = rules::label_keys("runtime.nodeSelector"))]
    #[x_kube(validation = rules::label_values("runtime.nodeSelector"))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<pods::TolerationSchema>", length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// More labels of the pods; those that the operator sets, and the domain astromesh.io, are taken.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = labels()))]
    #[x_kube(validation = rules::label_keys("runtime.podLabels"))]
    #[x_kube(validation = rules::label_values("runtime.podLabels"))]
    #[x_kube(validation = pods::free_labels("runtime.podLabels"))]
    pub pod_labels: BTreeMap<String, String>,
    /// More annotations of the pods, of at most 65536 characters together; the domain astromesh.io is taken.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = serde_json::json!({"type": "string", "maxLength": 65_536})))]
    #[x_kube(validation = rules::label_keys("runtime.podAnnotations"))]
    #[x_kube(validation = pods::free_annotations("runtime.podAnnotations"))]
    #[x_kube(validation = pods::annotations_fit("runtime.podAnnotations"))]
    pub pod_annotations: BTreeMap<String, String>,
}

impl RuntimeSpec {
    fn default_replicas() -> i32 {
        1
    }

    fn default_max_concurrent_runs() -> u32 {
        256
    }

    fn default_queue_timeout() -> DurationString {
        "5s".into()
    }

    fn default_max_body_bytes() -> u32 {
        10_485_760
    }

    fn default_drain_timeout() -> DurationString {
        "30s".into()
    }

    fn default_endpoint_delay() -> DurationString {
        "5s".into()
    }
}

impl Default for RuntimeSpec {
    fn default() -> Self {
        Self {
            replicas: Self::default_replicas(),
            resources: None,
            max_concurrent_runs: Self::default_max_concurrent_runs(),
            max_queued_runs: None,
            queue_timeout: Self::default_queue_timeout(),
            max_body_bytes: Self::default_max_body_bytes(),
            drain_timeout: Self::default_drain_timeout(),
            endpoint_delay: Self::default_endpoint_delay(),
            image: None,
            image_pull_secrets: Vec::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            pod_labels: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
        }
    }
}

/// The schema of a label's value: as long as the API server takes it, so that rules on it have a cost.
fn labels() -> serde_json::Value {
    serde_json::json!({"type": "string", "maxLength": 63})
}

/// Names an object of the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("name"))]
    pub name: String,
}
