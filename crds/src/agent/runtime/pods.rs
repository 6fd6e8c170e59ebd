//! What users add to the pods: labels, annotations, and where they run.

use kube::KubeSchema;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::Serialize;

use crate::rules;

/// The labels that the operator sets on every pod.
const LABELS_OF_THE_OPERATOR: &str = "['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/component', 'app.kubernetes.io/managed-by']";

/// The most characters of all annotations of a pod together.
const ANNOTATIONS_CHARS_MAX: usize = 65_536;

/// Keys that the operator sets.
pub(super) fn free_labels(field: &str) -> Rule {
    let good = format!("!(item in {LABELS_OF_THE_OPERATOR}) && {}", is_free("item"));
    rules::each(field, &good, "is set by the operator; use a key of your own domain")
}

/// The same of annotations.
pub(super) fn free_annotations(field: &str) -> Rule {
    rules::each(field, &is_free("item"), "belongs to the operator; use a key of your own domain")
}

/// Our domain.
fn is_free(key: &str) -> String {
    format!("!{key}.matches('^([^/]*[.])?astromesh[.]io/')")
}

/// The bound of Kubernetes on all annotations of an object, in characters.
pub(super) fn annotations_fit(field: &str) -> Rule {
    let size = "self.map(key, size(key) + size(self[key])).sum()";
    rules::rule(
        &format!("{size} <= {ANNOTATIONS_CHARS_MAX}"),
        format!(
            "'{field} hold %d characters, keys and values together; at most {ANNOTATIONS_CHARS_MAX} are allowed'.format([{size}])"
        ),
    )
}

// The schema of a toleration of Kubernetes, with what the API server asks of one in a pod.
/// A taint that is tolerated.
#[derive(KubeSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schemars(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.key) || (has(self.operator) && self.operator == 'Exists')").message("tolerations: key is required, except with operator Exists, which then tolerates every taint"))]
#[x_kube(validation = Rule::new("!(has(self.operator) && self.operator == 'Exists') || !has(self.value) || self.value == ''").message("tolerations: value has no meaning with operator Exists; remove one of them"))]
#[x_kube(validation = Rule::new("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')").message("tolerations: tolerationSeconds belongs to effect NoExecute; remove it, or set effect: NoExecute"))]
pub(super) struct TolerationSchema {
    /// The taint's key; absent, with operator `Exists`: every key.
    #[schemars(length(min = 1, max = 317))]
    #[x_kube(validation = rules::text("tolerations: key", &rules::is_label_key("self"), "is not a key: use at most 63 letters, digits, `-`, `_` and `.`, with a domain and `/` before them if need be"))]
    key: Option<String>,
    /// How the taint is matched (default `Equal`).
    operator: Option<TolerationOperator>,
    /// The taint's value, with operator `Equal`.
    #[schemars(length(max = 63))]
    #[x_kube(validation = rules::text("tolerations: value", "!format.labelValue().validate(self).hasValue()", "is not a value of a taint: use at most 63 letters, digits, `-`, `_` and `.`"))]
    value: Option<String>,
    /// The effect that is tolerated; absent: every one.
    effect: Option<TaintEffect>,
    /// How long the pod stays on a node that has got the taint, with effect `NoExecute`; absent: for ever.
    toleration_seconds: Option<i64>,
}

/// How a taint is matched.
#[derive(Serialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
enum TolerationOperator {
    /// Key and value are the same.
    Equal,
    /// The key is the same.
    Exists,
}

/// What a taint does.
#[derive(Serialize, JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
enum TaintEffect {
    /// No new pod.
    NoSchedule,
    /// No new pod, if there is another node.
    PreferNoSchedule,
    /// No pod at all.
    NoExecute,
}
