//! Conversations in a SQLite file: they outlive the pod where its folder does, and are no other pod's.

mod episodes;
mod file;
mod meanings;

use std::sync::{Arc, Mutex, PoisonError};

use agent_pod_core::memory::{
    Conversation, ConversationSettings, ConversationStore, Fold, SessionKey, SessionLock, StoreError, StoredTurn,
    Window,
};
use async_trait::async_trait;
use sqlx::{Row as _, Sqlite, Transaction};
use tokio::time::Instant;
use uuid::Uuid;

use self::file::{WRITE, failed};
use super::health::Failed;
use super::locks::SessionLocks;
use super::turn::Found;
use super::{SWEEP_INTERVAL, SWEPT_MAX, forgotten, natural, ttl_millis, turn, whole};

pub use episodes::SqliteEpisodes;
pub use file::SqliteFile;
pub use meanings::EmbeddedMeanings;

/// Conversations in a SQLite file.
pub struct SqliteStore {
    file: Arc<SqliteFile>,
    locks: SessionLocks,
    swept: Mutex<Instant>,
}

impl SqliteStore {
    /// A store in this file.
    #[must_use]
    pub fn new(file: Arc<SqliteFile>) -> Self {
        Self { file, locks: SessionLocks::default(), swept: Mutex::new(Instant::now()) }
    }

    fn sweep_is_due(&self) -> bool {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let due = swept.elapsed() >= SWEEP_INTERVAL;
        if due {
            *swept = Instant::now();
        }
        due
    }

    #[expect(clippy::too_many_arguments, reason = "what the port's own `append` takes, and the turn as it is stored")]
    async fn write(
        &self,
        key: &SessionKey,
        turn: &StoredTurn,
        body: &str,
        settings: ConversationSettings,
        lock: &SessionLock,
    ) -> Result<(), Failed> {
        let pool = self.file.pool().await?;
        let sweep = self.sweep_is_due();
        let writing = async {
            let mut transaction = pool.begin_with(WRITE).await?;
            if sweep {
                sweep_out(&mut transaction).await?;
            }
            // One writes at a time: a deletion is before this transaction or after it.
            if lock.is_forgotten() {
                return Ok(false);
            }
            append_in(&mut transaction, key, (body, turn.messages.len()), settings).await?;
            transaction.commit().await?;
            Ok(true)
        };
        if writing.await.map_err(|error| failed(&error))? { Ok(()) } else { Err(forgotten().into()) }
    }
}

#[async_trait]
impl ConversationStore for SqliteStore {
    async fn lock(&self, key: &SessionKey) -> Result<SessionLock, StoreError> {
        let (held, epoch) = self.locks.take(key).await;
        Ok(SessionLock::new(held).within(epoch))
    }

    async fn read(&self, key: &SessionKey, window: Window) -> Result<Option<Conversation>, StoreError> {
        self.file
            .health
            .bounded(async {
                let pool = self.file.pool().await?;
                let rows = sqlx::query(
                    // Only sizes are summed up; the bodies of what does not fit stay where they are.
                    "select s.revision, s.summary, t.number, t.bytes, case when t.total <= $6 then
                   (select body from turns where agent = $1 and session = $2 and number = t.number) end
                 from sessions s left join (
                   select number, bytes, sum(bytes) over (order by number desc) as total from (
                     select number, octet_length(body) as bytes from turns
                     where agent = $1 and session = $2 and number < $3 order by number desc limit $4)
                 ) t where s.agent = $1 and s.session = $2 and (s.expires_at is null or s.expires_at > $5)
                 order by t.number",
                )
                .bind(&key.agent)
                .bind(&key.session)
                .bind(window.before.map_or(i64::MAX, whole))
                .bind(whole(window.turns_max))
                .bind(now())
                .bind(whole(window.bytes_max))
                .fetch_all(&pool)
                .await
                .map_err(|error| failed(&error))?;
                let Some(any) = rows.first() else { return Ok(None) };
                let (revision, summary) = (any.try_get(0), any.try_get(1));
                let mut found = Found::new(revision.map_err(|e| failed(&e))?, summary.map_err(|e| failed(&e))?);
                for row in &rows {
                    let (number, bytes, body) = (row.try_get(2), row.try_get(3), row.try_get(4));
                    let [number, bytes] = [number, bytes].map(|value| value.map_err(|error| failed(&error)));
                    found.add(number?, bytes?, body.map_err(|error| failed(&error))?)?;
                }
                Ok(Some(found.conversation()))
            })
            .await
    }

