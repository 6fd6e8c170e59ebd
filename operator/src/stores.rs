//! What the watches of one scope know.

mod kept;
mod permissions;

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_pod_config::{NamespaceLabels, permits};
use astromesh_crds::v1alpha1::{Agent, Provider};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Service, ServiceAccount};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt as _};

pub use kept::{ClaimView, DeploymentView, Kept, OwnedPod, Progress, Version};
pub use permissions::{AGENTS, CLAIMS, NAMESPACES, PROVIDERS, Permissions, TEXTS};

use crate::applier::ChildKind;
use crate::index::Index;
use crate::names::{ObjectKey, agents_named_by, child};
use crate::peers::Peers;
use crate::pods::Trouble;

/// The stores of one scope.
#[derive(Clone)]
pub struct Stores {
    /// Every agent.
    pub agents: Store<Agent>,
    /// Every provider.
    pub providers: Store<Provider>,
    /// The metadata of every namespace; absent where the operator may not see namespaces.
    pub namespaces: Option<Store<PartialObjectMeta<Namespace>>>,
    /// Every child, as far as it matters.
    pub children: ChildStores,
    /// Every ConfigMap that is no child.
    pub config_maps: Store<Kept<ConfigMap, Version>>,
    /// Who refers to what, in every scope.
    pub index: Arc<Index>,
    /// The other scopes.
    pub peers: Peers,
    /// How far the watches have come, and which may not be made.
    pub permissions: Permissions,
}

/// Every child, as far as it matters.
#[derive(Clone)]
pub struct ChildStores {
    /// Documents.
    pub config_maps: Store<Kept<ConfigMap, Version>>,
    /// Accounts.
    pub service_accounts: Store<Kept<ServiceAccount, Version>>,
    /// Services.
    pub services: Store<Kept<Service, Version>>,
    /// Volumes.
    pub claims: Store<Kept<PersistentVolumeClaim, ClaimView>>,
    /// Deployments.
    pub deployments: Store<Kept<Deployment, DeploymentView>>,
}

impl ChildStores {
    /// The state of a child as the watch last told it: see [`crate::applier::version`].
    #[must_use]
    pub fn version(&self, kind: ChildKind, key: &ObjectKey) -> Option<String> {
        match kind {
            ChildKind::ConfigMap => kept(&self.config_maps, key)?.value.clone(),
            ChildKind::ServiceAccount => kept(&self.service_accounts, key)?.value.clone(),
            ChildKind::Service => kept(&self.services, key)?.value.clone(),
            ChildKind::PersistentVolumeClaim => kept(&self.claims, key)?.value.version.clone(),
            ChildKind::Deployment => kept(&self.deployments, key)?.value.version.clone(),
        }
    }
}

fn kept<R, V>(store: &Store<Kept<R, V>>, key: &ObjectKey) -> Option<Arc<Kept<R, V>>>
where
    R: Resource<DynamicType = ()> + 'static,
    V: Clone + 'static,
{
    store.get(&ObjectRef::new(&key.name).within(&key.namespace))
}

impl Stores {
    /// Stores that nothing is in yet.
    #[must_use]
    pub fn new(
        agents: Store<Agent>,
        providers: Store<Provider>,
        children: ChildStores,
        config_maps: Store<Kept<ConfigMap, Version>>,
        permissions: Permissions,
    ) -> Self {
        let (index, peers) = (Arc::default(), Peers::default());
        Self { agents, providers, namespaces: None, children, config_maps, index, peers, permissions }
    }

    /// The same among other scopes.
    #[must_use]
    pub fn among(mut self, index: Arc<Index>, peers: Peers) -> Self {
        (self.index, self.peers) = (index, peers);
        self
    }

    /// The same with the namespaces.
    #[must_use]
    pub fn with_namespaces(mut self, namespaces: Option<Store<PartialObjectMeta<Namespace>>>) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// Waits until every watch has listed everything once, or may not.
    pub async fn filled(&self) {
        self.permissions.clone().settled().await;
    }

    /// The same, and until what objects of other scopes this one may refer to is known.
    pub async fn filled_with_others(&self) {
        self.filled().await;
        self.peers.settled().await;
    }

