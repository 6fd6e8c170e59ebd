//! What the agents share: Secrets and Providers, each made once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::manifest::Manifest;
use crate::names;

/// A Secret's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretKey {
    pub(crate) name: String,
    pub(crate) key: String,
}

impl SecretKey {
    /// The key that takes the place of a variable of the environment.
    pub(crate) fn of_variable(variable: &str) -> Self {
        let key = variable.chars().map(|c| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' });
        Self { name: names::label(variable, "key"), key: key.collect() }
    }

    pub(crate) fn reference(&self) -> Value {
        json!({"name": self.name, "key": self.key})
    }
}

/// How a server is called: what tells one Provider from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) provider_type: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) secret: Option<SecretKey>,
    /// The header that the credential goes in, if it is not `Authorization`.
    pub(crate) header: Option<String>,
    pub(crate) timeout: Option<String>,
}

/// A provider of `providers.yaml`.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    pub(crate) file: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) connection: Connection,
    pub(crate) models: Vec<String>,
}

#[derive(Debug)]
struct Provider {
    file: String,
    namespace: String,
    /// The name before it was made unique.
    base: String,
    name: String,
    connection: Connection,
    models: Vec<(String, Option<u64>)>,
}

/// Everything that is made, before it is settled.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    /// The providers of `providers.yaml`, by their names there.
    pub(crate) definitions: BTreeMap<String, Definition>,
    /// The names of the agents, in the order of their files: the original one, and ours.
    pub(crate) agents: Vec<(String, String)>,
    pub(crate) manifests: Vec<Manifest>,
    providers: Vec<Provider>,
    secrets: BTreeMap<(String, String), (String, Map<String, Value>)>,
}

impl Resources {
    /// Our name of an agent.
    pub(crate) fn agent(&self, original: &str) -> Option<&str> {
        self.agents.iter().find(|(name, _)| name == original).map(|(_, name)| name.as_str())
    }

    /// Adds a Secret's key; the value is empty unless it is none to keep.
    pub(crate) fn secret(&mut self, file: &str, namespace: &str, secret: &SecretKey, value: &str) {
        let id = (namespace.to_owned(), secret.name.clone());
        let (_, data) = self.secrets.entry(id).or_insert_with(|| (file.to_owned(), Map::new()));
        data.entry(secret.key.clone()).or_insert_with(|| value.into());
    }

    /// The name of the Provider for this connection, made where there is none yet.
    pub(crate) fn provider(&mut self, file: &str, namespace: &str, base: &str, connection: &Connection) -> String {
        let same = |p: &&Provider| p.namespace == namespace && p.base == base && &p.connection == connection;
        if let Some(found) = self.providers.iter().find(same) {
            return found.name.clone();
        }
        let here = self.providers.iter().filter(|provider| provider.namespace == namespace);
        let taken: BTreeSet<String> = here.map(|provider| provider.name.clone()).collect();
        let name = names::unique(base, &taken);
        if let Some(secret) = &connection.secret {
            self.secret(file, namespace, secret, "");
        }
        self.providers.push(Provider {
            file: file.to_owned(),
            namespace: namespace.to_owned(),
            base: base.to_owned(),
            name: name.clone(),
            connection: connection.clone(),
            models: Vec::new(),
        });
        name
    }

    /// Adds a model to a Provider, with the window where one is known.
    pub(crate) fn model(&mut self, namespace: &str, provider: &str, model: &str, window: Option<u64>) {
        let found = self.providers.iter_mut().find(|p| p.namespace == namespace && p.name == provider);
        let Some(provider) = found else { return };
        match provider.models.iter_mut().find(|(name, _)| name == model) {
            Some((_, known)) => *known = known.or(window),
            None => provider.models.push((model.to_owned(), window)),
        }
    }

    /// Makes the providers of `providers.yaml` that no agent uses.
    pub(crate) fn add_unused_providers(&mut self) {
        for definition in self.definitions.clone().into_values() {
            if self.providers.iter().any(|provider| provider.base == definition.name) {
                continue;
            }
            let Definition { file, namespace, name, connection, models } = definition;
            let made = self.provider(&file, &namespace, &name, &connection);
            models.iter().for_each(|model| self.model(&namespace, &made, model, None));
        }
    }

    /// Secrets, Providers and Agents, each by namespace and name.
    pub(crate) fn into_manifests(self) -> Vec<Manifest> {
        let Self { definitions: _, agents: _, manifests: mut agents, mut providers, secrets } = self;
        let secrets = secrets.into_iter().map(|((namespace, name), (source, data))| Manifest {
            source,
            object: json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata(&name, &namespace), "type": "Opaque", "stringData": data}),
        });
        providers.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        agents.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        secrets.chain(providers.into_iter().map(Provider::into_manifest)).chain(agents).collect()
    }
}

impl Provider {
    fn into_manifest(self) -> Manifest {
        let Self { file, namespace, base: _, name, connection, models } = self;
        let Connection { provider_type, endpoint, secret, header, timeout } = connection;
        let mut spec = Map::new();
        spec.insert("type".into(), provider_type.into());
        if let Some(endpoint) = endpoint {
            spec.insert("endpoint".into(), endpoint.into());
        }
        if let Some(secret) = secret {
            let mut auth = json!({"secretKeyRef": secret.reference()});
            if let Some(header) = header {
                auth["scheme"] = "header".into();
                auth["header"] = header.into();
            }
            spec.insert("auth".into(), auth);
        }
        if !models.is_empty() {
            let models = models.into_iter().map(|(name, window)| match window {
                Some(window) => json!({"name": name, "contextWindow": window}),
                None => json!({"name": name}),
            });
            spec.insert("models".into(), models.collect());
        }
        if let Some(total) = timeout {
            spec.insert("timeouts".into(), json!({"total": total}));
        }
        Manifest { source: file, object: object("Provider", &name, &namespace, spec) }
    }
}

/// `metadata` with a namespace where it is not the default one.
pub(crate) fn metadata(name: &str, namespace: &str) -> Value {
    if namespace.is_empty() { json!({"name": name}) } else { json!({"name": name, "namespace": namespace}) }
}

/// An object of ours.
pub(crate) fn object(kind: &str, name: &str, namespace: &str, spec: Map<String, Value>) -> Value {
    let version = format!("{}/{}", astromesh_crds::GROUP, astromesh_crds::VERSION);
    json!({"apiVersion": version, "kind": kind, "metadata": metadata(name, namespace), "spec": spec})
}
