//! What the watches of one scope know.

mod permissions;

use std::collections::BTreeMap;
use std::sync::Arc;

use agent_pod_config::{NamespaceLabels, permits};
use astromesh_crds::v1alpha1::{Agent, Provider};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Service, ServiceAccount};
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};

pub use permissions::{AGENTS, CLAIMS, NAMESPACES, PROVIDERS, Permissions, TEXTS};

use crate::applier::{self, ChildKind};
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
    /// The metadata of every ConfigMap that is no child.
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
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
    /// Metadata of documents.
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
    /// Metadata of accounts.
    pub service_accounts: Store<PartialObjectMeta<ServiceAccount>>,
    /// Metadata of services.
    pub services: Store<PartialObjectMeta<Service>>,
    /// Volumes: metadata and phase.
    pub claims: Store<PersistentVolumeClaim>,
    /// Deployments: metadata and status.
    pub deployments: Store<Deployment>,
}

impl ChildStores {
    /// The state of a child as the watch last told it: see [`applier::version`].
    #[must_use]
    pub fn version(&self, kind: ChildKind, key: &ObjectKey) -> Option<String> {
        match kind {
            ChildKind::ConfigMap => version(kind, &self.config_maps, key),
            ChildKind::ServiceAccount => version(kind, &self.service_accounts, key),
            ChildKind::Service => version(kind, &self.services, key),
            ChildKind::PersistentVolumeClaim => version(kind, &self.claims, key),
            ChildKind::Deployment => version(kind, &self.deployments, key),
        }
    }
}

fn version<K>(kind: ChildKind, store: &Store<K>, key: &ObjectKey) -> Option<String>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    store
        .get(&ObjectRef::new(&key.name).within(&key.namespace))
        .and_then(|object| applier::version(kind, object.meta()))
}

impl Stores {
    /// Stores that nothing is in yet.
    #[must_use]
    pub fn new(
        agents: Store<Agent>,
        providers: Store<Provider>,
        children: ChildStores,
        config_maps: Store<PartialObjectMeta<ConfigMap>>,
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

    /// Whether a namespace is being deleted, with everything in it. Where namespaces are not known, it is not.
    #[must_use]
    pub fn is_ending(&self, namespace: &str) -> bool {
        let known = self.namespaces.as_ref().and_then(|namespaces| namespaces.get(&ObjectRef::new(namespace)));
        known.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    /// The live Deployment of an agent, as far as it matters.
    #[must_use]
    pub fn deployment(&self, agent: &ObjectKey) -> Option<Arc<Deployment>> {
        self.children.deployments.get(&ObjectRef::new(&child(&agent.name)).within(&agent.namespace))
    }

    /// Why the volume of an agent is not bound yet, if so.
    #[must_use]
    pub fn volume(&self, agent: &ObjectKey) -> Option<Trouble> {
        let claim = self.children.claims.get(&ObjectRef::new(&child(&agent.name)).within(&agent.namespace))?;
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
        let class = class.map_or_else(|| "no storage class".to_owned(), |class| format!("storage class `{class}`"));
        (phase == "Pending").then(|| {
            let name = claim.name_any();
            Trouble::new(
                "VolumePending",
                &format!("PersistentVolumeClaim `{name}` ({class}) is not bound to a volume yet"),
            )
        })
    }

    /// The `resourceVersion` of a ConfigMap that is no child; `None` when there is none of that name.
    #[must_use]
    pub fn config_map(&self, key: &ObjectKey) -> Option<String> {
        version(ChildKind::ConfigMap, &self.config_maps, key)
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
