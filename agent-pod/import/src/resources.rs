//! What the agents share: Secrets and Providers, each made once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::manifest::Manifest;
use crate::names;

/// A Secret's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    name: String,
    connection: Connection,
    models: Models,
}

/// Models in the order in which they are met, each once, with the window where one is known.
#[derive(Debug, Default)]
struct Models {
    all: Vec<(String, Option<u64>)>,
    places: BTreeMap<String, usize>,
}

impl Models {
    fn add(&mut self, model: &str, window: Option<u64>) {
        if let Some((_, known)) = self.places.get(model).and_then(|place| self.all.get_mut(*place)) {
            *known = known.or(window);
            return;
        }
        self.places.insert(model.to_owned(), self.all.len());
        self.all.push((model.to_owned(), window));
    }
}

/// The names of the agents, in the order of their files.
#[derive(Debug, Default)]
pub(crate) struct AgentNames {
    ours: Vec<String>,
    /// Ours, by the original ones.
    by_original: BTreeMap<String, String>,
}

impl AgentNames {
    /// Our name of the agent with this place.
    pub(crate) fn name(&self, index: usize) -> Option<String> {
        self.ours.get(index).cloned()
    }
}

impl FromIterator<(String, String)> for AgentNames {
    /// From the original names, and ours. Of two agents of one name, the first is meant by it.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(names: I) -> Self {
        let mut all = Self::default();
        for (original, ours) in names {
            all.ours.push(ours.clone());
            all.by_original.entry(original).or_insert(ours);
        }
        all
    }
}

/// Everything that is made, before it is settled.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    /// The providers of `providers.yaml`, by their names there.
    pub(crate) definitions: BTreeMap<String, Definition>,
    pub(crate) agents: AgentNames,
    pub(crate) manifests: Vec<Manifest>,
    /// By namespace and name.
    providers: BTreeMap<(String, String), Provider>,
    made: Made,
    secrets: BTreeMap<(String, String), (String, Map<String, Value>)>,
}

/// What has been made of Providers already.
#[derive(Debug, Default)]
struct Made {
    /// The names of Providers, by namespace, the name before it was made unique, and connection.
    names: BTreeMap<(String, String, Connection), String>,
    /// The names before they were made unique.
    bases: BTreeSet<String>,
    /// By namespace.
    taken: BTreeMap<String, names::Taken>,
    /// The Providers, by namespace and name, that have the models of a definition.
    models: BTreeSet<(String, String, String)>,
}

impl Resources {
    /// Our name of an agent.
    pub(crate) fn agent(&self, original: &str) -> Option<&str> {
        self.agents.by_original.get(original).map(String::as_str)
    }

    /// Adds a Secret's key; the value is empty unless it is none to keep.
    pub(crate) fn secret(&mut self, file: &str, namespace: &str, secret: &SecretKey, value: &str) {
        let id = (namespace.to_owned(), secret.name.clone());
        let (_, data) = self.secrets.entry(id).or_insert_with(|| (file.to_owned(), Map::new()));
        data.entry(secret.key.clone()).or_insert_with(|| value.into());
    }

    /// The name of the Provider for this connection, made where there is none yet.
    pub(crate) fn provider(&mut self, file: &str, namespace: &str, base: &str, connection: &Connection) -> String {
        let id = (namespace.to_owned(), base.to_owned(), connection.clone());
        if let Some(found) = self.made.names.get(&id) {
            return found.clone();
        }
        let name = self.made.taken.entry(namespace.to_owned()).or_default().unique(base);
        if let Some(secret) = &connection.secret {
            self.secret(file, namespace, secret, "");
        }
        let provider = Provider {
            file: file.to_owned(),
            namespace: namespace.to_owned(),
            name: name.clone(),
            connection: connection.clone(),
            models: Models::default(),
        };
        self.providers.insert((namespace.to_owned(), name.clone()), provider);
        self.made.bases.insert(base.to_owned());
        self.made.names.insert(id, name.clone());
        name
    }

    /// Adds a model to a Provider, with the window where one is known.
    pub(crate) fn model(&mut self, namespace: &str, provider: &str, model: &str, window: Option<u64>) {
        if let Some(provider) = self.providers.get_mut(&(namespace.to_owned(), provider.to_owned())) {
            provider.models.add(model, window);
        }
    }

    /// Adds the models of a provider of `providers.yaml` to a Provider, once for all that use it.
    pub(crate) fn defined_models(&mut self, namespace: &str, provider: &str, original: &str) {
        let Some(definition) = self.definitions.get(original) else { return };
        let Some(made) = self.providers.get_mut(&(namespace.to_owned(), provider.to_owned())) else { return };
        if self.made.models.insert((namespace.to_owned(), provider.to_owned(), original.to_owned())) {
            definition.models.iter().for_each(|model| made.models.add(model, None));
        }
    }

    /// Makes the providers of `providers.yaml` that no agent uses.
    pub(crate) fn add_unused_providers(&mut self) {
        for definition in self.definitions.clone().into_values() {
            if self.made.bases.contains(&definition.name) {
                continue;
            }
            let Definition { file, namespace, name, connection, models } = definition;
            let made = self.provider(&file, &namespace, &name, &connection);
            models.iter().for_each(|model| self.model(&namespace, &made, model, None));
        }
    }

    /// Secrets, Providers and Agents, each by namespace and name.
    pub(crate) fn into_manifests(self) -> Vec<Manifest> {
        let Self { definitions: _, agents: _, made: _, manifests: mut agents, providers, secrets } = self;
        let secrets = secrets.into_iter().map(|((namespace, name), (source, data))| Manifest {
            source,
            object: json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata(&name, &namespace), "type": "Opaque", "stringData": data}),
        });
        agents.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        secrets.chain(providers.into_values().map(Provider::into_manifest)).chain(agents).collect()
    }
}

impl Provider {
    fn into_manifest(self) -> Manifest {
        let Self { file, namespace, name, connection, models } = self;
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
        if !models.all.is_empty() {
            let models = models.all.into_iter().map(|(name, window)| match window {
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn many_providers_of_one_name_are_made_in_little_time() {
        let start = Instant::now();
        let mut resources = Resources::default();
        for index in 0..20_000 {
            let endpoint = Some(format!("http://h/{index}"));
            let provider_type = "ollama".to_owned();
            let connection = Connection { provider_type, endpoint, secret: None, header: None, timeout: None };
            let name = resources.provider("a.yaml", "shop", "ollama-h", &connection);
            assert_eq!(resources.provider("b.yaml", "shop", "ollama-h", &connection), name);
            resources.model("shop", &name, "m", None);
        }
        assert_eq!(resources.into_manifests().len(), 20_000);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}
