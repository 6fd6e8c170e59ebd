//! Which watch wakes which controller, for which object.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use astromesh_crds::v1alpha1::{Agent, Provider};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Config;
use kube::{Api, Client, Resource, ResourceExt as _};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{agent, provider};
use crate::labels::{FOREIGN_SELECTOR, MANAGED_SELECTOR};
use crate::metrics::Metrics;
use crate::names::{AGENT_LABEL, ObjectKey, agent_of, providers_of};
use crate::pods;
use crate::scope::Scope;
use crate::stores::{ChildStores, Stores};
use crate::watching::{Queues, Touched, Wakes, Watch};

/// Every watch of one scope.
pub(super) struct Watches {
    agents: Watch<Agent>,
    providers: Watch<Provider>,
    pods: Watch<Pod>,
    namespaces: Option<Watch<PartialObjectMeta<Namespace>>>,
    config_maps: Watch<PartialObjectMeta<ConfigMap>>,
    service_accounts: Watch<PartialObjectMeta<ServiceAccount>>,
    services: Watch<PartialObjectMeta<Service>>,
    claims: Watch<PartialObjectMeta<PersistentVolumeClaim>>,
    deployments: Watch<PartialObjectMeta<Deployment>>,
    texts: Watch<PartialObjectMeta<ConfigMap>>,
}

/// Where the watches' news go.
pub(super) struct Routes {
    pub(super) queues: Queues,
    pub(super) agents: Arc<agent::Context>,
    pub(super) providers: Arc<provider::Context>,
    pub(super) metrics: Arc<Metrics>,
}

impl Watches {
    pub(super) fn new(scope: &Scope, client: &Client) -> Self {
        // Only what the operator made is watched, and of the children only the metadata.
        let managed = || Config::default().labels(MANAGED_SELECTOR);
        let client = || client.clone();
        Self {
            agents: Watch::new(scope.api(client()), Config::default(), |_| {}),
            providers: Watch::new(scope.api(client()), Config::default(), |_| {}),
            pods: Watch::new(scope.api(client()), managed(), pods::prune),
            namespaces: (*scope == Scope::Cluster)
                .then(|| Watch::new(Api::all(client()), Config::default(), prune_namespace)),
            config_maps: Watch::new(scope.api(client()), managed(), prune_child),
            service_accounts: Watch::new(scope.api(client()), managed(), prune_child),
            services: Watch::new(scope.api(client()), managed(), prune_child),
            claims: Watch::new(scope.api(client()), managed(), prune_child),
            deployments: Watch::new(scope.api(client()), managed(), prune_child),
            // Of users' ConfigMaps only their versions are kept; children are watched above.
            texts: Watch::new(scope.api(client()), Config::default().labels(FOREIGN_SELECTOR), prune_text),
        }
    }

    pub(super) fn stores(&self) -> Stores {
        let children = ChildStores {
            config_maps: self.config_maps.store.clone(),
            service_accounts: self.service_accounts.store.clone(),
            services: self.services.store.clone(),
            claims: self.claims.store.clone(),
            deployments: self.deployments.store.clone(),
        };
        let texts = self.texts.store.clone();
        Stores::new(self.agents.store.clone(), self.providers.store.clone(), self.pods.store.clone(), children, texts)
            .with_namespaces(self.namespaces.as_ref().map(|watch| watch.store.clone()))
    }

    pub(super) fn start(self, routes: &Routes, stop: &CancellationToken, tasks: &mut JoinSet<&'static str>) {
        let Self { agents, providers, pods, namespaces, config_maps, service_accounts, services, .. } = self;
        let Self { claims, deployments, texts, .. } = self;
        let mut spawn = |name, watch: BoxFuture<'static, ()>| {
            let stop = stop.clone();
            tasks.spawn(async move {
                stop.run_until_cancelled(watch).await;
                name
            });
        };
        let metrics = || Arc::clone(&routes.metrics);
        let queues = || routes.queues.clone();
        let agent_wakes = agent_wakes(Arc::clone(&routes.agents));
        let provider_wakes = provider_wakes(Arc::clone(&routes.providers));
        spawn("the watch of agents", agents.run(metrics(), queues(), agent_wakes).boxed());
        spawn("the watch of providers", providers.run(metrics(), queues(), provider_wakes).boxed());
        spawn("the watch of pods", pods.run(metrics(), queues(), pod_wakes).boxed());
        if let Some(namespaces) = namespaces {
            let wakes = namespace_wakes(routes.agents.stores.clone());
            spawn("the watch of namespaces", namespaces.run(metrics(), queues(), wakes).boxed());
        }
        spawn("the watch of config maps", config_maps.run(metrics(), queues(), child_wakes).boxed());
        spawn("the watch of service accounts", service_accounts.run(metrics(), queues(), child_wakes).boxed());
        spawn("the watch of services", services.run(metrics(), queues(), child_wakes).boxed());
        spawn("the watch of volume claims", claims.run(metrics(), queues(), child_wakes).boxed());
        spawn("the watch of deployments", deployments.run(metrics(), queues(), child_wakes).boxed());
        let wakes = text_wakes(routes.agents.stores.clone());
        spawn("the watch of users' config maps", texts.run(metrics(), queues(), wakes).boxed());
    }
}

