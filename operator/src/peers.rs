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
    pub agent_queue: Trigger<ObjectRef<Agent>>,
    /// Wakes its providers.
    pub provider_queue: Trigger<ObjectRef<Provider>>,
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

    /// Who wakes the agents of a namespace.
    #[must_use]
    pub fn agent_queue(&self, namespace: &str) -> Option<Trigger<ObjectRef<Agent>>> {
        self.scopes.get(namespace).map(|scope| scope.agent_queue.clone())
    }

    /// Who wakes the providers of a namespace.
    #[must_use]
    pub fn provider_queue(&self, namespace: &str) -> Option<Trigger<ObjectRef<Provider>>> {
        self.scopes.get(namespace).map(|scope| scope.provider_queue.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stores::Stores;
    use crate::testing::known::Known;
    use crate::testing::{agent, provider};
    use crate::watching::{Queues, Trigger};

    #[tokio::test]
    async fn scopes_see_and_wake_what_their_objects_refer_to() {
        let peers = Peers::default();
        let (mut shop, mut models) = (Known::nothing(), Known::nothing());
        let (agent_queue, provider_queue) = (Trigger::default(), Trigger::default());
        let (shop_agents, model_providers) = (agent_queue.clone(), provider_queue.clone());
        let peer = |known: &Known| Peer {
            agents: known.stores.agents.clone(),
            providers: known.stores.providers.clone(),
            agent_queue: Trigger::default(),
            provider_queue: Trigger::default(),
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
        let index = Arc::clone(&shop.stores.index);
        let among = |stores: Stores| stores.among(Arc::clone(&index), peers.clone());
        let (seen_from_shop, seen_from_models) = (among(shop.stores.clone()), among(models.stores.clone()));
        assert!(seen_from_shop.provider(&key).is_some());
        assert_eq!(seen_from_models.index.naming(&key), std::slice::from_ref(&user));
        assert!(seen_from_models.agent(&user).is_some());
        assert!(shop.stores.provider(&key).is_none(), "without peers, nobody");

        let queues = Queues { peers: peers.clone(), ..Queues::default() };
        queues.agent_seen(ObjectRef::new("support").within("shop"));
        queues.wake_provider(ObjectRef::new("openai").within("models"));
        assert_eq!(shop_agents.take().unwrap().name, "support");
        assert_eq!(model_providers.take().unwrap().name, "openai");
    }
}
