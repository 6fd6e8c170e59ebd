//! The file that the stores of a pod share.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use agent_pod_core::memory::StoreError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::Mutex;

use crate::memory::OPERATION_WAIT;
use crate::memory::health::{Failed, Health, is_the_way};

/// One writes at a time, some read beside it.
const CONNECTIONS_MAX: u32 = 4;

/// The writer's place is taken at the beginning, so that no write fails half way for having read before.
pub(super) const WRITE: &str = "begin immediate";

/// A SQLite file with all tables.
///
/// Whoever deletes or replaces it under the pod takes away what it held: the operation that notices fails, and from the next
/// one on there is a file again. Connections to a file without a name would go on as if nothing were.
pub struct SqliteFile {
    path: PathBuf,
    options: SqliteConnectOptions,
    opened: Mutex<Option<Opened>>,
    pub(super) health: Health,
}

struct Opened {
    pool: SqlitePool,
    database: Seen,
    log: Option<Seen>,
}

/// Which file has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    file: (u64, u64),
    length: u64,
}

impl Seen {
    fn at(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(Some(Self { file: (found.dev(), found.ino()), length: found.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl SqliteFile {
    /// This file, which is made when it is first used.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        let path = file.into();
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A crash of the machine may lose the last turns, never the file.
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(OPERATION_WAIT);
        Self { path, options, opened: Mutex::new(None), health: Health::new() }
    }

    /// The pool, with the tables made. Two processes may make them at once: each migration has the writer's lock.
    pub(super) async fn pool(&self) -> Result<SqlitePool, Failed> {
        let mut current = self.opened.lock().await;
        let Some(opened) = current.as_mut() else {
            let opened = self.open().await?;
            return Ok(current.insert(opened).pool.clone());
        };
        let (database, log) = self.seen().await?;
        let opened_file = opened.database.file;
        // A database of this pod never gets shorter.
        if database.is_none_or(|seen| seen.file != opened.database.file || seen.length < opened.database.length) {
            let gone = current.take();
            let emptied = database.filter(|seen| seen.file == opened_file && seen.length == 0);
            self.close(gone).await;
            if emptied.is_some() {
                self.begin_anew().await?;
            }
            return Err(StoreError("the SQLite file was deleted or replaced, and what it held is gone".into()).into());
        }
        opened.database = database.unwrap_or(opened.database);
        if log.map(|log| log.file) != opened.log.map(|log| log.file) {
            // Closing writes all that is in the log into the database, whatever became of the log's name.
            tracing::warn!(path = %self.path.display(), "the log of the SQLite file was taken away; the file is opened anew");
            let gone = current.take();
            self.close(gone).await;
            let opened = self.open().await?;
            return Ok(current.insert(opened).pool.clone());
        }
        Ok(opened.pool.clone())
    }

    async fn open(&self) -> Result<Opened, Failed> {
        // The folder may have gone with the file.
        if let Some(folder) = self.path.parent() {
            let made = tokio::fs::create_dir_all(folder).await;
            made.map_err(|error| StoreError(format!("the folder of the SQLite file cannot be made: {error}")))?;
        }
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(OPERATION_WAIT)
            // The last connection that is closed takes the log away.
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(self.options.clone());
        let mut migrator: Migrator = sqlx::migrate!("migrations/sqlite");
        // Those of a newer release, before it was rolled back: migrations only add.
        migrator.set_ignore_missing(true);
        migrator.run(&pool).await.map_err(|error| {
            if let MigrateError::Execute(error) = &error {
                return failed(error);
            }
            StoreError(format!("the tables could not be made: {error}")).into()
        })?;
        let (database, log) = self.seen().await?;
        let database =
            database.ok_or_else(|| StoreError("the SQLite file was deleted as soon as it was made".into()))?;
        Ok(Opened { pool, database, log })
    }

    /// Closes the connections before others are opened: two of one file that know nothing of each other would spoil it.
    async fn close(&self, opened: Option<Opened>) {
        if let Some(opened) = opened {
            opened.pool.close().await;
        }
    }

    /// Empties the file once more. Closing has written what was left in the log into it: pages without the beginning that
    /// they belong to, of which nobody could make a database again.
    async fn begin_anew(&self) -> Result<(), Failed> {
        let emptied = async {
            tokio::fs::File::create(&self.path).await?;
            for end in ["-wal", "-shm"] {
                let mut beside = self.path.clone().into_os_string();
                beside.push(end);
                match tokio::fs::remove_file(&beside).await {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            Ok(())
        };
        emptied.await.map_err(|error| StoreError(format!("the SQLite file cannot be begun anew: {error}")).into())
    }

    /// The database and its log. Not on this thread: a file system may not answer.
    async fn seen(&self) -> Result<(Option<Seen>, Option<Seen>), Failed> {
        let database = self.path.clone();
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let looked = tokio::task::spawn_blocking(move || Ok((Seen::at(&database)?, Seen::at(Path::new(&log))?))).await;
        let looked = looked.unwrap_or_else(|error| Err(io::Error::other(error)));
        looked.map_err(|error| StoreError(format!("the SQLite file cannot be looked at: {error}")).into())
    }
}

pub(super) fn failed(error: &sqlx::Error) -> Failed {
    let failure = StoreError(format!("SQLite failed: {error}"));
    if is_the_way(error) { Failed::Down(failure) } else { Failed::Refused(failure) }
}
