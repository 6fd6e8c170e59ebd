//! The bodies of both protocols.

use agent_pod_core::model::ModelError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::EmbeddingsProtocol;
use crate::model::error::malformed;

/// What is sent.
#[must_use]
pub fn request(model: &str, texts: &[String]) -> Value {
    // Both take a list under the same name.
    json!({"model": model, "input": texts})
}

/// The vectors in the order of their texts.
///
/// # Errors
/// When it is no answer of this protocol.
pub fn vectors(protocol: EmbeddingsProtocol, body: &[u8]) -> Result<Vec<Vec<f32>>, ModelError> {
    match protocol {
        EmbeddingsProtocol::OpenAi => of_openai(body),
        EmbeddingsProtocol::Ollama => {
            let answer: Ollama = serde_json::from_slice(body).map_err(|_| malformed("no embeddings in the reply"))?;
            Ok(answer.embeddings)
        }
    }
}

fn of_openai(body: &[u8]) -> Result<Vec<Vec<f32>>, ModelError> {
    let mut answer: OpenAi = serde_json::from_slice(body).map_err(|_| malformed("no embeddings in the reply"))?;
    // The index says which text is meant; servers that leave it out keep the order.
    answer.data.sort_by_key(|item| item.index.unwrap_or_default());
    Ok(answer.data.into_iter().map(|item| item.embedding).collect())
}

#[derive(Deserialize)]
struct OpenAi {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    index: Option<u64>,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Ollama {
    embeddings: Vec<Vec<f32>>,
}