fn prune_child<K>(child: &mut PartialObjectMeta<K>) {
    child.metadata.annotations = None;
    child.metadata.labels = None;
}

/// Of a ConfigMap only its name and version matter; its text is read by whoever needs it.
fn prune_text(config_map: &mut PartialObjectMeta<ConfigMap>) {
    prune_child(config_map);
    config_map.metadata.owner_references = None;
    config_map.metadata.finalizers = None;
}

/// Of a namespace only its labels matter.
fn prune_namespace(namespace: &mut PartialObjectMeta<Namespace>) {
    namespace.metadata.annotations = None;
}

/// An agent wakes itself and all that may call it when more than its status has changed, and the providers that it names
/// always.
fn agent_wakes(ctx: Arc<agent::Context>) -> impl FnMut(&Touched<Agent>) -> Wakes + Send {
    let mut news = AgentNews::default();
    move |touched| {
        if let Touched::Gone(agent) = touched {
            ctx.forget(agent);
        }
        news.wakes(touched, &ctx.stores)
    }
}

/// What is known of agents from what was told of them before.
#[derive(Default)]
struct AgentNews {
    seen: Seen,
    /// The providers that each has named.
    named: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl AgentNews {
    fn wakes(&mut self, touched: &Touched<Agent>, stores: &Stores) -> Wakes {
        let agent = touched.object();
        let key = ObjectKey::of(agent);
        let now = providers_of(agent);
        let mut wakes = Wakes::default();
        let before = match touched {
            Touched::Present(agent) => {
                if self.seen.has_changed(agent) {
                    wakes.agents.push(ObjectRef::from_obj(agent));
                    wakes.agents.extend(callers(stores, &key));
                }
                self.named.insert(key, now.clone())
            }
            Touched::Gone(agent) => {
                self.seen.forget(agent);
                wakes.agents.extend(callers(stores, &key));
                self.named.remove(&key)
            }
        };
        // Those that it named before have lost a user.
        let concerned = now.union(before.as_ref().unwrap_or(&now));
        wakes.providers.extend(concerned.map(|provider| reference(&provider.name, &provider.namespace)));
        wakes
    }
}

/// Those whose documents may say something else now that an agent has changed.
fn callers(stores: &Stores, key: &ObjectKey) -> impl Iterator<Item = ObjectRef<Agent>> {
    stores.callers(key).into_iter().map(|caller| reference(&caller.name, &caller.namespace))
}

/// A provider wakes itself and every agent that names it, when more than its status has changed.
fn provider_wakes(ctx: Arc<provider::Context>) -> impl FnMut(&Touched<Provider>) -> Wakes + Send {
    let mut seen = Seen::default();
    move |touched| {
        let mut wakes = Wakes::default();
        match touched {
            Touched::Present(provider) if seen.has_changed(provider) => {
                wakes.providers.push(ObjectRef::from_obj(provider));
            }
            Touched::Present(_) => return wakes,
            Touched::Gone(provider) => {
                seen.forget(provider);
                ctx.forget(provider);
            }
        }
        let naming = ctx.stores.naming(&ObjectKey::of(touched.object()));
        wakes.agents.extend(naming.iter().map(|agent| reference(&agent.name, &agent.namespace)));
        wakes
    }
}

/// Labels of a namespace decide whose providers its agents may use: both are woken when they change.
fn namespace_wakes(stores: Stores) -> impl FnMut(&Touched<PartialObjectMeta<Namespace>>) -> Wakes + Send {
    let mut seen = Seen::default();
    move |touched| {
        let mut wakes = Wakes::default();
        let namespace = touched.object();
        match touched {
            Touched::Present(_) if !seen.has_changed(namespace) => return wakes,
            Touched::Present(_) => {}
            Touched::Gone(_) => seen.forget(namespace),
        }
        let name = namespace.name_any();
        let agents = stores.agents.state_filter(|agent| agent.metadata.namespace.as_ref() == Some(&name));
        for agent in agents {
            let foreign = providers_of(&agent).into_iter().filter(|provider| provider.namespace != name);
            let before = wakes.providers.len();
            wakes.providers.extend(foreign.map(|provider| reference(&provider.name, &provider.namespace)));
            if wakes.providers.len() > before {
                wakes.agents.push(ObjectRef::from_obj(agent.as_ref()));
            }
        }
        wakes
    }
}

/// A pod wakes the agent that its label names.
fn pod_wakes(touched: &Touched<Pod>) -> Wakes {
    let pod = touched.object();
    let agent = pod.labels().get(AGENT_LABEL).zip(pod.metadata.namespace.as_deref());
    Wakes {
        agents: agent.map(|(name, namespace)| reference(name, namespace)).into_iter().collect(),
        providers: Vec::new(),
    }
}

/// A ConfigMap wakes the agents that read it.
fn text_wakes(stores: Stores) -> impl FnMut(&Touched<PartialObjectMeta<ConfigMap>>) -> Wakes + Send {
    move |touched| {
        let reading = stores.reading(&ObjectKey::of(touched.object()));
        Wakes {
            agents: reading.iter().map(|agent| ObjectRef::from_obj(agent.as_ref())).collect(),
            providers: Vec::new(),
        }
    }
}

/// A child wakes its agent, whose name is in its own: labels and owner references are what somebody may have removed.
fn child_wakes<K>(touched: &Touched<PartialObjectMeta<K>>) -> Wakes {
    let meta = &touched.object().metadata;
    let agent = meta.name.as_deref().and_then(agent_of).zip(meta.namespace.as_deref());
    Wakes {
        agents: agent.map(|(name, namespace)| reference(name, namespace)).into_iter().collect(),
        providers: Vec::new(),
    }
}

fn reference<K: Resource<DynamicType = ()> + Clone + 'static>(name: &str, namespace: &str) -> ObjectRef<K> {
    ObjectRef::new(name).within(namespace)
}

