//! What the scopes of single namespaces share: an agent of one may use a provider of another.

use std::sync::Arc;
use std::time::Duration;

use astromesh_crds::v1alpha1::{Agent, Provider};
use dashmap::DashMap;
use futures::future::join_all;
use kube::runtime::reflector::{ObjectRef, Store};

use crate::names::ObjectKey;
use crate::stores::Permissions;
use crate::watching::Trigger;

/// How long a scope waits for the others. One that cannot be listed must not hold the rest up for ever.
const OTHERS_WITHIN: Duration = Duration::from_secs(10);

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
    /// How far its watches have come.
    pub permissions: Permissions,
}

impl Peers {
    /// Adds the scope of a namespace.
    pub fn join(&self, namespace: &str, peer: Peer) {
        self.scopes.insert(namespace.to_owned(), peer);
    }

    /// Waits until the agents and providers of every scope are known or may not be seen, but not for ever: what is not there yet would be
    /// told as not found.
    pub async fn settled(&self) {
        let scopes: Vec<_> = self.scopes.iter().map(|scope| scope.permissions.clone()).collect();
        let all = join_all(scopes.into_iter().map(|mut scope| async move { scope.settled_for_others().await }));
        if tokio::time::timeout(OTHERS_WITHIN, all).await.is_err() {
            tracing::warn!(
                "some namespaces have not been listed yet; what refers to them is looked at again when they are"
            );
        }
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

    /// Whether agents of any of the scopes wait for their documents.
    #[must_use]
    pub fn are_busy(&self) -> bool {
        self.scopes.iter().any(|scope| scope.agent_queue.is_busy())
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
    use crate::stores::{AGENTS, PROVIDERS, Stores};
    use crate::testing::known::Known;
    use crate::testing::{agent, provider};
    use crate::watching::{Fill, Filling, Queues, Trigger};

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
            permissions: known.stores.permissions.clone(),
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

    #[tokio::test(start_paused = true)]
    async fn a_scope_waits_for_what_others_have_of_agents_and_providers_but_not_for_ever() {
        let peers = Peers::default();
        let join = |namespace: &str, resources: &[&'static str]| {
            let known = Known::nothing();
            let (fills, watches): (Vec<_>, Vec<_>) = resources.iter().map(|resource| Filling::new(resource)).unzip();
            let peer = Peer {
                agents: known.stores.agents.clone(),
                providers: known.stores.providers.clone(),
                agent_queue: Trigger::default(),
                provider_queue: Trigger::default(),
                permissions: Permissions::new(watches),
            };
            peers.join(namespace, peer);
            fills
        };
        let waited = async || {
            let began = tokio::time::Instant::now();
            peers.settled().await;
            began.elapsed().as_secs()
        };
        let shop = join("shop", &[AGENTS, PROVIDERS, "pods"]);
        assert_eq!(waited().await, OTHERS_WITHIN.as_secs(), "nothing is listed");
        shop[0].send_replace(Fill::Filled);
        shop[1].send_replace(Fill::Denied("no".into()));
        assert_eq!(waited().await, 0, "its pods are nobody else's business");
        let models = join("models", &[PROVIDERS]);
        let (waited, ()) = tokio::join!(waited(), async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            models[0].send_replace(Fill::Filled);
        });
        assert_eq!(waited, 3);
    }
}
