//! The server that the stores of a pod share, with its tables.

use std::str::FromStr as _;
use std::sync::Arc;

use agent_pod_core::memory::StoreError;
use sqlx::Connection as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use tokio::sync::OnceCell;

use crate::memory::OPERATION_WAIT;
use crate::memory::connection::Connected;
use crate::secret::SecretHandle;

/// Connections of one pod. A turn holds one for milliseconds only, so that few serve many.
const CONNECTIONS_MAX: u32 = 8;

/// A PostgreSQL server with all tables.
pub struct PostgresServer(Connected<Server>);

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
        Self(Connected::new(url))
    }

    /// The pool, with the tables made.
    pub(super) async fn pool(&self) -> Result<PgPool, StoreError> {
        let server = self.connected()?;
        let tables = || migrate(&server.options, sqlx::migrate!("migrations/postgres"), "astromesh_migrations");
        server.migrated.get_or_try_init(tables).await?;
        Ok(server.pool.clone())
    }

    /// The pool, with the extension `vector` and the tables that need it. Who needs none shall not miss it.
    pub(super) async fn pool_with_vectors(&self) -> Result<PgPool, StoreError> {
        let server = self.connected()?;
        let tables = || migrate(&server.options, sqlx::migrate!("migrations/pgvector"), "astromesh_vector_migrations");
        server.vectors_migrated.get_or_try_init(tables).await?;
        Ok(server.pool.clone())
    }

    fn connected(&self) -> Result<Arc<Server>, StoreError> {
        self.0.get(|url| {
            let options = PgConnectOptions::from_str(url)
                .map_err(|_holds_the_url| StoreError("the connection is not a postgres:// URL".into()))?
                .application_name("astromesh");
            let pool = PgPoolOptions::new()
                .max_connections(CONNECTIONS_MAX)
                .acquire_timeout(OPERATION_WAIT)
                .connect_lazy_with(options.clone());
            Ok(Server { pool, options, migrated: OnceCell::new(), vectors_migrated: OnceCell::new() })
        })
    }
}

/// Makes the tables. Several pods may do so at once: the first one takes an advisory lock, the others find them made.
///
/// On a connection of its own, which ends with whoever gives up: a pooled one would keep the advisory lock.
async fn migrate(
    options: &PgConnectOptions,
    mut migrator: Migrator,
    table_name: &'static str,
) -> Result<(), StoreError> {
    migrator.dangerous_set_table_name(table_name);
    // Those of a newer release: while it is rolled out, pods of this one go on. Migrations only add.
    migrator.set_ignore_missing(true);
    let mut connection = PgConnection::connect_with(options).await.map_err(|error| failed(&error))?;
    let migrated = migrator.run_direct(None, &mut connection, false).await;
    migrated.map_err(|error| StoreError(format!("the tables could not be made: {error}")))?;
    connection.close().await.map_err(|error| failed(&error))
}

/// What went wrong, without the URL and without what was said.
pub(super) fn failed(error: &sqlx::Error) -> StoreError {
    if let sqlx::Error::Database(error) = error {
        return StoreError(format!("PostgreSQL refused: {}", error.message()));
    }
    StoreError(format!("PostgreSQL failed: {error}"))
}
