//! `ConfigMap` manifests: texts that agents name.

use std::collections::BTreeMap;

use agent_pod_config::{ConfigMapTexts, ConfigMaps};
use astromesh_crds::manifest::excerpt;
use serde_json::{Map, Value};

use super::{At, ManifestProblem, Manifests};

/// What `ConfigMap` manifests hold, and where they stand.
#[derive(Clone, Debug, Default)]
pub struct FoundConfigMaps {
    /// By namespace and name.
    pub maps: ConfigMaps,
    /// Their files.
    pub(super) files: BTreeMap<(String, String), String>,
}

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
                    self.report(at, &format!("data.{}", excerpt(&key)), "must be a string; put it in quotes");
                }
            }
        }
        self.put_config_map(at.file, (namespace.to_owned(), at.name.to_owned()), texts);
    }

    pub(super) fn put_config_map(&mut self, file: &str, id: (String, String), texts: ConfigMapTexts) {
        self.config_maps.files.insert(id.clone(), file.to_owned());
        let name = id.1.clone();
        if self.config_maps.maps.insert(id, texts).is_some() {
            self.problems.push(ManifestProblem {
                file: file.to_owned(),
                kind: "ConfigMap".to_owned(),
                name,
                path: "metadata.name".to_owned(),
                message: "there are two ConfigMaps of this name in one namespace; rename or remove one".to_owned(),
            });
        }
    }
}
