//! Texts by their meaning, in PostgreSQL with the extension `vector`.
//!
//! A search looks at every vector of the agent, of which there is a bound: an index over all agents would give its closest
//! ones first, and filtered by agent too few.

use std::sync::Arc;

use agent_pod_core::embedding::Unit;
use agent_pod_core::memory::semantic::{Found, Meaning, Search, SemanticStore};
use agent_pod_core::memory::{SessionKey, StoreError};
use async_trait::async_trait;
use pgvector::Vector;

use super::{PostgresServer, failed};
use crate::memory::health::Health;
use crate::memory::{SEARCH_WAIT, whole};

/// Texts by their meaning, in PostgreSQL with the extension `vector`.
pub struct PgvectorMeanings {
    server: Arc<PostgresServer>,
    searches: Health,
}

impl PgvectorMeanings {
    /// A store on this server.
    #[must_use]
    pub fn new(server: Arc<PostgresServer>) -> Self {
        Self { server, searches: Health::waiting(SEARCH_WAIT) }
    }
}

#[async_trait]
impl SemanticStore for PgvectorMeanings {
    async fn add(
        &self,
        key: &SessionKey,
        space: &str,
        texts: Vec<Meaning>,
        texts_max: usize,
    ) -> Result<(), StoreError> {
        self.searches
            .bounded(async {
                self.server.check()?;
                let pool = self.server.pool_with_vectors().await?;
                let adding = async {
                    let mut transaction = pool.begin().await?;
                    for text in &texts {
                        sqlx::query(
                            "delete from astromesh_meanings where agent = $1 and session = $2 and content = $3",
                        )
                        .bind(&key.agent)
                        .bind(&key.session)
                        .bind(&text.content)
                        .execute(&mut *transaction)
                        .await?;
                        sqlx::query(
                            "insert into astromesh_meanings (agent, session, space, content, timestamp, vector)
                         values ($1, $2, $3, $4, $5, $6)",
                        )
                        .bind(&key.agent)
                        .bind(&key.session)
                        .bind(space)
                        .bind(&text.content)
                        .bind(&text.timestamp)
                        .bind(vector(&text.vector))
                        .execute(&mut *transaction)
                        .await?;
                    }
                    sqlx::query(
                        "delete from astromesh_meanings where agent = $1 and id <= (select id from astromesh_meanings
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
                self.server.check()?;
                let pool = self.server.pool_with_vectors().await?;
                let rows: Vec<(String, f64, String, String)> = sqlx::query_as(
                    "select content, 1 - (vector <=> $3), session, timestamp from astromesh_meanings
                 where agent = $1 and space = $2 order by vector <=> $3, id desc limit $4",
                )
                .bind(agent)
                .bind(search.space)
                .bind(vector(search.vector))
                .bind(whole(search.top_k))
                .fetch_all(&pool)
                .await
                .map_err(|error| failed(&error))?;
                let found = |(content, score, session_id, timestamp)| Found { content, score, session_id, timestamp };
                Ok(rows.into_iter().map(found).collect())
            })
            .await
    }

    async fn delete(&self, key: &SessionKey) -> Result<u64, StoreError> {
        self.searches
            .bounded(async {
                self.server.check()?;
                let pool = self.server.pool_with_vectors().await?;
                let deleting = sqlx::query("delete from astromesh_meanings where agent = $1 and session = $2");
                let deleted = deleting.bind(&key.agent).bind(&key.session).execute(&pool).await;
                Ok(deleted.map_err(|error| failed(&error))?.rows_affected())
            })
            .await
    }
}

fn vector(unit: &Unit) -> Vector {
    Vector::from(unit.numbers().to_vec())
}
