//! The file that the stores of a pod share.

use std::path::PathBuf;

use agent_pod_core::memory::StoreError;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::OnceCell;

use crate::memory::OPERATION_WAIT;

/// One writes at a time, some read beside it.
const CONNECTIONS_MAX: u32 = 4;

/// The writer's place is taken at the beginning, so that no write fails half way for having read before.
pub(super) const WRITE: &str = "begin immediate";

/// A SQLite file with all tables.
pub struct SqliteFile {
    options: SqliteConnectOptions,
    pool: OnceCell<SqlitePool>,
}

impl SqliteFile {
    /// This file, which is made when it is first used.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(file.into())
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A crash of the machine may lose the last turns, never the file.
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(OPERATION_WAIT);
        Self { options, pool: OnceCell::new() }
    }

    /// The pool, with the tables made. Two processes may make them at once: each migration has the writer's lock.
    pub(super) async fn pool(&self) -> Result<&SqlitePool, StoreError> {
        let open = async || {
            let pool = SqlitePoolOptions::new()
                .max_connections(CONNECTIONS_MAX)
                .acquire_timeout(OPERATION_WAIT)
                .connect_lazy_with(self.options.clone());
            let mut migrator: Migrator = sqlx::migrate!("migrations/sqlite");
            // Those of a newer release, before it was rolled back: migrations only add.
            migrator.set_ignore_missing(true);
            let migrated = migrator.run(&pool).await;
            migrated.map_err(|error| StoreError(format!("the tables could not be made: {error}")))?;
            Ok(pool)
        };
        self.pool.get_or_try_init(open).await
    }
}

pub(super) fn failed(error: &sqlx::Error) -> StoreError {
    StoreError(format!("SQLite failed: {error}"))
}
