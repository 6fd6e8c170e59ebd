//! What the watches of one scope know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent_pod_config::{NamespaceLabels, permits};
use astromesh_crds::v1alpha1::{Agent, Provider};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio_util::sync::CancellationToken;

use crate::applier::ChildKind;
use crate::names::{ObjectKey, agents_named_by, config_map_of, providers_of};
use crate::peers::Peers;

/// The stores of one scope.
#[derive(Clone)]
pub struct Stores {
    /// Every agent.
    pub agents: Store<Agent>,
    /// Every provider.
    pub providers: Store<Provider>,
    /// Every pod that the operator's Deployments made.
    pub pods: Store<Pod>,
    /// The metadata of every namespace; absent where the operator may not see namespaces.
    pub namespaces: Option<Store<PartialObjectMeta<Namespace>>>,
    /// The metadata of every child.
    pub children: ChildStores,
    /// The metadata of every ConfigMap that is no child.
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
    /// The other scopes.
    pub peers: Peers,
    /// Set when every store has been filled once.
    filled: CancellationToken,
}

/// The metadata of every child.
#[derive(Clone)]
pub struct ChildStores {
    /// Documents.
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
    /// Accounts.
    pub service_accounts: Store<PartialObjectMeta<ServiceAccount>>,
    /// Services.
    pub services: Store<PartialObjectMeta<Service>>,
    /// Volumes.
    pub claims: Store<PartialObjectMeta<PersistentVolumeClaim>>,
    /// Deployments.
    pub deployments: Store<PartialObjectMeta<Deployment>>,
}

impl ChildStores {
    /// The `resourceVersion` of a child as the watch last told it.
    #[must_use]
    pub fn version(&self, kind: ChildKind, key: &ObjectKey) -> Option<String> {
        match kind {
            ChildKind::ConfigMap => version(&self.config_maps, key),
            ChildKind::ServiceAccount => version(&self.service_accounts, key),
            ChildKind::Service => version(&self.services, key),
            ChildKind::PersistentVolumeClaim => version(&self.claims, key),
            ChildKind::Deployment => version(&self.deployments, key),
        }
    }
}

fn version<K>(store: &Store<PartialObjectMeta<K>>, key: &ObjectKey) -> Option<String>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    store
        .get(&ObjectRef::new(&key.name).within(&key.namespace))
        .and_then(|object| object.metadata.resource_version.clone())
}

impl Stores {
    /// Stores that have not been filled yet.
    #[must_use]
    pub fn new(
        agents: Store<Agent>,
        providers: Store<Provider>,
        pods: Store<Pod>,
        children: ChildStores,
        config_maps: Store<PartialObjectMeta<ConfigMap>>,
    ) -> Self {
        let (peers, filled) = (Peers::default(), CancellationToken::new());
        Self { agents, providers, pods, namespaces: None, children, config_maps, peers, filled }
    }

    /// The same among other scopes.
    #[must_use]
    pub fn with_peers(mut self, peers: Peers) -> Self {
        self.peers = peers;
        self
    }

    /// The same with the namespaces.
    #[must_use]
    pub fn with_namespaces(mut self, namespaces: Option<Store<PartialObjectMeta<Namespace>>>) -> Self {
        self.namespaces = namespaces;
        self
    }

    /// Waits until [`Stores::fill`] has seen every store filled once.
    pub async fn filled(&self) {
        self.filled.cancelled().await;
    }

    /// Waits for the stores themselves. One task only may do so: of several that wait for the same store of
    /// kube-runtime, only the last one is woken.
    ///
    /// # Errors
    /// When a watch has ended before.
    pub async fn fill(&self) -> Result<(), WriterDropped> {
        self.agents.wait_until_ready().await?;
        self.providers.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        if let Some(namespaces) = &self.namespaces {
            namespaces.wait_until_ready().await?;
        }
        self.children.config_maps.wait_until_ready().await?;
        self.children.service_accounts.wait_until_ready().await?;
        self.children.services.wait_until_ready().await?;
        self.children.claims.wait_until_ready().await?;
        self.children.deployments.wait_until_ready().await?;
        self.config_maps.wait_until_ready().await?;
        self.filled.cancel();
        Ok(())
    }

    /// The `resourceVersion` of a ConfigMap that is no child; `None` when there is none of that name.
    #[must_use]
    pub fn config_map(&self, key: &ObjectKey) -> Option<String> {
        version(&self.config_maps, key)
    }

    /// The agents that read a ConfigMap.
    #[must_use]
    pub fn reading(&self, config_map: &ObjectKey) -> Vec<Arc<Agent>> {
        self.agents.state_filter(|agent| config_map_of(agent).is_some_and(|(named, _)| named == *config_map))
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

    /// The agents that name a provider, in order, whether or not they may.
    #[must_use]
    pub fn naming(&self, provider: &ObjectKey) -> Vec<ObjectKey> {
        let names = |agent: &Agent| providers_of(agent).contains(provider);
        let found = self.agents.state_filter(names).into_iter().chain(self.peers.agents(names));
        // This scope is among its peers.
        found.map(|agent| ObjectKey::of(agent.as_ref())).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The agents that name a provider and may use it, in order.
    #[must_use]
    pub fn users(&self, provider: &Provider) -> Vec<ObjectKey> {
        let mut naming = self.naming(&ObjectKey::of(provider));
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

    /// The agents that may call an agent, directly or through others, in order; itself is not among them.
    #[must_use]
    pub fn callers(&self, agent: &ObjectKey) -> Vec<ObjectKey> {
        // Agents without agents as tools are most of all, and call nobody.
        let calls = |agent: &Agent| agent.spec.tools.iter().any(|tool| tool.agent.is_some());
        let all = self.agents.state_filter(calls).into_iter().chain(self.peers.agents(calls));
        let all: BTreeMap<_, _> = all.map(|agent| (ObjectKey::of(agent.as_ref()), agents_named_by(&agent))).collect();
        let mut found = BTreeSet::new();
        let mut open = vec![agent.clone()];
        while let Some(called) = open.pop() {
            for (caller, named) in &all {
                if named.contains(&called) && found.insert(caller.clone()) {
                    open.push(caller.clone());
                }
            }
        }
        found.remove(agent);
        found.into_iter().collect()
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
            known.stores.callers(&key).into_iter().map(|key| key.name).collect()
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
