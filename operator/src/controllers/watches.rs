//! Which watch wakes which controller, for which object.

mod news;

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
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::news::{AgentNews, Seen};
use super::{agent, provider};
use crate::labels::{FOREIGN_SELECTOR, MANAGED_SELECTOR, PODS_SELECTOR};
use crate::metrics::Metrics;
use crate::names::{ObjectKey, agent_of, providers_of};
use crate::pods::Pods;
use crate::scope::Scope;
use crate::stores::{self, ChildStores, ClaimView, DeploymentView, Kept, OwnedPod, Permissions, Stores, Version};
use crate::watching::{Queues, Touched, Trigger, Wakes, Watch};

/// Every watch of one scope.
pub(super) struct Watches {
    agents: Watch<Agent>,
    providers: Watch<Provider>,
    pods: Watch<Kept<Pod, OwnedPod>>,
    namespaces: Option<Watch<PartialObjectMeta<Namespace>>>,
    config_maps: Watch<Kept<ConfigMap, Version>>,
    service_accounts: Watch<Kept<ServiceAccount, Version>>,
    services: Watch<Kept<Service, Version>>,
    claims: Watch<Kept<PersistentVolumeClaim, ClaimView>>,
    deployments: Watch<Kept<Deployment, DeploymentView>>,
    texts: Watch<Kept<ConfigMap, Version>>,
}

/// Where the watches' news go.
pub(super) struct Routes {
    pub(super) queues: Queues,
    /// Has pods asked what they serve.
    pub(super) looks: Trigger<ObjectKey>,
    pub(super) agents: Arc<agent::Context>,
    pub(super) providers: Arc<provider::Context>,
    pub(super) metrics: Arc<Metrics>,
}