    async fn append(
        &self,
        key: &SessionKey,
        turn: StoredTurn,
        settings: ConversationSettings,
        lock: &SessionLock,
    ) -> Result<(), StoreError> {
        let body = turn::to_text(&turn)?;
        self.file.health.bounded(self.write(key, &turn, &body, settings, lock)).await
    }

    async fn fold(&self, key: &SessionKey, fold: Fold) -> Result<bool, StoreError> {
        self.file
            .health
            .bounded(async {
                let pool = self.file.pool().await?;
                let folding = async {
                    let mut transaction = pool.begin_with(WRITE).await?;
                    let updated = sqlx::query(
                        "update sessions set summary = $4, revision = $5
                     where agent = $1 and session = $2 and revision = $3 and (expires_at is null or expires_at > $6)",
                    )
                    .bind(&key.agent)
                    .bind(&key.session)
                    .bind(&fold.revision)
                    .bind(&fold.summary)
                    .bind(&fold.next_revision)
                    .bind(now())
                    .execute(&mut *transaction)
                    .await?;
                    if updated.rows_affected() == 0 {
                        return Ok(false);
                    }
                    sqlx::query("delete from turns where agent = $1 and session = $2 and number < $3")
                        .bind(&key.agent)
                        .bind(&key.session)
                        .bind(whole(fold.before))
                        .execute(&mut *transaction)
                        .await?;
                    transaction.commit().await?;
                    Ok(true)
                };
                folding.await.map_err(|error| failed(&error))
            })
            .await
    }

    async fn delete(&self, key: &SessionKey) -> Result<Option<u64>, StoreError> {
        self.file
            .health
            .bounded(async {
                let pool = self.file.pool().await?;
                let deleting = async {
                    let mut transaction = pool.begin_with(WRITE).await?;
                    self.locks.forget(key);
                    let (messages,): (i64,) = sqlx::query_as(
                        "select coalesce(sum(messages), 0) from turns where agent = $1 and session = $2",
                    )
                    .bind(&key.agent)
                    .bind(&key.session)
                    .fetch_one(&mut *transaction)
                    .await?;
                    let alive: Option<(bool,)> = sqlx::query_as(
                        "delete from sessions where agent = $1 and session = $2
                     returning expires_at is null or expires_at > $3",
                    )
                    .bind(&key.agent)
                    .bind(&key.session)
                    .bind(now())
                    .fetch_optional(&mut *transaction)
                    .await?;
                    transaction.commit().await?;
                    Ok(alive.filter(|(alive,)| *alive).map(|_| natural(messages)))
                };
                deleting.await.map_err(|error| failed(&error))
            })
            .await
    }
}

async fn append_in(
    transaction: &mut Transaction<'_, Sqlite>,
    key: &SessionKey,
    (body, messages): (&str, usize),
    settings: ConversationSettings,
) -> Result<(), sqlx::Error> {
    let SessionKey { agent, session } = key;
    sqlx::query("delete from sessions where agent = $1 and session = $2 and expires_at <= $3")
        .bind(agent)
        .bind(session)
        .bind(now())
        .execute(&mut **transaction)
        .await?;
    let (number,): (i64,) = sqlx::query_as(
        "insert into sessions (agent, session, next_turn, revision, expires_at) values ($1, $2, 1, $3, $4)
         on conflict (agent, session) do update set next_turn = next_turn + 1, expires_at = excluded.expires_at
         returning next_turn - 1",
    )
    .bind(agent)
    .bind(session)
    .bind(Uuid::new_v4().to_string())
    .bind(ttl_millis(settings.ttl).map(|ttl| now().saturating_add(ttl)))
    .fetch_one(&mut **transaction)
    .await?;
    sqlx::query("insert into turns (agent, session, number, messages, body) values ($1, $2, $3, $4, $5)")
        .bind(agent)
        .bind(session)
        .bind(number)
        .bind(whole(messages))
        .bind(body)
        .execute(&mut **transaction)
        .await?;
    sqlx::query("delete from turns where agent = $1 and session = $2 and number <= $3")
        .bind(agent)
        .bind(session)
        .bind(number.saturating_sub(whole(settings.turns_max)))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

async fn sweep_out(transaction: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    let expired = "delete from sessions where rowid in (select rowid from sessions where expires_at <= $1 limit $2)";
    sqlx::query(expired).bind(now()).bind(whole(SWEPT_MAX)).execute(&mut **transaction).await?;
    Ok(())
}

/// Milliseconds of the epoch.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
