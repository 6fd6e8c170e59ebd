//! What agents have used, in PostgreSQL, shared by replicas. Times are the server's.
//!
//! Each operation is a short transaction that holds the row of its window: those of one agent come one after the other.

use std::sync::{Arc, Mutex, PoisonError};

use agent_pod_core::budget::{Account, Amount, Asked, BudgetStore, Reserved};
use agent_pod_core::memory::StoreError;
use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{PostgresServer, failed};
use crate::memory::budget::{self, Ledger, SETTLED_KEPT, Taken, Ticket, WINDOW_KEPT};
use crate::memory::health::Failed;
use crate::memory::{SWEEP_INTERVAL, SWEPT_MAX, natural, whole};

/// What agents have used, in PostgreSQL.
pub struct PostgresBudgets {
    server: Arc<PostgresServer>,
    tasks: TaskTracker,
    swept: Mutex<Instant>,
}

impl PostgresBudgets {
    /// A store on this server.
    #[must_use]
    pub fn new(server: Arc<PostgresServer>) -> Self {
        Self { server, tasks: TaskTracker::new(), swept: Mutex::new(Instant::now()) }
    }

    /// Removes windows that are over, once in a while and where no answer waits for it.
    fn sweep(&self) {
        {
            let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
            if swept.elapsed() < SWEEP_INTERVAL {
                return;
            }
            *swept = Instant::now();
        }
        let server = Arc::clone(&self.server);
        drop(self.tasks.spawn(async move {
            if let Err(error) = server.bounded(async { forget(&server.pool().await?).await }).await {
                tracing::warn!(cause = %error, "budgets of windows that are over could not be removed");
            }
        }));
    }
}

async fn forget(pool: &PgPool) -> Result<(), Failed> {
    let forgetting = sqlx::query(
        "delete from astromesh_budgets where (agent, window_start, window_length) in (
           select agent, window_start, window_length from astromesh_budgets
           where expires_at <= now() limit $1 for update skip locked)",
    );
    forgetting.bind(whole(SWEPT_MAX)).execute(pool).await.map_err(|error| failed(&error)).map(|_gone| ())
}

#[async_trait]
impl BudgetStore for PostgresBudgets {
    async fn reserve(&self, asked: &Asked<'_>) -> Result<Reserved, StoreError> {
        let reserved = budget::reserve(Arc::clone(&self.server) as _, &self.tasks, asked).await?;
        self.sweep();
        Ok(reserved)
    }
}

#[async_trait]
impl Ledger for PostgresServer {
    async fn reserve(&self, ticket: &Ticket, asked: &Asked<'_>) -> Result<Taken, StoreError> {
        self.bounded(async {
            let pool = self.pool().await?;
            let reserving = async {
                let mut transaction = pool.begin().await?;
                let spent = hold(&mut transaction, &ticket.account).await?;
                let (held, settled) = reserved(&mut transaction, ticket).await?;
                let (amount, exhausted) = asked.maximums.left(spent.plus(held), asked.wanted);
                let granted = !settled && (!exhausted || asked.forced);
                if granted {
                    insert(&mut transaction, ticket, (amount, asked)).await?;
                }
                transaction.commit().await?;
                Ok(Taken { spent, granted: granted.then_some((amount, exhausted)) })
            };
            reserving.await.map_err(|error| failed(&error))
        })
        .await
    }

    async fn settle(&self, ticket: &Ticket, used: Amount) -> Result<Amount, StoreError> {
        self.bounded(async {
            let pool = self.pool().await?;
            let settling = async {
                let mut transaction = pool.begin().await?;
                let mut spent = hold(&mut transaction, &ticket.account).await?;
                if close(&mut transaction, ticket).await? {
                    spent = spend(&mut transaction, &ticket.account, used).await?;
                }
                transaction.commit().await?;
                Ok(spent)
            };
            settling.await.map_err(|error| failed(&error))
        })
        .await
    }
}

/// Holds the window until the end of the transaction. Gives what is spent.
async fn hold(connection: &mut PgConnection, Account { agent, window }: &Account) -> Result<Amount, sqlx::Error> {
    let (tokens, nanodollars): (i64, i64) = sqlx::query_as(
        "insert into astromesh_budgets as b (agent, window_start, window_length, expires_at)
         values ($1, $2, $3, greatest(clock_timestamp(), to_timestamp(($2 + $3)::double precision / 1000))
           + $4::double precision * interval '1 millisecond')
         on conflict (agent, window_start, window_length) do update set expires_at = excluded.expires_at
         returning spent_tokens, spent_nanodollars",
    )
    .bind(agent)
    .bind(whole(window.start_ms))
    .bind(whole(window.length_ms))
    .bind(whole(WINDOW_KEPT.as_millis()))
    .fetch_one(connection)
    .await?;
    Ok(Amount { tokens: natural(tokens), nanodollars: natural(nanodollars) })
}