impl Watches {
    pub(super) fn new(scope: &Scope, client: &Client) -> Self {
        // Only what the operator made is watched.
        let managed = || Config::default().labels(MANAGED_SELECTOR);
        // Of users' ConfigMaps only their versions are kept; children are watched beside them.
        let foreign = Config::default().labels(FOREIGN_SELECTOR);
        let of_agents = Config::default().labels(PODS_SELECTOR);
        let (all, client) = (Config::default, || client.clone());
        Self {
            agents: Watch::new(stores::AGENTS, scope.api(client()), all(), agent),
            providers: Watch::new(stores::PROVIDERS, scope.api(client()), all(), provider),
            pods: Watch::new("pods", scope.api(client()), of_agents, Kept::pod),
            namespaces: (*scope == Scope::Cluster)
                .then(|| Watch::new(stores::NAMESPACES, Api::all(client()), all(), namespace)),
            config_maps: Watch::new("configmaps", scope.api(client()), managed(), Kept::version),
            service_accounts: Watch::new("serviceaccounts", scope.api(client()), managed(), Kept::version),
            services: Watch::new("services", scope.api(client()), managed(), Kept::version),
            claims: Watch::new(stores::CLAIMS, scope.api(client()), managed(), Kept::claim),
            deployments: Watch::new("deployments.apps", scope.api(client()), managed(), Kept::deployment),
            texts: Watch::new(stores::TEXTS, scope.api(client()), foreign, Kept::version),
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
        let fillings = [&self.agents.filling, &self.providers.filling, &self.pods.filling, &self.config_maps.filling]
            .into_iter()
            .chain([&self.service_accounts.filling, &self.services.filling, &self.claims.filling])
            .chain([&self.deployments.filling, &self.texts.filling])
            .chain(self.namespaces.as_ref().map(|watch| &watch.filling));
        let permissions = Permissions::new(fillings.cloned().collect());
        let (agents, providers) = (self.agents.store.clone(), self.providers.store.clone());
        Stores::new(agents, providers, children, self.texts.store.clone(), permissions)
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
        let pod_wakes = pod_wakes(Arc::clone(&routes.agents.pods), routes.looks.clone());
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

/// Of an agent's annotations only a change matters: the last applied manifest is as long as the rest.
fn agent(mut agent: Agent) -> Agent {
    agent.metadata.managed_fields = None;
    if let Some(annotations) = &mut agent.metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    agent
}

fn provider(mut provider: Provider) -> Provider {
    provider.metadata.managed_fields = None;
    provider
}

/// Of a namespace only its labels matter, and whether it is being deleted.
fn namespace(mut namespace: PartialObjectMeta<Namespace>) -> PartialObjectMeta<Namespace> {
    (namespace.metadata.managed_fields, namespace.metadata.annotations) = (None, None);
    namespace
}

/// An agent wakes itself and all that may call it when more than its status has changed, itself when somebody else has written its
/// status, and the providers that it names always.
fn agent_wakes(ctx: Arc<agent::Context>) -> impl FnMut(&Touched<Agent>) -> Wakes + Send {
    let mut news = AgentNews::default();
    move |touched| {
        let mut seen = Vec::new();
        match touched {
            Touched::Present(agent) if ctx.statuses.shown(agent) => seen.push(ObjectRef::from_obj(agent)),
            Touched::Present(_) => {}
            Touched::Gone(agent) => ctx.forget(agent),
        }
        Wakes { seen, ..news.wakes(touched, &ctx.stores.index) }
    }
}

/// A provider wakes itself and every agent that names it, when more than its status has changed; itself also when somebody else has
/// written its status.
fn provider_wakes(ctx: Arc<provider::Context>) -> impl FnMut(&Touched<Provider>) -> Wakes + Send {
    let mut seen = Seen::default();
    move |touched| {
        let mut wakes = Wakes::default();
        if let Touched::Present(provider) = touched
            && ctx.statuses.shown(provider)
        {
            wakes.providers.push(ObjectRef::from_obj(provider));
        }
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
        let naming = ctx.stores.index.naming(&ObjectKey::of(touched.object()));
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

/// A pod wakes its agent when what matters of it has changed, and is asked what it serves when it has come up.
fn pod_wakes(pods: Arc<Pods>, looks: Trigger<ObjectKey>) -> impl FnMut(&Touched<Kept<Pod, OwnedPod>>) -> Wakes + Send {
    move |touched| {
        let Kept { key, value: OwnedPod { agent, view }, .. } = touched.object();
        let before = pods.get(key).map(|report| report.pod);
        let view = view.as_ref().filter(|_| agent.is_some() && matches!(touched, Touched::Present(_)));
        match (view, agent) {
            (Some(view), Some(agent)) => {
                if pods.seen(agent, view.clone(), Instant::now()) {
                    looks.send(key.clone());
                }
            }
            _ => pods.gone(key),
        }
        if before.as_ref() == view {
            return Wakes::default();
        }
        let seen = agent.iter().map(|agent| reference(&agent.name, &agent.namespace)).collect();
        Wakes { seen, ..Wakes::default() }
    }
}

/// A ConfigMap wakes the agents that read it.
fn text_wakes(stores: Stores) -> impl FnMut(&Touched<Kept<ConfigMap, Version>>) -> Wakes + Send {
    move |touched| {
        let reading = stores.index.reading(&touched.object().key);
        let agents = reading.iter().map(|agent| reference(&agent.name, &agent.namespace)).collect();
        Wakes { agents, ..Wakes::default() }
    }
}

/// A child wakes its agent, whose name is in its own: labels and owner references are what somebody may have removed.
fn child_wakes<R, V>(touched: &Touched<Kept<R, V>>) -> Wakes {
    let key = &touched.object().key;
    let seen = agent_of(&key.name).map(|agent| reference(agent, &key.namespace)).into_iter().collect();
    Wakes { seen, ..Wakes::default() }
}

fn reference<K: Resource<DynamicType = ()> + Clone + 'static>(name: &str, namespace: &str) -> ObjectRef<K> {
    ObjectRef::new(name).within(namespace)
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
            let Wakes { agents, seen, providers } = wakes(&touched);
            assert!(seen.is_empty() && providers.is_empty());
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
            news.wakes(touched, &known.stores.index).agents.into_iter().map(|agent| agent.name).collect()
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
