//! Where it is kept what agents remember, and what they have used.

mod budget;
mod connection;
mod episode;
mod health;
pub mod in_process;
mod lease;
mod locks;
pub mod postgres;
pub mod redis;
pub mod sqlite;
mod turn;

use std::time::Duration;

use agent_pod_core::memory::StoreError;

pub use in_process::InProcessStore;
pub use postgres::{PgvectorMeanings, PostgresBudgets, PostgresEpisodes, PostgresServer, PostgresStore};
pub use redis::{RedisBudgets, RedisServer, RedisStore};
pub use sqlite::{EmbeddedMeanings, SqliteEpisodes, SqliteFile, SqliteStore};

/// One operation of a store. A turn waits no longer for its memory: a store that did not answer is left alone after it.
const OPERATION_WAIT: Duration = Duration::from_secs(1);

/// The same until the store has answered for the first time: connecting and making tables included.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// One operation on texts by their meaning, which may look at all of an agent's.
const SEARCH_WAIT: Duration = Duration::from_secs(2);

/// How often expired sessions are removed that nobody asks for any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Sessions that one sweep removes at most.
const SWEPT_MAX: u32 = 500;

/// A longer time to live than this is for ever.
const TTL_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A turn that is not to be kept.
fn forgotten() -> StoreError {
    StoreError("the session was deleted while the turn ran".into())
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
