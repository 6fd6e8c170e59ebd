//! The texts that agents name in ConfigMaps of their namespace.
//!
//! The watch keeps the name and version of every ConfigMap, never what is in it. The one text that an agent names is read
//! by its name, once per version, and kept per agent.

use std::collections::BTreeMap;

use agent_pod_config::{ConfigMapTexts, ConfigMaps};
use astromesh_crds::v1alpha1::Agent;
use dashmap::DashMap;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use crate::applier::CALL_TIMEOUT;
use crate::names::{ObjectKey, config_map_of};
use crate::stores::Stores;

/// Why a text could not be read. That there is none is no error.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The operator may not read it.
    #[error("the operator may not read ConfigMaps: {0}")]
    Denied(String),
    /// The API server refused, or could not be asked.
    #[error("failed to read ConfigMap `{name}`")]
    Read {
        /// Which one.
        name: String,
        /// Why.
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("the API server did not answer with ConfigMap `{0}` in time")]
    Timeout(String),
}

/// Reads texts, and keeps what each agent named last.
pub struct Texts {
    client: Client,
    read: DashMap<ObjectKey, Kept>,
}

/// What an agent has read.
struct Kept {
    config_map: ObjectKey,
    key: String,
    version: String,
    texts: ConfigMapTexts,
}

impl Texts {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, read: DashMap::new() }
    }

    /// What the agent names, as far as it exists.
    ///
    /// # Errors
    /// See [`TextError`].
    pub async fn of(&self, agent: &Agent, stores: &Stores) -> Result<ConfigMaps, TextError> {
        let reader = ObjectKey::of(agent);
        let Some((config_map, key)) = config_map_of(agent) else {
            self.forget(&reader);
            return Ok(ConfigMaps::new());
        };
        let Some(version) = stores.config_map(&config_map) else { return Ok(ConfigMaps::new()) };
        if let Some(kept) = self.read.get(&reader)
            && (&kept.config_map, kept.key.as_str(), &kept.version) == (&config_map, key, &version)
        {
            return Ok(one(&config_map, kept.texts.clone()));
        }
        let Some(read) = self.get(&config_map).await? else { return Ok(ConfigMaps::new()) };
        let texts = only(key, &read);
        // One that is newer than the watch has told is read again when it does.
        let version = read.metadata.resource_version.unwrap_or_default();
        let kept = Kept { config_map: config_map.clone(), key: key.to_owned(), version, texts: texts.clone() };
        self.read.insert(reader, kept);
        Ok(one(&config_map, texts))
    }

    /// Forgets an agent that is gone.
    pub fn forget(&self, agent: &ObjectKey) {
        self.read.remove(agent);
    }

    async fn get(&self, config_map: &ObjectKey) -> Result<Option<ConfigMap>, TextError> {
        let name = &config_map.name;
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &config_map.namespace);
        match tokio::time::timeout(CALL_TIMEOUT, api.get_opt(name)).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(TextError::Denied(status.message.clone())),
            Ok(Err(source)) => Err(TextError::Read { name: name.clone(), source: Box::new(source) }),
            Err(_elapsed) => Err(TextError::Timeout(name.clone())),
        }
    }
}

fn one(config_map: &ObjectKey, texts: ConfigMapTexts) -> ConfigMaps {
    ConfigMaps::from([((config_map.namespace.clone(), config_map.name.clone()), texts)])
}

/// Only the named key is kept.
fn only(key: &str, read: &ConfigMap) -> ConfigMapTexts {
    let text = read.data.as_ref().and_then(|data| data.get_key_value(key));
    let binary = read.binary_data.as_ref().is_some_and(|data| data.contains_key(key));
    ConfigMapTexts {
        data: text.map(|(key, text)| (key.clone(), text.clone())).into_iter().collect::<BTreeMap<_, _>>(),
        binary: binary.then(|| key.to_owned()).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::fake_api::FakeApi;
    use crate::testing::known::Known;

    const PATH: &str = "/api/v1/namespaces/shop/configmaps/prompts";

    struct World {
        api: FakeApi,
        known: Known,
        texts: Texts,
        agent: Agent,
    }

    impl World {
        async fn with(version: u64, content: Value) -> Self {
            let api = FakeApi::start().await;
            let from = json!({"systemFrom": {"configMapKeyRef": {"name": "prompts", "key": "system.md"}}});
            let agent = crate::testing::agent(json!({"prompts": from}));
            let texts = Texts::new(api.client.clone());
            let mut world = Self { api, known: Known::nothing(), texts, agent };
            world.edit(version, content);
            world
        }

        fn edit(&mut self, version: u64, content: Value) {
            self.serve(version, content);
            self.known.config_map("prompts", version);
        }

        /// The API server has it; the watch has not told yet.
        fn serve(&self, version: u64, mut content: Value) {
            content["metadata"] =
                json!({"name": "prompts", "namespace": "shop", "resourceVersion": version.to_string()});
            self.api.cluster.lock().unwrap().objects.insert(PATH.to_owned(), content);
        }

        async fn read(&self) -> Option<ConfigMapTexts> {
            let read = self.texts.of(&self.agent, &self.known.stores).await.unwrap();
            read.into_values().next()
        }

        fn calls(&self) -> usize {
            self.api.cluster.lock().unwrap().reads
        }
    }

    fn texts(text: &str) -> ConfigMapTexts {
        ConfigMapTexts {
            data: BTreeMap::from([("system.md".to_owned(), text.to_owned())]),
            ..ConfigMapTexts::default()
        }
    }

    #[tokio::test]
    async fn a_version_is_read_once_and_only_the_named_key_is_kept() {
        let mut world = World::with(1, json!({"data": {"system.md": "one", "other": "x"}})).await;
        for _pass in 0..10 {
            assert_eq!(world.read().await, Some(texts("one")));
        }
        assert_eq!(world.calls(), 1);
        world.edit(2, json!({"data": {"system.md": "two"}}));
        assert_eq!((world.read().await, world.read().await), (Some(texts("two")), Some(texts("two"))));
        assert_eq!(world.calls(), 2);
    }

    #[tokio::test]
    async fn what_the_watch_has_not_told_of_is_read_again_until_it_has() {
        let mut world = World::with(1, json!({"data": {"system.md": "one"}})).await;
        world.serve(2, json!({"data": {"system.md": "two"}}));
        assert_eq!((world.read().await, world.read().await), (Some(texts("two")), Some(texts("two"))));
        world.known.config_map("prompts", 2);
        world.read().await;
        assert_eq!(world.calls(), 2, "from now on what was read is known to be the newest");
    }

    #[tokio::test]
    async fn one_that_is_not_there_is_not_asked_for() {
        let mut world = World::with(1, json!({"binaryData": {"system.md": "AA=="}})).await;
        assert!(world.read().await.unwrap().binary.contains("system.md"));
        world.known.no_config_map("prompts");
        assert_eq!(world.read().await, None);
        assert_eq!(world.calls(), 1);
        world.known.config_map("prompts", 3);
        world.api.cluster.lock().unwrap().objects.clear();
        assert_eq!(world.read().await, None, "it has gone in the same moment");
        world.agent = crate::testing::agent(json!({}));
        assert_eq!((world.read().await, world.calls()), (None, 2));
        assert!(world.texts.read.is_empty(), "an agent that names none any more keeps none");
    }
}
