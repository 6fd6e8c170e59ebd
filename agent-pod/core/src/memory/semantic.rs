//! Semantic memory: what was said in any session of an agent, found again by its meaning.

use async_trait::async_trait;
use serde::Serialize;

use super::{SessionKey, StoreError};
use crate::embedding::{Embedding, EmbeddingError, Unit};

/// The most characters of a text that is kept.
const TEXT_CHARS_MAX: usize = 2_000;

/// The most texts kept of an agent; the oldest go. A search looks at each of them, which has to
/// fit into the time that a turn waits for its memory.
pub const TEXTS_MAX: usize = 10_000;

/// A text to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    /// The text.
    pub content: String,
    /// What it means.
    pub vector: Unit,
    /// When it was said (RFC 3339).
    pub timestamp: String,
}

/// A text that was found. Its serialized form is what callers and prompts see.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The text.
    pub content: String,
    /// The cosine of the angle between its vector and the query's, from 0 to 1; what points away is 0.
    pub score: f64,
    /// The session in which it was said.
    pub session_id: String,
    /// When it was said (RFC 3339).
    pub timestamp: String,
}

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Among vectors of this space.
    pub space: &'a str,
    /// Those closest to this one.
    pub vector: &'a Unit,
    /// So many.
    pub top_k: usize,
}

/// Where texts and their vectors are kept.
#[async_trait]
pub trait SemanticStore: Send + Sync {
    /// Adds texts of a session, each in place of the same one said there before, and lets the agent's oldest beyond
    /// `texts_max` go.
    ///
    /// # Errors
    /// When the store is down.
    async fn add(&self, key: &SessionKey, space: &str, texts: Vec<Meaning>, texts_max: usize)
    -> Result<(), StoreError>;
    /// The closest texts of an agent, the best first and the newest of equals; scores are the plain cosine.
    ///
    /// # Errors
    /// When the store is down.
    async fn search(&self, agent: &str, search: Search<'_>) -> Result<Vec<Found>, StoreError>;
    /// Forgets a session's texts. Returns how many there were.
    ///
    /// # Errors
    /// When the store is down.
    async fn delete(&self, key: &SessionKey) -> Result<u64, StoreError>;
}

/// A search or a note that failed.
#[derive(Debug, thiserror::Error)]
pub enum SemanticError {
    /// There are no vectors.
    #[error(transparent)]
    Embedding(#[from] EmbeddingError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What of a text is kept, looked for and compared. PostgreSQL takes no NUL.
pub(crate) fn cut(text: &str) -> String {
    text.trim().chars().filter(|character| *character != '\0').take(TEXT_CHARS_MAX).collect()
}

/// Keeps texts that were said in a session.
pub(crate) async fn keep(
    (store, embedding): (&dyn SemanticStore, &Embedding),
    key: &SessionKey,
    texts: &[String],
    timestamp: &str,
) -> Result<(), SemanticError> {
    let texts: Vec<String> = texts.iter().map(|text| cut(text)).filter(|text| !text.is_empty()).collect();
    let vectors = embedding.vectors(&texts).await?;
    let meanings: Vec<_> = texts
        .into_iter()
        .zip(vectors)
        .filter_map(|(content, vector)| Some(Meaning { content, vector: vector?, timestamp: timestamp.to_owned() }))
        .collect();
    if meanings.is_empty() {
        return Ok(());
    }
    Ok(store.add(key, &embedding.space(), meanings, TEXTS_MAX).await?)
}

/// The texts of an agent that are close to this one.
pub(crate) async fn find(
    (store, embedding): (&dyn SemanticStore, &Embedding),
    agent: &str,
    text: &str,
    (top_k, min_score): (usize, f64),
) -> Result<Vec<Found>, SemanticError> {
    let text = cut(text);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Some(Some(vector)) = embedding.vectors(&[text]).await?.pop() else { return Ok(Vec::new()) };
    let search = Search { space: &embedding.space(), vector: &vector, top_k };
    let mut found = store.search(agent, search).await?;
    for text in &mut found {
        // Single precision leaves noise behind the sixth digit.
        text.score = (text.score.clamp(0.0, 1.0) * 1e6).round() / 1e6;
    }
    found.retain(|text| text.score >= min_score);
    Ok(found)
}
