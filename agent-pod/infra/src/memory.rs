//! Where it is kept what agents remember, and what they have used.

mod budget;
mod connection;
mod episode;
pub mod in_process;
mod lease;
mod locks;
pub mod postgres;
pub mod redis;
pub mod sqlite;
mod turn;

use std::time::Duration;

use agent_pod_core::memory::StoreError;
use tokio::time::timeout;

pub use in_process::InProcessStore;
pub use postgres::{PgvectorMeanings, PostgresBudgets, PostgresEpisodes, PostgresServer, PostgresStore};
pub use redis::{RedisBudgets, RedisServer, RedisStore};
pub use sqlite::{EmbeddedMeanings, SqliteEpisodes, SqliteFile, SqliteStore};

/// One operation of a store, connecting included. A turn waits no longer for its memory.
const OPERATION_WAIT: Duration = Duration::from_secs(2);

/// How often expired sessions are removed that nobody asks for any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Sessions that one sweep removes at most.
const SWEPT_MAX: u32 = 500;

/// A longer time to live than this is for ever.
const TTL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Runs one operation of a store within its time.
async fn bounded<T>(operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(OPERATION_WAIT, operation)
        .await
        .unwrap_or_else(|_| Err(StoreError("the store did not answer in time".into())))
}

/// A number as the stores count, which none of them exceeds.
fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// A number as the core counts; stores hold no negative ones.
fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A time to live in milliseconds; `None`: for ever.
fn ttl_millis(ttl: Duration) -> Option<i64> {
    (ttl < TTL_MAX).then(|| whole(ttl.as_millis()))
}
