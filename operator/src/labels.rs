//! The one set of labels.

use std::collections::BTreeMap;

use crate::names::{AGENT_LABEL, MANAGER};

const NAME: &str = "app.kubernetes.io/name";
/// Names the agent on everything that its Deployment and Service select.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
const COMPONENT: &str = "app.kubernetes.io/component";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const VERSION: &str = "app.kubernetes.io/version";

/// What selects everything that the operator made.
pub const MANAGED_SELECTOR: &str = "app.kubernetes.io/managed-by=astromesh-operator";

/// What selects everything else.
pub const FOREIGN_SELECTOR: &str = "app.kubernetes.io/managed-by!=astromesh-operator";

/// What selects the pods of agents: by the labels that their Deployments and Services select them with. A pod that has lost
/// another label still serves.
pub const PODS_SELECTOR: &str = "app.kubernetes.io/name=agent-pod,app.kubernetes.io/component=agent";

/// The labels that select an agent's pods. They can never change: a Deployment's selector is immutable.
#[must_use]
pub fn selector(agent: &str) -> BTreeMap<String, String> {
    map([(NAME, "agent-pod"), (INSTANCE, agent), (COMPONENT, "agent")])
}

/// The labels of an agent's pods: without the version, so that an upgrade of the operator alone rolls nothing.
#[must_use]
pub fn pod(agent: &str) -> BTreeMap<String, String> {
    let mut labels = selector(agent);
    labels.extend(map([(MANAGED_BY, MANAGER), (AGENT_LABEL, agent)]));
    labels
}

/// The labels of an agent's children.
#[must_use]
pub fn child(agent: &str) -> BTreeMap<String, String> {
    let mut labels = pod(agent);
    labels.extend(map([(VERSION, env!("CARGO_PKG_VERSION"))]));
    labels
}

/// A selector as text: `a=b,c=d`.
#[must_use]
pub fn as_text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Whether the labels say that the operator made the object.
#[must_use]
pub fn is_managed(labels: Option<&BTreeMap<String, String>>) -> bool {
    labels.and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|value| value == MANAGER)
}

fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_contains_the_one_before() {
        let (selector, pod, child) = (selector("support"), pod("support"), child("support"));
        assert!(selector.iter().all(|(key, value)| pod.get(key) == Some(value)));
        assert!(pod.iter().all(|(key, value)| child.get(key) == Some(value)));
        assert!(!pod.contains_key(VERSION), "a new version of the operator must not roll pods");
        assert!(is_managed(Some(&child)) && !is_managed(Some(&selector)) && !is_managed(None));
    }

    #[test]
    fn the_selector_reads_as_kubernetes_writes_it() {
        assert_eq!(
            as_text(&selector("support")),
            "app.kubernetes.io/component=agent,app.kubernetes.io/instance=support,app.kubernetes.io/name=agent-pod"
        );
        let (key, value) = MANAGED_SELECTOR.split_once('=').unwrap();
        assert_eq!(child("x").get(key).map(String::as_str), Some(value));
    }
}
