//! `providers.yaml`: servers of models.

use crate::names;
use crate::read::Document;
use crate::report::Report;
use crate::resources::{Connection, Definition, Resources, SecretKey};
use crate::section::Section;

const NO_EFFECT: &str = "had no effect in the original; left out";

/// The type of ours for one of the original; else why there is none.
pub(crate) fn provider_type(original: &str) -> Result<&'static str, &'static str> {
    match original {
        "openai_compat" | "openai-compat" | "openai" | "azure_openai" => Ok("openai_compat"),
        "ollama" => Ok("ollama"),
        "vllm" => Ok("vllm"),
        "llamacpp" => Ok("llamacpp"),
        "hf_tgi" | "huggingface" | "hf" => Ok("hf_tgi"),
        "onnx" => Ok("onnx"),
        "litellm" => Err(
            "litellm is a library of the original, not a server; run a LiteLLM proxy, or name the vendor's endpoint, with type openai_compat",
        ),
        "centinela" => Err("centinela has no counterpart; a classifier can be called as a webhook tool"),
        _ => Err("is not a provider type of the original; name the server's endpoint with type openai_compat"),
    }
}

/// How the server is called, from the fields that providers and candidates share.
pub(crate) fn connection(section: &mut Section<'_>, original_type: &str, kind: &str, owner: &str) -> Connection {
    let endpoint = section.text("endpoint").map(|endpoint| endpoint.trim_end_matches('/').to_owned());
    let mut secret = credential(section, owner);
    if kind == "openai_compat" && secret.is_none() {
        let vendor = endpoint.as_deref().is_none_or(|endpoint| endpoint.starts_with("https://api.openai.com"));
        if vendor {
            let message = "is not named, so the original took OPENAI_API_KEY; fill in the Secret `openai-api-key`";
            section.remark("api_key_env", message);
            secret = Some(SecretKey::of_variable("OPENAI_API_KEY"));
        } else {
            let message =
                "is not named: no credential is sent; set spec.auth of the Provider where its server asks for one";
            section.remark("api_key_env", message);
        }
    }
    let azure = original_type == "azure_openai";
    if azure {
        section.remark(
            "",
            "Azure takes its key in the header api-key, and needs its api-version in the endpoint; check it",
        );
    }
    let header = (azure && secret.is_some()).then(|| "api-key".to_owned());
    Connection { provider_type: kind.to_owned(), endpoint, secret, header, timeout: section.seconds("timeout") }
}

/// The Secret's key that takes the place of a credential. Its value is never carried over.
pub(crate) fn credential(section: &mut Section<'_>, owner: &str) -> Option<SecretKey> {
    let variable = section.text("api_key_env").filter(|name| !name.is_empty());
    let literal = section.text("api_key").filter(|key| !key.is_empty());
    if let Some(variable) = variable {
        if literal.is_some() {
            section.remark("api_key", "stands beside api_key_env, which is used; left out");
        }
        let secret = SecretKey::of_variable(&variable);
        let message = format!("fill in the key `{}` of the Secret `{}`", secret.key, secret.name);
        section.remark("api_key_env", message);
        return Some(secret);
    }
    let literal = literal?;
    let inner = literal.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let secret = match inner {
        Some(variable) => SecretKey::of_variable(variable),
        None => SecretKey { name: names::label(&format!("{owner}-key"), "key"), key: "api-key".to_owned() },
    };
    let message =
        format!("is not carried over as it stands; fill in the key `{}` of the Secret `{}`", secret.key, secret.name);
    section.remark("api_key", message);
    Some(secret)
}

/// Reads the providers of a file; those of a later file take the place of earlier ones.
pub(crate) fn define(document: &Document, report: &Report, resources: &mut Resources) {
    let Some(mut root) = document.section(report) else { return };
    root.take("kind");
    header(&mut root);
    let namespace = root.section("metadata").map(|mut metadata| {
        metadata.take_any(&["name"]);
        metadata.refuse_all(&["version", "labels"], "belongs to the file, not to a provider; left out");
        namespace(&mut metadata)
    });
    let Some(mut spec) = root.section("spec") else { return };
    if let Some(mut providers) = spec.section("providers") {
        for name in providers.keys() {
            let Some(section) = providers.section(&name) else { continue };
            let Some(definition) = definition(section, &name, namespace.clone().unwrap_or_default()) else { continue };
            if let Some(earlier) = resources.definitions.insert(name.clone(), definition) {
                let path = format!("spec.providers.{name}");
                report.remark(&earlier.file, &path, format!("replaced by {}", document.file));
            }
        }
    }
    if let Some(mut routing) = spec.section("routing") {
        routing.refuse("default_strategy", &format!("{NO_EFFECT}; set model.strategy of each Agent"));
        routing.refuse("fallback_enabled", &format!("{NO_EFFECT}; the next candidate is always tried"));
        routing.refuse("circuit_breaker", &format!("{NO_EFFECT}; set spec.circuitBreaker of each Provider"));
    }
}

fn definition(mut section: Section<'_>, name: &str, namespace: String) -> Option<Definition> {
    let original_type = section.text("type").unwrap_or_else(|| "openai_compat".to_owned());
    let kind = match provider_type(&original_type) {
        Ok(kind) => kind,
        Err(why) => {
            section.remark("type", format!("`{original_type}`: {why}; the provider is left out"));
            section.take_all();
            return None;
        }
    };
    let clean = names::label(name, "provider");
    if clean != name {
        section.remark("", format!("is called `{clean}` now"));
    }
    let connection = connection(&mut section, &original_type, kind, &clean);
    let models = section.texts("models");
    section.refuse("health_check_interval", NO_EFFECT);
    section.refuse_all(&["endpoint_name", "contract"], "belongs to centinela, which has no counterpart; left out");
    Some(Definition { file: section.file.to_owned(), namespace, name: clean, connection, models })
}

/// The header that every file has.
pub(crate) fn header(root: &mut Section<'_>) {
    if let Some(version) = root.text("apiVersion")
        && !["astromesh/v1", "astromech/v1"].contains(&version.as_str())
    {
        root.remark("apiVersion", format!("`{version}` is none of the original's; read as astromesh/v1"));
    }
}

/// A namespace of ours; empty for the default one, which is left to `kubectl apply`.
pub(crate) fn namespace(metadata: &mut Section<'_>) -> String {
    let Some(written) = metadata.text("namespace") else { return String::new() };
    let clean = names::label(&written, "default");
    if clean != written {
        metadata.remark("namespace", format!("is `{clean}` now, as Kubernetes wants names"));
    }
    if clean == "default" { String::new() } else { clean }
}