/// Tells changes that matter from writes of a status.
#[derive(Default)]
struct Seen {
    hashes: HashMap<String, u64>,
}

impl Seen {
    fn has_changed(&mut self, object: &impl kube::ResourceExt) -> bool {
        let meta = object.meta();
        let mut hasher = DefaultHasher::new();
        meta.generation.hash(&mut hasher);
        object.labels().hash(&mut hasher);
        object.annotations().hash(&mut hasher);
        meta.deletion_timestamp.is_some().hash(&mut hasher);
        let hash = hasher.finish();
        self.hashes.insert(object.uid().unwrap_or_default(), hash) != Some(hash)
    }

    fn forget(&mut self, object: &impl kube::ResourceExt) {
        self.hashes.remove(&object.uid().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::agent;
    use crate::testing::known::{Known, config_map, namespace};

    fn provider(generation: i64, annotation: &str, agents: u32) -> Provider {
        serde_json::from_value(json!({
            "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider",
            "metadata": {"name": "p", "namespace": "shop", "uid": "1", "generation": generation,
                "annotations": {"a": annotation}},
            "spec": {"type": "openai_compat", "endpoint": "https://api.example.com"},
            "status": {"agents": agents},
        }))
        .unwrap()
    }

    #[test]
    fn a_write_of_the_status_wakes_nobody() {
        let mut seen = Seen::default();
        assert!(seen.has_changed(&provider(1, "x", 0)));
        assert!(!seen.has_changed(&provider(1, "x", 1)));
        assert!(seen.has_changed(&provider(2, "x", 1)));
        assert!(seen.has_changed(&provider(2, "forced", 1)));
        seen.forget(&provider(2, "forced", 1));
        assert!(seen.has_changed(&provider(2, "forced", 1)));
    }

    #[test]
    fn a_config_map_wakes_those_who_read_it() {
        let mut known = Known::nothing();
        let reading = |name: &str, config_map: &str| {
            let from = json!({"systemFrom": {"configMapKeyRef": {"name": config_map, "key": "system.md"}}});
            let mut agent = agent(json!({"prompts": from}));
            agent.metadata.name = Some(name.to_owned());
            agent
        };
        known.agent(reading("reader", "prompts"));
        known.agent(reading("other", "others"));
        known.agent(agent(json!({})));
        let mut elsewhere = reading("elsewhere", "prompts");
        elsewhere.metadata.namespace = Some("zoo".into());
        known.agent(elsewhere);
        let mut wakes = text_wakes(known.stores.clone());
        let mut woken = |touched| {
            let Wakes { agents, providers } = wakes(&touched);
            assert!(providers.is_empty());
            agents.into_iter().map(|agent| agent.name).collect::<Vec<_>>()
        };
        assert_eq!(woken(Touched::Present(config_map("prompts", 1))), ["reader"]);
        assert_eq!(woken(Touched::Gone(config_map("prompts", 1))), ["reader"]);
        assert_eq!(woken(Touched::Present(config_map("nobodys", 1))), [""; 0]);
    }

    #[test]
    fn labels_of_a_namespace_wake_those_who_reach_out_of_it() {
        let mut known = Known::nothing();
        let naming = |name: &str, reference| {
            let mut agent = agent(json!({"model": {"candidates": [{"providerRef": reference}]}}));
            agent.metadata.name = Some(name.to_owned());
            agent
        };
        known.agent(naming("borrower", json!({"name": "shared", "namespace": "models"})));
        known.agent(naming("homely", json!({"name": "own"})));
        known.agent(naming("explicit", json!({"name": "own", "namespace": "shop"})));
        let mut wakes = namespace_wakes(known.stores.clone());
        let woken = |wakes: Wakes| {
            let agents: Vec<_> = wakes.agents.into_iter().map(|agent| agent.name).collect();
            let providers: Vec<_> = wakes.providers.into_iter().map(|provider| provider.name).collect();
            (agents, providers)
        };
        let both = (vec!["borrower".to_owned()], vec!["shared".to_owned()]);
        let nobody = (Vec::new(), Vec::new());
        assert_eq!(woken(wakes(&Touched::Present(namespace("shop", "team", "a")))), both);
        assert_eq!(woken(wakes(&Touched::Present(namespace("shop", "team", "a")))), nobody, "nothing has changed");
        assert_eq!(woken(wakes(&Touched::Present(namespace("other", "team", "a")))), nobody);
        assert_eq!(woken(wakes(&Touched::Present(namespace("shop", "team", "b")))), both);
        assert_eq!(woken(wakes(&Touched::Gone(namespace("shop", "team", "b")))), both);
    }

    #[test]
    fn an_agent_wakes_whoever_may_call_it_when_it_comes_changes_or_goes() {
        let mut known = Known::nothing();
        let one = |name: &str, called: Option<&str>, generation: i64| {
            let tool = |name| json!([{"name": "t", "type": "agent", "agent": {"agentRef": {"name": name}}}]);
            let mut agent = agent(json!({"tools": called.map_or_else(|| json!([]), tool)}));
            agent.metadata.name = Some(name.to_owned());
            agent.metadata.uid = Some(name.to_owned());
            agent.metadata.generation = Some(generation);
            agent
        };
        known.agent(one("lead", Some("writer"), 1));
        known.agent(one("writer", Some("editor"), 1));
        let mut news = AgentNews::default();
        let mut woken = |touched: &Touched<Agent>| -> Vec<String> {
            news.wakes(touched, &known.stores).agents.into_iter().map(|agent| agent.name).collect()
        };
        let nobody = Vec::<String>::new();
        let present = |generation| Touched::Present(one("editor", None, generation));
        assert_eq!(woken(&present(1)), ["editor", "lead", "writer"], "it has come");
        assert_eq!(woken(&present(1)), nobody, "its status alone has changed");
        assert_eq!(woken(&present(2)), ["editor", "lead", "writer"], "it has changed");
        assert_eq!(woken(&Touched::Gone(one("editor", None, 2))), ["lead", "writer"], "it has gone");
        assert_eq!(woken(&Touched::Present(one("lead", Some("writer"), 1))), ["lead"], "nobody may call it");
    }
}
