//! The server that the stores of a pod share, with its tables.

use std::str::FromStr as _;
use std::sync::Arc;

use agent_pod_core::memory::StoreError;
use sqlx::Connection as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::sync::OnceCell;

use crate::memory::OPERATION_WAIT;
use crate::memory::connection::Connected;
use crate::memory::health::{Failed, Health, is_the_way};
use crate::secret::SecretHandle;

/// Connections of one pod. A turn holds one for milliseconds only, so that few serve many.
const CONNECTIONS_MAX: u32 = 8;

/// A PostgreSQL server with all tables.
pub struct PostgresServer {
    connected: Connected<Server>,
    health: Health,
}

struct Server {
    pool: PgPool,
    options: PgConnectOptions,
    migrated: OnceCell<()>,
    vectors_migrated: OnceCell<()>,
}

impl PostgresServer {
    /// The server at the URL that the Secret's key holds. Nothing is connected until it is used.
    #[must_use]
    pub fn new(url: SecretHandle) -> Self {
        Self { connected: Connected::new(url), health: Health::new() }
    }

    /// Runs one operation within its time, or fails at once while the server is left alone.
    pub(super) async fn bounded<T>(&self, operation: impl Future<Output = Result<T, Failed>>) -> Result<T, StoreError> {
        // Another URL is another server, of which nothing is known.
        self.connected()?;
        self.health.bounded(operation).await
    }

    /// Fails while the server is left alone.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.connected()?;
        self.health.check()
    }

    /// The pool, with the tables made.
    pub(super) async fn pool(&self) -> Result<PgPool, Failed> {
        let server = self.connected()?;
        let tables = || migrate(&server.options, sqlx::migrate!("migrations/postgres"), "astromesh_migrations");
        server.migrated.get_or_try_init(tables).await?;
        Ok(server.pool.clone())
    }

    /// The pool, with the extension `vector` and the tables that need it. Who needs none shall not miss it.
    pub(super) async fn pool_with_vectors(&self) -> Result<PgPool, Failed> {
        let server = self.connected()?;
        let tables = || migrate(&server.options, sqlx::migrate!("migrations/pgvector"), "astromesh_vector_migrations");
        server.vectors_migrated.get_or_try_init(tables).await?;
        Ok(server.pool.clone())
    }

    fn connected(&self) -> Result<Arc<Server>, StoreError> {
        self.connected.get(|url| {
            let options = PgConnectOptions::from_str(url)
                .map_err(|_holds_the_url| StoreError("the connection is not a postgres:// URL".into()))?
                .application_name("astromesh");
            let pool = PgPoolOptions::new()
                .max_connections(CONNECTIONS_MAX)
                .acquire_timeout(OPERATION_WAIT)
                .connect_lazy_with(options.clone());
            self.health.forget();
            Ok(Server { pool, options, migrated: OnceCell::new(), vectors_migrated: OnceCell::new() })
        })
    }
}

/// Makes the tables. Several pods may do so at once: the first one takes an advisory lock, the others find them made.
///
/// On a connection of its own, which ends with whoever gives up: a pooled one would keep the advisory lock.
async fn migrate(options: &PgConnectOptions, mut migrator: Migrator, table_name: &'static str) -> Result<(), Failed> {
    migrator.dangerous_set_table_name(table_name);
    // Those of a newer release: while it is rolled out, pods of this one go on. Migrations only add.
    migrator.set_ignore_missing(true);
    let mut connection = PgConnection::connect_with(options).await.map_err(|error| failed(&error))?;
    let migrated = migrator.run_direct(None, &mut connection, false).await;
    migrated.map_err(|error| {
        if let MigrateError::Execute(error) = &error {
            return failed(error);
        }
        StoreError(format!("the tables could not be made: {error}")).into()
    })?;
    connection.close().await.map_err(|error| failed(&error))
}

/// What went wrong, without the URL and without what was said.
pub(super) fn failed(error: &sqlx::Error) -> Failed {
    if let sqlx::Error::Database(error) = error {
        let refused = StoreError(format!("PostgreSQL refused: {}", error.message()));
        // Class 57: it is shutting down, or has not started yet.
        let down = error.code().is_some_and(|code| code.starts_with("57P"));
        return if down { Failed::Down(refused) } else { Failed::Refused(refused) };
    }
    let failure = StoreError(format!("PostgreSQL failed: {error}"));
    if is_the_way(error) { Failed::Down(failure) } else { Failed::Refused(failure) }
}
