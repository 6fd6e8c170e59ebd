//! What an agent remembers.

use serde_json::{Map, Value, json};

use super::Context;
use crate::names;
use crate::provider::credential;
use crate::resources::SecretKey;
use crate::section::Section;

pub(super) fn convert(mut section: Section<'_>, context: &mut Context<'_>) -> Option<Value> {
    let mut made = Map::new();
    if let Some(conversational) = section.section("conversational") {
        made.insert("conversational".into(), convert_conversational(conversational, context));
    }
    if let Some(semantic) = section.section("semantic") {
        made.insert("semantic".into(), convert_semantic(semantic, context));
    }
    if let Some(mut episodic) = section.section("episodic") {
        let backend = episodic.text("backend").unwrap_or_else(|| "postgres".to_owned());
        let mut part = json!({"backend": backend});
        connection(&mut episodic, context, "episodic", &backend, &mut part);
        made.insert("episodic".into(), part);
    }
    (!made.is_empty()).then_some(Value::Object(made))
}

fn convert_conversational(mut section: Section<'_>, context: &mut Context<'_>) -> Value {
    let backend = section.text("backend").unwrap_or_else(|| "redis".to_owned());
    let backend = if backend == "memory" { "in_memory".to_owned() } else { backend };
    let mut made = json!({"backend": backend});
    if let Some(strategy) = section.text("strategy") {
        made["strategy"] = strategy.into();
    }
    for key in ["max_turns", "max_messages", "window_size"] {
        if let Some(turns) = section.integer(key) {
            section.remark(key, "counts whole turns now, a question with its answer; the original counted messages");
            made["maxTurns"] = turns.into();
            break;
        }
    }
    if let Some(ttl) = section.seconds("ttl") {
        made["ttl"] = ttl.into();
    }
    connection(&mut section, context, "conversational", &backend, &mut made);
    made
}

fn convert_semantic(mut section: Section<'_>, context: &mut Context<'_>) -> Value {
    let written = section.text("backend").unwrap_or_default();
    let backend = match written.as_str() {
        "chromadb" => "chroma",
        "faiss" => {
            section.remark(
                "backend",
                "faiss is `embedded` now: the pod keeps the vectors itself; those that exist stay behind",
            );
            "embedded"
        }
        other => other,
    };
    let mut made = json!({"backend": backend});
    section.refuse("path", "the files stay behind; the pod keeps its own");
    if let Some(results) = section.integer("max_results") {
        made["topK"] = results.into();
    }
    if let Some(score) = section.take("similarity_threshold") {
        made["minScore"] = score;
    }
    let dimension = section.integer("dimension");
    if let Some(mut embeddings) = section.section("embeddings") {
        let provider = match embeddings.text("provider").as_deref() {
            Some("hf") => "huggingface".to_owned(),
            Some("sentence_transformer") => "sentence_transformers".to_owned(),
            Some("openai" | "openai-compat") => "openai_compat".to_owned(),
            other => other.unwrap_or("ollama").to_owned(),
        };
        let mut part = json!({"provider": provider});
        for key in ["model", "endpoint"] {
            if let Some(text) = embeddings.text(key) {
                part[key] = text.into();
            }
        }
        if let Some(secret) = credential(&mut embeddings, &format!("{}-embeddings", context.name)) {
            context.resources.secret(context.file, context.namespace, &secret, "");
            part["auth"] = json!({"secretKeyRef": secret.reference()});
        }
        if let Some(dimension) = dimension {
            part["dimension"] = dimension.into();
        }
        made["embeddings"] = part;
    } else if dimension.is_some() {
        section.remark("dimension", "belongs to embeddings, which are missing; left out");
    }
    connection(&mut section, context, "semantic", backend, &mut made);
    made
}

/// The server of a store: its URL is in a Secret.
fn connection(section: &mut Section<'_>, context: &mut Context<'_>, part: &str, backend: &str, made: &mut Value) {
    let written = section.section("connection").map(|mut connection| (connection.text("url"), connection.at("url")));
    if !["redis", "postgres", "pgvector", "chroma", "qdrant"].contains(&backend) {
        if let Some((Some(_), path)) = written {
            section.report.remark(section.file, &path, format!("the backend {backend} has no server; left out"));
        }
        return;
    }
    let secret = SecretKey { name: names::label(&format!("{}-{part}", context.name), part), key: "url".to_owned() };
    let url = written.and_then(|(url, _)| url).unwrap_or_default();
    // Nothing of a URL that may hold a password is carried over.
    let plain = !url.is_empty() && !url.contains(['@', '?', '$']);
    let message = if plain {
        format!("is in the Secret `{}` now", secret.name)
    } else {
        format!("may hold a password or is missing; fill in the key `url` of the Secret `{}`", secret.name)
    };
    section.remark("connection.url", message);
    context.resources.secret(context.file, context.namespace, &secret, if plain { &url } else { "" });
    made["connection"] = json!({"secretKeyRef": secret.reference()});
}
