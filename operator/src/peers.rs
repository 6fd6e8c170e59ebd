//! What the scopes of single namespaces share: an agent of one may use a provider of another.

use std::sync::Arc;

use astromesh_crds::v1alpha1::{Agent, Provider};
use dashmap::DashMap;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::names::ObjectKey;
use crate::watching::Trigger;

/// The scopes by their namespace. Empty where one scope is the whole cluster.
#[derive(Clone, Default)]
pub struct Peers {
    scopes: Arc<DashMap<String, Peer>>,
}

/// One scope, as the others see it.
pub struct Peer {
    /// Its agents.
    pub agents: Store<Agent>,
    /// Its providers.
    pub providers: Store<Provider>,
    /// Wakes its agents.
    pub agent_queue: Trigger<Agent>,
    /// Wakes its providers.
    pub provider_queue: Trigger<Provider>,
}

impl Peers {
    /// Adds the scope of a namespace.
    pub fn join(&self, namespace: &str, peer: Peer) {
        self.scopes.insert(namespace.to_owned(), peer);
    }

    /// A provider of any of the scopes.
    #[must_use]
    pub fn provider(&self, key: &ObjectKey) -> Option<Arc<Provider>> {
        self.scopes.get(&key.namespace)?.providers.get(&ObjectRef::new(&key.name).within(&key.namespace))
    }

    /// An agent of any of the scopes.
    #[must_use]
    pub fn agent(&self, key: &ObjectKey) -> Option<Arc<Agent>> {
        self.scopes.get(&key.namespace)?.agents.get(&ObjectRef::new(&key.name).within(&key.namespace))
    }

    /// The agents of every scope for which `predicate` holds.
    #[must_use]
    pub fn agents(&self, predicate: impl Fn(&Agent) -> bool) -> Vec<Arc<Agent>> {
        self.scopes.iter().flat_map(|scope| scope.agents.state_filter(&predicate)).collect()
    }

    /// Who wakes the agents of a namespace.
    #[must_use]
    pub fn agent_queue(&self, namespace: &str) -> Option<Trigger<Agent>> {
        self.scopes.get(namespace).map(|scope| scope.agent_queue.clone())
    }

    /// Who wakes the providers of a namespace.
    #[must_use]
    pub fn provider_queue(&self, namespace: &str) -> Option<Trigger<Provider>> {
        self.scopes.get(namespace).map(|scope| scope.provider_queue.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::known::Known;
    use crate::testing::{agent, provider};
    use crate::watching::{Queues, triggers};

    #[tokio::test]
    async fn scopes_see_and_wake_what_their_objects_refer_to() {
        let peers = Peers::default();
        let (mut shop, mut models) = (Known::nothing(), Known::nothing());
        let (agent_queue, mut shop_agents) = triggers();
        let (provider_queue, mut model_providers) = triggers();
        let peer = |known: &Known| Peer {
            agents: known.stores.agents.clone(),
            providers: known.stores.providers.clone(),
            agent_queue: triggers().0,
            provider_queue: triggers().0,
        };
        peers.join("shop", Peer { agent_queue, ..peer(&shop) });
        peers.join("models", Peer { provider_queue, ..peer(&models) });
        let reference = json!({"name": "openai", "namespace": "models"});
        shop.agent(agent(json!({"model": {"candidates": [{"providerRef": reference}]}})));
        let mut shared = provider();
        shared.metadata.namespace = Some("models".into());
        models.provider(shared.clone());

        let key = ObjectKey::of(&shared);
        let user = ObjectKey { namespace: "shop".into(), name: "support".into() };
        let (seen_from_shop, seen_from_models) =
            (shop.stores.clone().with_peers(peers.clone()), models.stores.clone().with_peers(peers.clone()));
        assert!(seen_from_shop.provider(&key).is_some());
        assert_eq!(seen_from_models.naming(&key), std::slice::from_ref(&user));
        assert!(seen_from_models.agent(&user).is_some());
        assert!(shop.stores.provider(&key).is_none(), "without peers, nobody");

        let queues = Queues { agents: triggers().0, providers: triggers().0, peers };
        queues.wake_agent(ObjectRef::new("support").within("shop")).await;
        queues.wake_provider(ObjectRef::new("openai").within("models")).await;
        assert_eq!(shop_agents.try_recv().unwrap().name, "support");
        assert_eq!(model_providers.try_recv().unwrap().name, "openai");
    }
}
