//! Texts by their meaning, in a SQLite file. A search looks at every vector of the agent, of which there is a bound.

use std::collections::HashMap;
use std::sync::Arc;

use agent_pod_core::embedding::Unit;
use agent_pod_core::memory::semantic::{Found, Meaning, Search, SemanticStore};
use agent_pod_core::memory::{SessionKey, StoreError};
use async_trait::async_trait;
use futures::TryStreamExt as _;
use sqlx::sqlite::SqlitePool;

use super::{SqliteFile, WRITE, failed};
use crate::memory::health::Health;
use crate::memory::{SEARCH_WAIT, whole};

/// Texts by their meaning, in a SQLite file.
pub struct EmbeddedMeanings {
    file: Arc<SqliteFile>,
    searches: Health,
}

impl EmbeddedMeanings {
    /// A store in this file.
    #[must_use]
    pub fn new(file: Arc<SqliteFile>) -> Self {
        Self { file, searches: Health::waiting(SEARCH_WAIT) }
    }
}

#[async_trait]
impl SemanticStore for EmbeddedMeanings {
    async fn add(
        &self,
        key: &SessionKey,
        space: &str,
        texts: Vec<Meaning>,
        texts_max: usize,
    ) -> Result<(), StoreError> {
        self.searches
            .bounded(async {
                self.file.health.check()?;
                let pool = self.file.pool().await?;
                let adding = async {
                    let mut transaction = pool.begin_with(WRITE).await?;
                    for text in &texts {
                        sqlx::query("delete from meanings where agent = $1 and session = $2 and content = $3")
                            .bind(&key.agent)
                            .bind(&key.session)
                            .bind(&text.content)
                            .execute(&mut *transaction)
                            .await?;
                        sqlx::query(
                            "insert into meanings (agent, session, space, content, timestamp, vector)
                         values ($1, $2, $3, $4, $5, $6)",
                        )
                        .bind(&key.agent)
                        .bind(&key.session)
                        .bind(space)
                        .bind(&text.content)
                        .bind(&text.timestamp)
                        .bind(bytes(&text.vector))
                        .execute(&mut *transaction)
                        .await?;
                    }
                    sqlx::query(
                        "delete from meanings where agent = $1 and id <= (select id from meanings
                     where agent = $1 order by id desc limit 1 offset $2)",
                    )
                    .bind(&key.agent)
                    .bind(whole(texts_max))
                    .execute(&mut *transaction)
                    .await?;
                    transaction.commit().await
                };
                adding.await.map_err(|error| failed(&error))
            })
            .await
    }

    async fn search(&self, agent: &str, search: Search<'_>) -> Result<Vec<Found>, StoreError> {
        self.searches
            .bounded(async {
                self.file.health.check()?;
                let pool = self.file.pool().await?;
                let searching = async {
                    let best = closest(&pool, agent, search).await?;
                    texts(&pool, best).await
                };
                searching.await.map_err(|error| failed(&error))
            })
            .await
    }

    async fn delete(&self, key: &SessionKey) -> Result<u64, StoreError> {
        self.searches
            .bounded(async {
                self.file.health.check()?;
                let pool = self.file.pool().await?;
                let deleting = sqlx::query("delete from meanings where agent = $1 and session = $2");
                let deleted = deleting.bind(&key.agent).bind(&key.session).execute(&pool).await;
                Ok(deleted.map_err(|error| failed(&error))?.rows_affected())
            })
            .await
    }
}

/// The ids of the closest vectors with their scores, the best first. No more than so many are held at a time.
async fn closest(pool: &SqlitePool, agent: &str, search: Search<'_>) -> Result<Vec<(i64, f64)>, sqlx::Error> {
    let mut best: Vec<(i64, f64)> = Vec::new();
    let newest_first = "select id, vector from meanings where agent = $1 and space = $2 order by id desc";
    let mut rows = sqlx::query_as(newest_first).bind(agent).bind(search.space).fetch(pool);
    while let Some((id, vector)) = rows.try_next().await? {
        let vector: Vec<u8> = vector;
        let score = product(search.vector.numbers(), &vector);
        // After all that are as good: these are newer.
        let place = best.partition_point(|(_, better)| *better >= score);
        if place < search.top_k {
            best.truncate(search.top_k.saturating_sub(1));
            best.insert(place, (id, score));
        }
    }
    Ok(best)
}

/// What was said, in this order. What was forgotten meanwhile is left out.
async fn texts(pool: &SqlitePool, best: Vec<(i64, f64)>) -> Result<Vec<Found>, sqlx::Error> {
    let ids: Vec<i64> = best.iter().map(|(id, _)| *id).collect();
    let rows: Vec<(i64, String, String, String)> = sqlx::query_as(
        "select id, content, session, timestamp from meanings where id in (select value from json_each($1))",
    )
    .bind(serde_json::Value::from(ids).to_string())
    .fetch_all(pool)
    .await?;
    let mut rows: HashMap<_, _> =
        rows.into_iter().map(|(id, content, session, at)| (id, (content, session, at))).collect();
    let found = |(id, score)| {
        let (content, session_id, timestamp) = rows.remove(&id)?;
        Some(Found { content, score, session_id, timestamp })
    };
    Ok(best.into_iter().filter_map(found).collect())
}

fn bytes(vector: &Unit) -> Vec<u8> {
    vector.numbers().iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn product(numbers: &[f32], bytes: &[u8]) -> f64 {
    let stored = bytes.chunks_exact(size_of::<f32>());
    let stored = stored.map(|part| part.try_into().map_or(0.0, f32::from_le_bytes));
    let sum: f32 = numbers.iter().zip(stored).map(|(number, stored)| number * stored).sum();
    f64::from(sum)
}
