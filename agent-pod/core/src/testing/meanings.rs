//! Texts by their meaning in a table, and a model to which a text means the words that it knows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::embedding::{Embedder, Embedding, Pace};
use crate::memory::semantic::{Found, Meaning, Search, SemanticStore};
use crate::memory::{SessionKey, StoreError};
use crate::model::{ModelError, ModelErrorKind};

/// A text with its session and its space.
type Kept = (SessionKey, String, Meaning);

/// Keeps everything, or is down.
#[derive(Default)]
pub struct TableMeanings {
    texts: Mutex<Vec<Kept>>,
    down: Mutex<bool>,
}

impl TableMeanings {
    /// Every call fails from now on.
    pub fn go_down(&self) {
        *hold(&self.down) = true;
    }

    /// Everything that is kept, with its session.
    #[must_use]
    pub fn texts(&self) -> Vec<(String, String)> {
        hold(&self.texts).iter().map(|(key, _, text)| (key.session.clone(), text.content.clone())).collect()
    }

    fn table(&self) -> Result<MutexGuard<'_, Vec<Kept>>, StoreError> {
        if *hold(&self.down) { Err(StoreError("down".to_owned())) } else { Ok(hold(&self.texts)) }
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl SemanticStore for TableMeanings {
    async fn add(&self, key: &SessionKey, space: &str, texts: Vec<Meaning>, _: usize) -> Result<(), StoreError> {
        self.table()?.extend(texts.into_iter().map(|text| (key.clone(), space.to_owned(), text)));
        Ok(())
    }

    async fn search(&self, agent: &str, search: Search<'_>) -> Result<Vec<Found>, StoreError> {
        let texts = self.table()?;
        let of_agent = texts.iter().filter(|(key, space, _)| key.agent == agent && space == search.space);
        let mut found: Vec<_> = of_agent
            .map(|(key, _, text)| {
                let pairs = text.vector.numbers().iter().zip(search.vector.numbers());
                let score = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let (content, timestamp) = (text.content.clone(), text.timestamp.clone());
                Found { content, score, session_id: key.session.clone(), timestamp }
            })
            .collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(search.top_k);
        Ok(found)
    }

    async fn delete(&self, key: &SessionKey) -> Result<u64, StoreError> {
        let mut texts = self.table()?;
        let before = texts.len();
        texts.retain(|(of, _, _)| of != key);
        Ok(u64::try_from(before - texts.len()).unwrap_or(u64::MAX))
    }
}

/// Counts the words that it knows: a text's vector has a number for each of them.
pub struct WordEmbedder {
    words: Vec<String>,
    fails: Mutex<Option<Failure>>,
}

/// What goes wrong with every text.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// The server is down.
    Down,
    /// It takes so long.
    Slow(Duration),
    /// Its vectors are one number too long.
    TooLong,
}

impl WordEmbedder {
    /// A model that knows these words.
    #[must_use]
    pub fn new(words: &[&str]) -> Arc<Self> {
        Arc::new(Self { words: words.iter().map(|word| (*word).to_owned()).collect(), fails: Mutex::new(None) })
    }

    /// Every text fails from now on.
    pub fn fail(&self, failure: Failure) {
        *hold(&self.fails) = Some(failure);
    }

    /// The same as the core uses it.
    #[must_use]
    pub fn embedding(self: &Arc<Self>) -> Embedding {
        let port = Arc::clone(self) as Arc<dyn Embedder>;
        Embedding { port, model: "words".to_owned(), dimension: self.words.len(), batch_max: 32, pace: Pace::default() }
    }
}

#[async_trait]
impl Embedder for WordEmbedder {
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
        let failure = *hold(&self.fails);
        let mut spare = 0;
        match failure {
            Some(Failure::Down) => return Err(ModelError::new(ModelErrorKind::Unavailable, "connection refused")),
            Some(Failure::Slow(time)) => tokio::time::sleep(time).await,
            Some(Failure::TooLong) => spare = 1,
            None => {}
        }
        let count = |text: &str, known: &String| {
            let same = |word: &&str| word.trim_matches(|c: char| !c.is_alphanumeric()).eq_ignore_ascii_case(known);
            u16::try_from(text.split_whitespace().filter(same).count()).map_or(f32::INFINITY, f32::from)
        };
        let vector = |text: &String| {
            self.words.iter().map(|word| count(text, word)).chain(std::iter::repeat_n(1.0, spare)).collect()
        };
        Ok(texts.iter().map(vector).collect())
    }
}
