//! Stores that hold what a test says.

use std::hash::Hash;

use astromesh_crds::v1alpha1::{Agent, Provider};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, Store, store};
use kube::runtime::watcher::Event;
use serde_json::json;

use crate::index::References;
use crate::names::ObjectKey;
use crate::stores::{ChildStores, Kept, NAMESPACES, Permissions, Stores, Version};
use crate::watching::{Fill, Filling};

/// The stores, and the writers of those that a test fills.
pub(crate) struct Known {
    pub(crate) stores: Stores,
    agents: Writer<Agent>,
    providers: Writer<Provider>,
    namespaces: Writer<PartialObjectMeta<Namespace>>,
    config_maps: Writer<Kept<ConfigMap, Version>>,
}

impl Known {
    pub(crate) fn nothing() -> Self {
        let (agents, agents_writer) = store();
        let (providers, providers_writer) = store();
        let (namespaces, namespaces_writer) = store();
        let (config_maps, config_maps_writer) = store();
        let children = ChildStores {
            config_maps: empty(),
            service_accounts: empty(),
            services: empty(),
            deployments: empty(),
            claims: empty(),
        };
        let stores = Stores::new(agents, providers, children, config_maps, Permissions::default())
            .with_namespaces(Some(namespaces));
        Self {
            stores,
            agents: agents_writer,
            providers: providers_writer,
            namespaces: namespaces_writer,
            config_maps: config_maps_writer,
        }
    }

    pub(crate) fn agent(&mut self, agent: Agent) {
        self.stores.index.put(&ObjectKey::of(&agent), Some(References::of(&agent)));
        self.agents.apply_watcher_event(&Event::Apply(agent));
    }

    pub(crate) fn no_agent(&mut self, agent: Agent) {
        self.stores.index.put(&ObjectKey::of(&agent), None);
        self.agents.apply_watcher_event(&Event::Delete(agent));
    }

    pub(crate) fn provider(&mut self, provider: Provider) {
        self.providers.apply_watcher_event(&Event::Apply(provider));
    }

    /// The metadata of a ConfigMap of `shop`.
    pub(crate) fn config_map(&mut self, name: &str, version: u64) {
        self.config_maps.apply_watcher_event(&Event::Apply(config_map(name, version)));
    }

    pub(crate) fn no_config_map(&mut self, name: &str) {
        self.config_maps.apply_watcher_event(&Event::Delete(config_map(name, 0)));
    }

    pub(crate) fn no_provider(&mut self, provider: Provider) {
        self.providers.apply_watcher_event(&Event::Delete(provider));
    }

    pub(crate) fn put_namespace(&mut self, namespace: PartialObjectMeta<Namespace>) {
        self.namespaces.apply_watcher_event(&Event::Apply(namespace));
    }

    /// Namespaces may not be listed, and none has been.
    pub(crate) fn no_namespaces(&mut self, why: &str) {
        self.namespaces.apply_watcher_event(&Event::Init);
        self.namespaces.apply_watcher_event(&Event::InitDone);
        let (fill, filling) = Filling::new(NAMESPACES);
        fill.send_replace(Fill::Denied(why.to_owned()));
        self.stores.permissions = Permissions::new(vec![filling]);
    }

    /// A namespace with one label beside its name.
    pub(crate) fn namespace(&mut self, name: &str, (label, value): (&str, &str)) {
        self.namespaces.apply_watcher_event(&Event::Apply(namespace(name, label, value)));
    }
}

/// A ConfigMap of `shop`.
pub(crate) fn config_map(name: &str, version: u64) -> Kept<ConfigMap, Version> {
    let metadata = serde_json::from_value(json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": version.to_string()},
    }));
    Kept::version(metadata.unwrap())
}

/// A namespace's metadata.
pub(crate) fn namespace(name: &str, label: &str, value: &str) -> PartialObjectMeta<Namespace> {
    serde_json::from_value(json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": name, "uid": name, "labels": {"kubernetes.io/metadata.name": name, label: value}},
    }))
    .unwrap()
}

fn empty<K>() -> Store<K>
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone + Default,
{
    store().0
}
