//! The port to models that turn texts into vectors.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::model::ModelError;

/// A model that turns texts into vectors.
#[async_trait]
pub trait Embedder: Send + Sync {
    /// A vector for each text, in their order.
    ///
    /// # Errors
    /// As calls of language models.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError>;
}

/// A model with what is known of its vectors.
#[derive(Clone)]
pub struct Embedding {
    /// The model.
    pub port: Arc<dyn Embedder>,
    /// Its name: vectors of two models are never compared.
    pub model: String,
    /// How many numbers its vectors have.
    pub dimension: usize,
    /// The most texts of one request.
    pub batch_max: usize,
    /// How it is called: shared by all who call it.
    pub pace: Pace,
}

/// Calls of one embedding model at a time. A run in need of one waits for no more than its memory may take; nobody is
/// served by more calls than a model can answer.
const CALLS_MAX: usize = 4;

/// How long a model that did not answer in time is left alone: at first, and at most. Each pause is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// How an embedding model is called: by few at a time, and not while it stands still.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Pacing>);

#[derive(Debug)]
struct Pacing {
    places: Semaphore,
    /// Time-outs in a row, and until when it is left alone.
    rest: Mutex<(u32, Option<Instant>)>,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Arc::new(Pacing { places: Semaphore::new(CALLS_MAX), rest: Mutex::default() }))
    }
}

impl Pace {
    /// Whether anybody but the asker has it.
    #[must_use]
    pub fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Runs what needs the model within `time`.
    ///
    /// # Errors
    /// [`Slow`] when the time is over, and at once while the model is left alone after such a time-out.
    pub async fn within<T>(&self, time: Duration, work: impl Future<Output = T>) -> Result<T, Slow> {
        {
            let mut rest = self.rest();
            if let Some(until) = rest.1 {
                let now = Instant::now();
                if now < until {
                    return Err(Slow);
                }
                // One finds out for all.
                rest.1 = Some(now + time);
            }
        }
        // The time first: who has waited for a place until its time was over does not use it any more.
        let done = tokio::select! {
            biased;
            () = sleep(time) => Err(Slow),
            done = work => Ok(done),
        };
        let mut rest = self.rest();
        if done.is_ok() {
            *rest = (0, None);
        } else {
            let (first, most) = PAUSES;
            let pause = first.saturating_mul(2_u32.saturating_pow(rest.0)).min(most);
            *rest = (rest.0.saturating_add(1), Some(Instant::now() + pause));
        }
        done
    }

    fn rest(&self) -> MutexGuard<'_, (u32, Option<Instant>)> {
        self.0.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A model that did not answer in time, or not a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("embedding and search took too long")]
pub struct Slow;

/// A vector of length 1: the product of two is the cosine of their angle.
#[derive(Clone, PartialEq)]
pub struct Unit(Vec<f32>);

/// Vectors that cannot be used, or none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EmbeddingError {
    /// The model failed.
    #[error("the embedding model failed: {0}")]
    Model(String),
    /// Another number of vectors than of texts.
    #[error("the embedding model gave {came} vectors for {expected} texts")]
    Count {
        /// Texts.
        expected: usize,
        /// Vectors.
        came: usize,
    },
    /// Vectors of another length than was said.
    #[error(
        "the embedding model gives vectors of {came} numbers; set embeddings.dimension, which is {expected}, to it"
    )]
    Dimension {
        /// As set.
        expected: usize,
        /// As it came.
        came: usize,
    },
    /// A vector with something in it that is no number.
    #[error("the embedding model gave a vector that holds no finite numbers")]
    NotFinite,
}

impl Embedding {
    /// What vectors are comparable with: those of the same model and dimension.
    #[must_use]
    pub fn space(&self) -> String {
        format!("{}/{}", self.model, self.dimension)
    }

    /// A vector for each text, in batches; `None` for a text that means nothing to the model, whose vector is zero.
    ///
    /// # Errors
    /// When the model fails or gives something else.
    pub async fn vectors(&self, texts: &[String]) -> Result<Vec<Option<Unit>>, EmbeddingError> {
        let mut units = Vec::with_capacity(texts.len());
        for batch in texts.chunks(self.batch_max.max(1)) {
            // Nobody closes the semaphore.
            let _place = self.pace.0.places.acquire().await.ok();
            let embedded = self.port.embed(batch).await;
            let vectors = embedded.map_err(|error| EmbeddingError::Model(error.message))?;
            if vectors.len() != batch.len() {
                return Err(EmbeddingError::Count { expected: batch.len(), came: vectors.len() });
            }
            for vector in vectors {
                units.push(self.unit(vector)?);
            }
        }
        Ok(units)
    }

    fn unit(&self, vector: Vec<f32>) -> Result<Option<Unit>, EmbeddingError> {
        if vector.len() != self.dimension {
            return Err(EmbeddingError::Dimension { expected: self.dimension, came: vector.len() });
        }
        if vector.iter().any(|number| !number.is_finite()) {
            return Err(EmbeddingError::NotFinite);
        }
        Ok(Unit::of(&vector))
    }
}