    /// Whether a namespace is being deleted, with everything in it. Where namespaces are not known, it is not.
    #[must_use]
    pub fn is_ending(&self, namespace: &str) -> bool {
        let known = self.namespaces.as_ref().and_then(|namespaces| namespaces.get(&ObjectRef::new(namespace)));
        known.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// How far the live Deployment of an agent has come.
    #[must_use]
    pub fn progress(&self, agent: &ObjectKey) -> Option<Progress> {
        kept(&self.children.deployments, &child_of(agent)).map(|deployment| deployment.value.progress.clone())
    }

    /// Why the volume of an agent is not bound yet, if so.
    #[must_use]
    pub fn volume(&self, agent: &ObjectKey) -> Option<Trouble> {
        let claim = kept(&self.children.claims, &child_of(agent)).filter(|claim| claim.value.pending)?;
        let class = claim.value.class.as_deref();
        let class = class.map_or_else(|| "no storage class".to_owned(), |class| format!("storage class `{class}`"));
        let name = &claim.key.name;
        let message = format!("PersistentVolumeClaim `{name}` ({class}) is not bound to a volume yet");
        Some(Trouble::new("VolumePending", &message))
    }

    /// The `resourceVersion` of a ConfigMap that is no child; `None` when there is none of that name.
    #[must_use]
    pub fn config_map(&self, key: &ObjectKey) -> Option<String> {
        kept(&self.config_maps, key)?.value.clone()
    }

    /// A provider of this scope or another.
    #[must_use]
    pub fn provider(&self, key: &ObjectKey) -> Option<Arc<Provider>> {
        let own = self.providers.get(&ObjectRef::new(&key.name).within(&key.namespace));
        own.or_else(|| self.peers.provider(key))
    }

    /// An agent of this scope or another.
    #[must_use]
    pub fn agent(&self, key: &ObjectKey) -> Option<Arc<Agent>> {
        let own = self.agents.get(&ObjectRef::new(&key.name).within(&key.namespace));
        own.or_else(|| self.peers.agent(key))
    }

    /// The agents that name a provider and may use it, in order.
    #[must_use]
    pub fn users(&self, provider: &Provider) -> Vec<ObjectKey> {
        let mut naming = self.index.naming(&ObjectKey::of(provider));
        naming.retain(|agent| permits(provider, &agent.namespace, &self.labels(&agent.namespace)));
        naming
    }

    /// The agents that an agent may call, with all that those may call in turn; itself is not among them.
    #[must_use]
    pub fn called_by(&self, agent: &Agent) -> Vec<Arc<Agent>> {
        let own = ObjectKey::of(agent);
        let mut found = BTreeMap::new();
        let mut open: Vec<_> = agents_named_by(agent).into_iter().collect();
        while let Some(key) = open.pop() {
            if key == own || found.contains_key(&key) {
                continue;
            }
            let live = self.agent(&key).filter(|agent| agent.metadata.deletion_timestamp.is_none());
            if let Some(next) = live {
                open.extend(agents_named_by(&next));
                found.insert(key, next);
            }
        }
        found.into_values().collect()
    }

    /// The labels of a namespace; empty where they are not known.
    #[must_use]
    pub fn labels(&self, namespace: &str) -> NamespaceLabels {
        let known = self.namespaces.as_ref().and_then(|namespaces| namespaces.get(&ObjectRef::new(namespace)));
        known.map_or_else(BTreeMap::new, |known| {
            let labels = known.labels().iter().map(|(label, value)| (label.clone(), value.clone())).collect();
            BTreeMap::from([(namespace.to_owned(), labels)])
        })
    }
}

fn child_of(agent: &ObjectKey) -> ObjectKey {
    ObjectKey { namespace: agent.namespace.clone(), name: child(&agent.name) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::agent;
    use crate::testing::known::Known;

    fn calling(name: &str, called: &[&str]) -> Agent {
        let tool = |called: &&str| json!({"name": called, "type": "agent", "agent": {"agentRef": {"name": called}}});
        let mut agent = agent(json!({"tools": called.iter().map(tool).collect::<Vec<_>>()}));
        agent.metadata.name = Some(name.to_owned());
        agent
    }

    #[test]
    fn whoever_may_call_an_agent_over_others_is_its_caller() {
        let mut known = Known::nothing();
        for (name, called) in
            [("lead", &["writer"][..]), ("writer", &["editor"]), ("editor", &[]), ("other", &["lead"])]
        {
            known.agent(calling(name, called));
        }
        let callers = |name: &str| -> Vec<String> {
            let key = ObjectKey { namespace: "shop".into(), name: name.into() };
            known.stores.index.callers(&key).into_iter().map(|key| key.name).collect()
        };
        assert_eq!(callers("editor"), ["lead", "other", "writer"]);
        assert_eq!(callers("lead"), ["other"]);
        assert_eq!(callers("other"), Vec::<String>::new());
        assert_eq!(callers("not there yet"), Vec::<String>::new());
        let called = |agent: &Agent| -> Vec<String> {
            known.stores.called_by(agent).iter().map(|agent| agent.name_any()).collect()
        };
        assert_eq!(called(&calling("lead", &["writer", "gone"])), ["editor", "writer"]);
        assert_eq!(called(&calling("editor", &["lead"])), ["lead", "writer"], "itself is not among them");
    }
}
