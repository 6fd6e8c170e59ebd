//! `ConfigMap` manifests: texts that agents name.

use agent_pod_config::ConfigMapTexts;
use serde_json::{Map, Value};

use super::{At, Manifests};

impl Manifests {
    pub(super) fn add_config_map(&mut self, at: At<'_>, object: &Value) {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
        let entries = |field: &str| object.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
        let mut texts = ConfigMapTexts {
            binary: entries("binaryData").into_iter().map(|(key, _)| key).collect(),
            ..<_>::default()
        };
        let data: Map<String, Value> = entries("data");
        for (key, value) in data {
            match value {
                Value::String(text) => {
                    texts.data.insert(key, text);
                }
                Value::Null => {}
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    self.report(at, &format!("data.{key}"), "must be a string; put it in quotes");
                }
            }
        }
        if self.config_maps.insert((namespace.to_owned(), at.name.to_owned()), texts).is_some() {
            let message = "there are two ConfigMaps of this name in one namespace; rename or remove one";
            self.report(at, "metadata.name", message);
        }
    }
}
