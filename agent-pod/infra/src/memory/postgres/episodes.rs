//! What became of runs, in PostgreSQL.

use std::sync::Arc;

use agent_pod_core::memory::episode::{Episode, EpisodeBounds, EpisodeStore};
use agent_pod_core::memory::{SessionKey, StoreError};
use async_trait::async_trait;

use super::{PostgresServer, failed};
use crate::memory::health::Failed;
use crate::memory::{episode, whole};

/// What became of runs, in PostgreSQL.
pub struct PostgresEpisodes(Arc<PostgresServer>);

impl PostgresEpisodes {
    /// A store on this server.
    #[must_use]
    pub fn new(server: Arc<PostgresServer>) -> Self {
        Self(server)
    }
}

#[async_trait]
impl EpisodeStore for PostgresEpisodes {
    async fn append(&self, key: &SessionKey, episode: Episode, bounds: EpisodeBounds) -> Result<(), StoreError> {
        let body = episode::to_text(&episode)?;
        self.0.bounded(async {
            let pool = self.0.pool().await?;
            let writing = async {
                let mut transaction = pool.begin().await?;
                sqlx::query("insert into astromesh_episodes (agent, session, body) values ($1, $2, $3)")
                    .bind(&key.agent)
                    .bind(&key.session)
                    .bind(&body)
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query(
                    "delete from astromesh_episodes where agent = $1 and session = $2 and id <= (select id from astromesh_episodes
                     where agent = $1 and session = $2 order by id desc limit 1 offset $3)",
                )
                .bind(&key.agent)
                .bind(&key.session)
                .bind(whole(bounds.of_session))
                .execute(&mut *transaction)
                .await?;
                sqlx::query(
                    "delete from astromesh_episodes where agent = $1 and id <= (select id from astromesh_episodes
                     where agent = $1 order by id desc limit 1 offset $2)",
                )
                .bind(&key.agent)
                .bind(whole(bounds.of_agent))
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await
            };
            writing.await.map_err(|error| failed(&error))
        })
        .await
    }

    async fn latest(&self, key: &SessionKey, events_max: usize) -> Result<Vec<Episode>, StoreError> {
        self.0
            .bounded(async {
                let pool = self.0.pool().await?;
                let bodies: Vec<(String,)> = sqlx::query_as(
                    "select body from astromesh_episodes where agent = $1 and session = $2 order by id desc limit $3",
                )
                .bind(&key.agent)
                .bind(&key.session)
                .bind(whole(events_max))
                .fetch_all(&pool)
                .await
                .map_err(|error| failed(&error))?;
                bodies.iter().rev().map(|(body,)| episode::from_text(body).map_err(Failed::from)).collect()
            })
            .await
    }

    async fn delete(&self, key: &SessionKey) -> Result<u64, StoreError> {
        self.0
            .bounded(async {
                let pool = self.0.pool().await?;
                let deleting = sqlx::query("delete from astromesh_episodes where agent = $1 and session = $2");
                let deleted = deleting.bind(&key.agent).bind(&key.session).execute(&pool).await;
                Ok(deleted.map_err(|error| failed(&error))?.rows_affected())
            })
            .await
    }
}