impl Unit {
    /// The vector's direction; none of one without length.
    #[must_use]
    pub fn of(vector: &[f32]) -> Option<Self> {
        // In double precision no square of a finite number overflows or vanishes.
        let length = vector.iter().map(|number| f64::from(*number) * f64::from(*number)).sum::<f64>().sqrt();
        #[expect(clippy::cast_possible_truncation, reason = "a part of a unit is within the range of f32")]
        let scaled = |number: &f32| (f64::from(*number) / length) as f32;
        (length > 0.0).then(|| Self(vector.iter().map(scaled).collect()))
    }

    /// Its numbers.
    #[must_use]
    pub fn numbers(&self) -> &[f32] {
        &self.0
    }
}

impl fmt::Debug for Unit {
    /// The numbers say nothing to anybody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unit({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rstest::rstest;

    use super::*;

    /// Gives these vectors, and remembers how many texts it was asked for at a time.
    struct Gives(Mutex<Vec<Vec<f32>>>, Mutex<Vec<usize>>);

    #[async_trait]
    impl Embedder for Gives {
        async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
            self.1.lock().unwrap().push(texts.len());
            let mut left = self.0.lock().unwrap();
            let count = texts.len().min(left.len());
            Ok(left.drain(..count).collect())
        }
    }

    fn embedding(vectors: Vec<Vec<f32>>) -> (Embedding, Arc<Gives>) {
        let port = Arc::new(Gives(Mutex::new(vectors), Mutex::default()));
        let embedding = Embedding {
            port: Arc::clone(&port) as _,
            model: "e".to_owned(),
            dimension: 2,
            batch_max: 2,
            pace: Pace::default(),
        };
        (embedding, port)
    }

    fn texts(count: usize) -> Vec<String> {
        (0..count).map(|number| number.to_string()).collect()
    }

    #[tokio::test]
    async fn texts_go_in_batches_and_vectors_come_back_as_units() {
        let (embedding, port) = embedding(vec![vec![3.0, 4.0], vec![0.0, 0.0], vec![-1e30, 0.0]]);
        let vectors = embedding.vectors(&texts(3)).await.unwrap();
        let numbers: Vec<_> = vectors.iter().map(|unit| unit.as_ref().map(Unit::numbers)).collect();
        assert_eq!(numbers, [Some([0.6, 0.8].as_slice()), None, Some([-1.0, 0.0].as_slice())]);
        assert_eq!(*port.1.lock().unwrap(), [2, 1]);
    }

    /// Never answers, and counts who waits.
    #[derive(Default)]
    struct StandsStill(AtomicUsize);

    #[async_trait]
    impl Embedder for StandsStill {
        async fn embed(&self, _: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_model_that_stands_still_is_called_by_few_and_then_left_alone() {
        let port = Arc::new(StandsStill::default());
        let embedding = Embedding { port: Arc::clone(&port) as _, ..embedding(Vec::new()).0 };
        let asking = || async { embedding.pace.within(Duration::from_secs(2), embedding.vectors(&texts(1))).await };
        let begun = Instant::now();
        futures::future::join_all((0..600).map(|_| asking())).await;
        assert_eq!((port.0.load(Ordering::Relaxed), begun.elapsed()), (CALLS_MAX, Duration::from_secs(2)));
        for _ in 0..600 {
            asking().await.unwrap_err();
        }
        assert_eq!((port.0.load(Ordering::Relaxed), begun.elapsed()), (CALLS_MAX, Duration::from_secs(2)));
        tokio::time::advance(PAUSES.1).await;
        futures::future::join_all((0..600).map(|_| asking())).await;
        assert_eq!(port.0.load(Ordering::Relaxed), CALLS_MAX + 1, "one finds out for all");
    }

    #[rstest]
    #[case::too_few(vec![vec![1.0, 0.0]], EmbeddingError::Count { expected: 2, came: 1 })]
    #[case::too_short(vec![vec![1.0], vec![1.0]], EmbeddingError::Dimension { expected: 2, came: 1 })]
    #[case::too_long(vec![vec![1.0, 0.0], vec![1.0, 0.0, 0.0]], EmbeddingError::Dimension { expected: 2, came: 3 })]
    #[case::infinite(vec![vec![1.0, f32::INFINITY], vec![1.0, 0.0]], EmbeddingError::NotFinite)]
    #[case::no_number(vec![vec![1.0, f32::NAN], vec![1.0, 0.0]], EmbeddingError::NotFinite)]
    #[tokio::test]
    async fn vectors_that_cannot_be_used_are_errors(#[case] vectors: Vec<Vec<f32>>, #[case] expected: EmbeddingError) {
        assert_eq!(embedding(vectors).0.vectors(&texts(2)).await.unwrap_err(), expected);
    }
}
