//! The bodies of both protocols.

use std::fmt;
use std::marker::PhantomData;

use agent_pod_core::model::ModelError;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
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
            Ok(answer.embeddings.0)
        }
    }
}

fn of_openai(body: &[u8]) -> Result<Vec<Vec<f32>>, ModelError> {
    let mut answer: OpenAi = serde_json::from_slice(body).map_err(|_| malformed("no embeddings in the reply"))?;
    // The index says which text is meant; servers that leave it out keep the order.
    answer.data.0.sort_by_key(|item| item.index.unwrap_or_default());
    Ok(answer.data.0.into_iter().map(|item| item.embedding).collect())
}

#[derive(Deserialize)]
struct OpenAi {
    data: List<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    index: Option<u64>,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Ollama {
    embeddings: List<Vec<f32>>,
}

/// The most vectors of a reply: more texts than are ever sent at once. Empty ones would else take eight times their bytes.
const VECTORS_MAX: usize = 4_096;

struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of vectors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == VECTORS_MAX {
                return Err(A::Error::custom("too many vectors"));
            }
            list.push(item);
        }
        Ok(List(list))
    }
}
