//! The names of everything that the operator makes, in one place.

use std::collections::BTreeSet;

use astromesh_crds::v1alpha1::Agent;
use kube::ResourceExt as _;

/// The field manager of every write, the value of `app.kubernetes.io/managed-by`, and the reporter of Events.
pub const MANAGER: &str = "astromesh-operator";
/// What the operator last applied: the SHA-256 of the desired object, on each child.
pub const APPLIED_ANNOTATION: &str = "astromesh.io/applied";
/// The nudge on live pods: a change of it makes the kubelet refresh the pod's volumes at once.
pub const REVISION_ANNOTATION: &str = "astromesh.io/revision";
/// Names the agent on children and pods.
pub const AGENT_LABEL: &str = "astromesh.io/agent";
/// The Lease that replicas of the operator compete for.
pub const LEASE: &str = "astromesh-operator";

/// Name of the port that serves callers.
pub const HTTP_PORT_NAME: &str = "http";
/// The port that serves callers.
pub const HTTP_PORT: i32 = 8080;
/// Name of the port for probes, metrics and the pod's state.
pub const ADMIN_PORT_NAME: &str = "admin";
/// The port for probes, metrics and the pod's state; never in a Service.
pub const ADMIN_PORT: u16 = 8081;
/// The port of the Service.
pub const SERVICE_PORT: i32 = 80;

/// The key of the document in the ConfigMap, and the name of its file.
pub const DOCUMENT_KEY: &str = "document.json";
/// The key of the trust in the ConfigMap, and the name of its file.
pub const TRUST_KEY: &str = "trust.json";

/// The key of what shapes the pods beside the document: what goes on being applied while a spec is refused.
pub const PODS_KEY: &str = "pods.json";

const SUFFIX: &str = agent_pod_config::AGENT_SUFFIX;
/// The longest DNS label, which the name of a Service is.
const LABEL_CHARS_MAX: usize = 63;

/// The name of every child of an agent.
///
/// At most 50 characters of the agent's name are allowed, so the suffix fits; [`invalid_agent_name`] says so.
#[must_use]
pub fn child(agent: &str) -> String {
    format!("{agent}{SUFFIX}")
}

/// The agent whose child has this name.
#[must_use]
pub fn agent_of(child: &str) -> Option<&str> {
    child.strip_suffix(SUFFIX).filter(|name| !name.is_empty())
}

/// Why an agent's name cannot be the name of a Service, if so.
#[must_use]
pub fn invalid_agent_name(agent: &str) -> Option<&'static str> {
    if agent.len() + SUFFIX.len() > LABEL_CHARS_MAX {
        return Some("is too long: children carry it with a suffix, use at most 50 characters");
    }
    let valid = agent.starts_with(|c: char| c.is_ascii_lowercase())
        && agent.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if valid {
        None
    } else {
        Some("names a Service too: start with a letter and use lower case letters, digits and `-` only")
    }
}

/// An object's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// The key of a namespaced object.
    #[must_use]
    pub fn of(object: &impl kube::ResourceExt) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

/// The providers that an agent names, in every role.
#[must_use]
pub fn providers_of(agent: &Agent) -> BTreeSet<ObjectKey> {
    candidates_of(agent).map(|(provider, _)| provider).collect()
}

/// The agents that an agent names as tools.
#[must_use]
pub fn agents_named_by(agent: &Agent) -> BTreeSet<ObjectKey> {
    let split = |key: String| {
        let (namespace, name) = key.split_once('/')?;
        Some(ObjectKey { namespace: namespace.to_owned(), name: name.to_owned() })
    };
    agent_pod_config::agents_of(agent).filter_map(split).collect()
}

/// The models of a provider that an agent names by name, in every role.
#[must_use]
pub fn models_of(agent: &Agent, provider: &ObjectKey) -> BTreeSet<String> {
    candidates_of(agent).filter(|(named, _)| named == provider).filter_map(|(_, model)| model).collect()
}

fn candidates_of(agent: &Agent) -> impl Iterator<Item = (ObjectKey, Option<String>)> {
    let own = agent.namespace().unwrap_or_default();
    let roles = std::iter::once(&agent.spec.model).chain(agent.spec.roles.values());
    roles.flat_map(|role| &role.candidates).map(move |candidate| {
        let reference = &candidate.provider_ref;
        let namespace = reference.namespace.clone().unwrap_or_else(|| own.clone());
        (ObjectKey { namespace, name: reference.name.clone() }, candidate.model.clone())
    })
}

/// The ConfigMap that an agent's prompt is in, and the key.
#[must_use]
pub fn config_map_of(agent: &Agent) -> Option<(ObjectKey, &str)> {
    let from = &agent.spec.prompts.system_from.as_ref()?.config_map_key_ref;
    let namespace = agent.namespace().unwrap_or_default();
    Some((ObjectKey { namespace, name: from.name.clone() }, from.key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_read_back_from_its_childs_name() {
        assert_eq!(child("support"), "support-agent");
        assert_eq!(agent_of("support-agent"), Some("support"));
        assert_eq!(agent_of("my-agent-agent"), Some("my-agent"));
        assert_eq!(agent_of("other"), None);
        assert_eq!(agent_of("-agent"), None);
    }

    #[test]
    fn names_that_no_service_can_have_are_refused() {
        for valid in ["a", "support", "support-2", &"a".repeat(50)] {
            assert_eq!(invalid_agent_name(valid), None, "{valid}");
        }
        for invalid in ["2fast", "my.agent", "", &"a".repeat(58)] {
            assert!(invalid_agent_name(invalid).is_some(), "{invalid}");
        }
    }
}