/// Gives up what is over. Gives what is reserved, and whether this call is settled already.
async fn reserved(connection: &mut PgConnection, ticket: &Ticket) -> Result<(Amount, bool), sqlx::Error> {
    let Account { agent, window } = &ticket.account;
    let (tokens, nanodollars, settled): (i64, i64, bool) = sqlx::query_as(
        "with moment as materialized (select clock_timestamp() as now),
         over as (delete from astromesh_budget_calls c using moment
           where c.agent = $1 and c.window_start = $2 and c.window_length = $3 and c.ends_at <= moment.now)
         select coalesce(sum(c.tokens), 0)::bigint, coalesce(sum(c.nanodollars), 0)::bigint,
           coalesce(bool_or(c.settled and c.id = $4), false)
         from astromesh_budget_calls c, moment
         where c.agent = $1 and c.window_start = $2 and c.window_length = $3 and c.ends_at > moment.now",
    )
    .bind(agent)
    .bind(whole(window.start_ms))
    .bind(whole(window.length_ms))
    .bind(&ticket.id)
    .fetch_one(connection)
    .await?;
    Ok((Amount { tokens: natural(tokens), nanodollars: natural(nanodollars) }, settled))
}

async fn insert(
    connection: &mut PgConnection,
    ticket: &Ticket,
    (amount, asked): (Amount, &Asked<'_>),
) -> Result<(), sqlx::Error> {
    let Account { agent, window } = &ticket.account;
    let inserting = sqlx::query(
        "insert into astromesh_budget_calls (id, agent, window_start, window_length, tokens, nanodollars, settled, ends_at)
         values ($1, $2, $3, $4, $5, $6, false, clock_timestamp() + $7::double precision * interval '1 millisecond')",
    );
    let inserting = inserting.bind(&ticket.id).bind(agent).bind(whole(window.start_ms)).bind(whole(window.length_ms));
    let inserting = inserting.bind(whole(amount.tokens)).bind(whole(amount.nanodollars));
    inserting.bind(whole(asked.lease.as_millis())).execute(connection).await.map(|_inserted| ())
}

/// Nothing is reserved for the call any more; `false` if it was settled before.
async fn close(connection: &mut PgConnection, ticket: &Ticket) -> Result<bool, sqlx::Error> {
    let Account { agent, window } = &ticket.account;
    let closing = sqlx::query(
        "insert into astromesh_budget_calls as c (id, agent, window_start, window_length, tokens, nanodollars, settled, ends_at)
         values ($1, $2, $3, $4, 0, 0, true, clock_timestamp() + $5::double precision * interval '1 millisecond')
         on conflict (id) do update set tokens = 0, nanodollars = 0, settled = true, ends_at = excluded.ends_at
         where not c.settled",
    );
    let closing = closing.bind(&ticket.id).bind(agent).bind(whole(window.start_ms)).bind(whole(window.length_ms));
    let closed = closing.bind(whole(SETTLED_KEPT.as_millis())).execute(connection).await?;
    Ok(closed.rows_affected() > 0)
}

async fn spend(
    connection: &mut PgConnection,
    Account { agent, window }: &Account,
    used: Amount,
) -> Result<Amount, sqlx::Error> {
    // The least keeps the sum within its type, whatever a model server has said.
    let spending = sqlx::query_as(
        "update astromesh_budgets set spent_tokens = least(spent_tokens, 9000000000000000) + $4,
           spent_nanodollars = least(spent_nanodollars, 9000000000000000) + $5
         where agent = $1 and window_start = $2 and window_length = $3 returning spent_tokens, spent_nanodollars",
    );
    let spending = spending.bind(agent).bind(whole(window.start_ms)).bind(whole(window.length_ms));
    let spending = spending.bind(whole(used.tokens)).bind(whole(used.nanodollars));
    let (tokens, nanodollars): (i64, i64) = spending.fetch_one(connection).await?;
    Ok(Amount { tokens: natural(tokens), nanodollars: natural(nanodollars) })
}
