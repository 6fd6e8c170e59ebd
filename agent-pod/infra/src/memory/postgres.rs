//! Conversations in PostgreSQL, shared by replicas. Times are the server's.

mod budgets;
mod episodes;
mod meanings;
mod server;

use std::sync::{Arc, Mutex, PoisonError};

use agent_pod_core::memory::{
    Conversation, ConversationSettings, ConversationStore, Fold, SessionKey, SessionLock, StoreError, StoredTurn,
    Window,
};
use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::postgres::PgPool;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::server::failed;
use super::lease::{LEASE_TIME, Leases, lease};
use super::locks::SessionLocks;
use super::turn::Found;
use super::{SWEEP_INTERVAL, SWEPT_MAX, natural, ttl_millis, turn, whole};

pub use budgets::PostgresBudgets;
pub use episodes::PostgresEpisodes;
pub use meanings::PgvectorMeanings;
pub use server::PostgresServer;

/// Conversations in PostgreSQL.
pub struct PostgresStore {
    server: Arc<PostgresServer>,
    locks: SessionLocks,
    keepers: TaskTracker,
    swept: Mutex<Instant>,
}

impl PostgresStore {
    /// A store on this server.
    #[must_use]
    pub fn new(server: Arc<PostgresServer>) -> Self {
        Self { server, locks: SessionLocks::default(), keepers: TaskTracker::new(), swept: Mutex::new(Instant::now()) }
    }

    /// Removes sessions that have expired, once in a while.
    async fn sweep(&self, pool: &PgPool) {
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.elapsed() < SWEEP_INTERVAL {
                return;
            }
            *swept = Instant::now();
        }
        let sessions = sqlx::query(
            "delete from astromesh_sessions where (agent, session) in (select agent, session from astromesh_sessions
             where expires_at <= now() limit $1 for update skip locked)",
        );
        let locks = sqlx::query(
            "delete from astromesh_locks where (agent, session) in (select agent, session from astromesh_locks
             where expires_at <= now() - interval '1 hour' limit $1 for update skip locked)",
        );
        for query in [sessions, locks] {
            if let Err(error) = query.bind(whole(SWEPT_MAX)).execute(pool).await {
                tracing::warn!(cause = %StoreError::from(failed(&error)), "expired sessions could not be removed");
            }
        }
    }
}

#[async_trait]
impl ConversationStore for PostgresStore {
    async fn lock(&self, key: &SessionKey) -> Result<SessionLock, StoreError> {
        self.server.check()?;
        let (local, epoch) = self.locks.take(key).await;
        // It may have gone down while another turn of the session ran.
        self.server.check()?;
        let lock = lease((Arc::clone(&self.server) as _, &self.keepers), local, key).await?;
        Ok(lock.within(epoch))
    }

