//! The manifests that tests start from.

use anyhow::Context as _;
use serde_json::{Value, json};

/// A provider of a server that is compatible with OpenAI, without credentials.
#[must_use]
pub fn provider(name: &str, endpoint: &str) -> Value {
    json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Provider", "metadata": {"name": name},
        "spec": {"type": "openai_compat", "endpoint": endpoint, "models": [{"name": "scripted"}]},
    })
}

/// The same with a bearer credential from a Secret's key.
#[must_use]
pub fn provider_with_key(name: &str, endpoint: &str, secret: &str, key: &str) -> Value {
    let auth = json!({"scheme": "bearer", "secretKeyRef": {"name": secret, "key": key}});
    with(provider(name, endpoint), "/spec/auth", auth)
}

/// An agent of one pod that stops quickly.
#[must_use]
pub fn agent(name: &str, provider: &str, system_prompt: &str) -> Value {
    json!({
        "apiVersion": "astromesh.io/v1alpha1", "kind": "Agent", "metadata": {"name": name},
        "spec": {
            "model": {"candidates": [{"providerRef": {"name": provider}}]},
            "prompts": {"system": system_prompt},
            "runtime": {"replicas": 1, "endpointDelay": "1s", "drainTimeout": "5s"},
        },
    })
}

/// A Secret of one key.
#[must_use]
pub fn secret(name: &str, key: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}})
}

/// `object` with `value` at a JSON pointer; objects on the way are made, array items must be there.
#[must_use]
pub fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let mut place = &mut object;
    for part in pointer.split('/').skip(1) {
        let key = part.replace("~1", "/").replace("~0", "~");
        place = match key.parse::<usize>() {
            Ok(index) if place.is_array() => &mut place[index],
            Ok(_) | Err(_) => &mut place[key],
        };
    }
    *place = value;
    object
}

/// A file below the root of the repository, as YAML documents.
///
/// # Errors
/// When there is no such file, or it is no YAML.
pub fn sample(path: &str) -> anyhow::Result<Vec<Value>> {
    let file = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).with_context(|| format!("failed to read `{file}`"))?;
    serde_saphyr::from_multiple(&text).with_context(|| format!("`{file}` is no YAML"))
}

/// Objects as one YAML text, for `kubectl apply -f -`.
///
/// # Errors
/// When one cannot be written.
pub fn to_yaml(objects: &[Value]) -> anyhow::Result<String> {
    let texts: Result<Vec<_>, _> = objects.iter().map(serde_saphyr::to_string).collect();
    Ok(texts?.join("\n---\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_set_where_the_pointer_says() {
        let agent = with(agent("a", "p", "x"), "/spec/model/candidates/0/model", json!("m"));
        assert_eq!(agent["spec"]["model"]["candidates"][0]["model"], "m");
        let annotated = with(agent, "/metadata/annotations/example.com~1note", json!("n"));
        assert_eq!(annotated["metadata"]["annotations"]["example.com/note"], "n");
    }

    #[test]
    fn the_quick_start_is_one_provider_and_one_agent() {
        let kinds: Vec<_> = ["provider", "agent"]
            .iter()
            .flat_map(|file| sample(&format!("config/samples/quickstart/{file}.yaml")).unwrap())
            .map(|object| object["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["Provider", "Agent"]);
    }
}
