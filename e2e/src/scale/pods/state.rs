//! What a pod that has loaded a ConfigMap says of itself.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const DOCUMENT: &str = "document.json";
const TRUST: &str = "trust.json";
const OPERATOR: &str = "operator.json";

/// A loaded ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    /// The state, as JSON.
    pub(super) body: String,
    /// Its entity tag.
    pub(super) etag: String,
    /// Where to tell of a change, if anywhere.
    pub(super) operator: Option<String>,
}

impl Served {
    /// `None` for a ConfigMap that holds no document.
    pub(super) fn of(map: &ConfigMap) -> Option<Self> {
        let data = map.data.as_ref()?;
        let text = data.get(DOCUMENT)?;
        let document: Value = serde_json::from_str(text).ok()?;
        let trust = data.get(TRUST).map(|trust| sha256(trust));
        let body = json!({
            "revision": sha256(text),
            "loadedAt": "2026-01-01T00:00:00Z",
            "trust": trust,
            "agents": agents(&document),
            "providers": providers(&document),
            "endpoints": endpoints(&document),
            "secrets": [],
        })
        .to_string();
        let etag = format!("\"{}\"", sha256(&body));
        Some(Self { body, etag, operator: data.get(OPERATOR).cloned() })
    }
}

/// The revision of a document, as everybody computes it.
pub(crate) fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

fn agents(document: &Value) -> Vec<Value> {
    let agents = document["agents"].as_object().into_iter().flatten();
    agents.map(|(name, agent)| json!({"name": name, "namespace": agent["namespace"], "status": "ready"})).collect()
}

fn candidates(document: &Value) -> BTreeSet<(&str, &str)> {
    let agents = document["agents"].as_object().into_iter().flatten();
    let candidates = agents.flat_map(|(_, agent)| agent["model"]["candidates"].as_array().into_iter().flatten());
    candidates.filter_map(|one| Some((one["provider"].as_str()?, one["model"].as_str()?))).collect()
}

fn providers(document: &Value) -> Vec<Value> {
    let named = candidates(document).into_iter().filter_map(|(key, model)| Some((key.split_once('/')?, model)));
    named
        .map(|((namespace, name), model)| {
            json!({"namespace": namespace, "name": name, "model": model, "circuit": "closed"})
        })
        .collect()
}

/// Every server answers, and offers the models that are asked of it.
fn endpoints(document: &Value) -> Vec<Value> {
    let candidates = candidates(document);
    let keys: BTreeSet<&str> = candidates.iter().map(|(key, _)| *key).collect();
    let models = |key| candidates.iter().filter(|(of, _)| *of == key).map(|(_, model)| *model).collect::<Vec<_>>();
    keys.into_iter()
        .filter_map(|key| {
            let (namespace, name) = key.split_once('/')?;
            Some(json!({"namespace": namespace, "name": name, "reachable": true, "models": models(key)}))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map(document: &Value) -> ConfigMap {
        serde_json::from_value(json!({"data": {DOCUMENT: document.to_string(), TRUST: "{}"}})).unwrap()
    }

    #[test]
    fn a_pod_says_what_its_files_hold() {
        let candidate = json!({"provider": "scale-providers/shared", "model": "scripted"});
        let document = json!({"agents": {"a": {"namespace": "n", "model": {"candidates": [candidate]}}}});
        let served = Served::of(&config_map(&document)).unwrap();
        let state: Value = serde_json::from_str(&served.body).unwrap();
        assert_eq!(state["revision"], sha256(&document.to_string()));
        assert_eq!(state["trust"], sha256("{}"));
        assert_eq!(state["agents"], json!([{"name": "a", "namespace": "n", "status": "ready"}]));
        let endpoint =
            json!({"namespace": "scale-providers", "name": "shared", "reachable": true, "models": ["scripted"]});
        assert_eq!(state["endpoints"], json!([endpoint]));
    }

    #[test]
    fn another_document_has_another_tag() {
        let [one, other] = ["a", "b"].map(|name| Served::of(&config_map(&json!({"agents": {name: {}}}))).unwrap());
        assert_ne!(one.etag, other.etag);
    }

    #[test]
    fn a_config_map_of_somebody_else_is_not_served() {
        assert_eq!(Served::of(&ConfigMap::default()), None);
    }
}