    async fn read(&self, key: &SessionKey, window: Window) -> Result<Option<Conversation>, StoreError> {
        self.server
            .bounded(async {
                let pool = self.server.pool().await?;
                // One statement sees one moment. Only sizes are summed up; what does not fit is not read.
                let rows = sqlx::query(
                    "select s.revision, s.summary, t.number, t.bytes, case when t.total <= $5 then
                   (select b.body from astromesh_turns b
                    where b.agent = s.agent and b.session = s.session and b.number = t.number) end
                 from astromesh_sessions s left join lateral (
                   select number, bytes, sum(bytes) over (order by number desc)::bigint as total from (
                     select number, octet_length(body)::bigint as bytes from astromesh_turns n
                     where n.agent = s.agent and n.session = s.session and n.number < $3
                     order by n.number desc limit $4) sizes
                 ) t on true
                 where s.agent = $1 and s.session = $2 and (s.expires_at is null or s.expires_at > now())
                 order by t.number",
                )
                .bind(&key.agent)
                .bind(&key.session)
                .bind(window.before.map_or(i64::MAX, whole))
                .bind(whole(window.turns_max))
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
        self.server
            .bounded(async {
                let pool = self.server.pool().await?;
                let writing =
                    Writing { key, body: &body, messages: turn.messages.len(), settings, fence: lock.fence() };
                if !writing.run(&pool).await.map_err(|error| failed(&error))? {
                    let lost = "the lock of the session was lost, another turn may have taken it";
                    return Err(StoreError(lost.into()).into());
                }
                self.sweep(&pool).await;
                Ok(())
            })
            .await
    }

    async fn fold(&self, key: &SessionKey, fold: Fold) -> Result<bool, StoreError> {
        self.server.bounded(async {
            let pool = self.server.pool().await?;
            let folding = async {
                let mut transaction = pool.begin().await?;
                let updated = sqlx::query(
                    "update astromesh_sessions set summary = $4, revision = $5
                     where agent = $1 and session = $2 and revision = $3 and (expires_at is null or expires_at > now())",
                )
                .bind(&key.agent)
                .bind(&key.session)
                .bind(&fold.revision)
                .bind(&fold.summary)
                .bind(&fold.next_revision)
                .execute(&mut *transaction)
                .await?;
                if updated.rows_affected() == 0 {
                    return Ok(false);
                }
                sqlx::query("delete from astromesh_turns where agent = $1 and session = $2 and number < $3")
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
        self.locks.forget(key);
        self.server.bounded(async {
            let pool = self.server.pool().await?;
            let deleting = async {
                let mut transaction = pool.begin().await?;
                // Whoever has the lock has lost it, once what it writes at this moment is written: the turn that is under
                // way is not to be kept.
                sqlx::query("delete from astromesh_locks where agent = $1 and session = $2")
                    .bind(&key.agent)
                    .bind(&key.session)
                    .execute(&mut *transaction)
                    .await?;
                // The count is of the moment before: a statement does not see its own effects.
                let gone: Option<(bool, i64)> = sqlx::query_as(
                    "with gone as (delete from astromesh_sessions where agent = $1 and session = $2
                       returning expires_at is null or expires_at > now() as alive)
                     select alive, (select coalesce(sum(messages), 0)::bigint from astromesh_turns where agent = $1 and session = $2)
                     from gone",
                )
                .bind(&key.agent)
                .bind(&key.session)
                .fetch_optional(&mut *transaction)
                .await?;
                transaction.commit().await?;
                Ok(gone)
            };
            let gone = deleting.await.map_err(|error| failed(&error))?;
            Ok(gone.filter(|(alive, _)| *alive).map(|(_, messages)| natural(messages)))
        })
        .await
    }
}

/// A turn to be written.
struct Writing<'a> {
    key: &'a SessionKey,
    body: &'a str,
    messages: usize,
    settings: ConversationSettings,
    fence: Option<&'a str>,
}

impl Writing<'_> {
    /// Writes it; `false` if its lock was lost.
    async fn run(&self, pool: &PgPool) -> Result<bool, sqlx::Error> {
        let SessionKey { agent, session } = self.key;
        let mut transaction = pool.begin().await?;
        if let Some(token) = self.fence {
            // The row stays ours until the end: who takes the lock over waits for it.
            let held = sqlx::query(
                "select 1 from astromesh_locks where agent = $1 and session = $2 and token = $3 for update",
            );
            let held = held.bind(agent).bind(session).bind(token).fetch_optional(&mut *transaction).await?;
            if held.is_none() {
                return Ok(false);
            }
        }
        sqlx::query("delete from astromesh_sessions where agent = $1 and session = $2 and expires_at <= now()")
            .bind(agent)
            .bind(session)
            .execute(&mut *transaction)
            .await?;
        let (number,): (i64,) = sqlx::query_as(
            "insert into astromesh_sessions as s (agent, session, next_turn, revision, expires_at)
             values ($1, $2, 1, $3, now() + $4::double precision * interval '1 millisecond')
             on conflict (agent, session) do update
             set next_turn = s.next_turn + 1, expires_at = excluded.expires_at
             returning next_turn - 1",
        )
        .bind(agent)
        .bind(session)
        .bind(Uuid::new_v4().to_string())
        .bind(ttl_millis(self.settings.ttl))
        .fetch_one(&mut *transaction)
        .await?;
        sqlx::query("insert into astromesh_turns (agent, session, number, messages, body) values ($1, $2, $3, $4, $5)")
            .bind(agent)
            .bind(session)
            .bind(number)
            .bind(i32::try_from(self.messages).unwrap_or(i32::MAX))
            .bind(self.body)
            .execute(&mut *transaction)
            .await?;
        sqlx::query("delete from astromesh_turns where agent = $1 and session = $2 and number <= $3")
            .bind(agent)
            .bind(session)
            .bind(number.saturating_sub(whole(self.settings.turns_max)))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }
}

#[async_trait]
impl Leases for PostgresServer {
    async fn take(&self, key: &SessionKey, token: &str) -> Result<bool, StoreError> {
        self.change_lease(
            "insert into astromesh_locks as l (agent, session, token, expires_at)
             values ($1, $2, $3, clock_timestamp() + $4::double precision * interval '1 millisecond')
             on conflict (agent, session) do update set token = excluded.token, expires_at = excluded.expires_at
             where l.expires_at <= clock_timestamp()",
            (key, token),
        )
        .await
    }

    async fn renew(&self, key: &SessionKey, token: &str) -> Result<bool, StoreError> {
        self.change_lease(
            "update astromesh_locks set expires_at = clock_timestamp() + $4::double precision * interval '1 millisecond'
             where agent = $1 and session = $2 and token = $3",
            (key, token),
        )
        .await
    }

    async fn release(&self, key: &SessionKey, token: &str) -> Result<(), StoreError> {
        self.change_lease(
            "delete from astromesh_locks
             where agent = $1 and session = $2 and token = $3 and $4::double precision is not null",
            (key, token),
        )
        .await
        .map(|_released| ())
    }
}

impl PostgresServer {
    /// Whether the statement changed the lease of `key`.
    async fn change_lease(
        &self,
        statement: &'static str,
        (key, token): (&SessionKey, &str),
    ) -> Result<bool, StoreError> {
        self.bounded(async {
            let pool = self.pool().await?;
            let changing = sqlx::query(statement).bind(&key.agent).bind(&key.session).bind(token);
            let changed = changing.bind(whole(LEASE_TIME.as_millis())).execute(&pool).await;
            Ok(changed.map_err(|error| failed(&error))?.rows_affected() > 0)
        })
        .await
    }
}
