//! Places for stores: real servers, each test in a corner of its own, and a proxy that cuts the way to them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_pod_core::budget::BudgetStore;
use agent_pod_core::memory::ConversationStore;
use agent_pod_core::memory::episode::EpisodeStore;
use agent_pod_core::memory::semantic::SemanticStore;
use agent_pod_infra::memory::{
    EmbeddedMeanings, PgvectorMeanings, PostgresBudgets, PostgresEpisodes, PostgresServer, PostgresStore, RedisBudgets,
    RedisServer, RedisStore, SqliteEpisodes, SqliteFile, SqliteStore,
};
use agent_pod_infra::secret::{SecretHandle, SecretId, SecretStore};
use secrecy::SecretString;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The value of the variable; without it the test is skipped, but on CI it fails.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where servers are")]
fn server(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set; e2e/stores/start prints it");
        eprintln!("skipped: {variable} is not set; e2e/stores/start prints it");
    }
    url
}

/// A folder for a file.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn store(&self) -> Arc<dyn ConversationStore> {
        Arc::new(SqliteStore::new(self.file()))
    }

    pub(crate) fn episodes(&self) -> Arc<dyn EpisodeStore> {
        Arc::new(SqliteEpisodes::new(self.file()))
    }

    pub(crate) fn meanings(&self) -> Arc<dyn SemanticStore> {
        Arc::new(EmbeddedMeanings::new(self.file()))
    }

    fn file(&self) -> Arc<SqliteFile> {
        Arc::new(SqliteFile::new(self.path()))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("memory.db")
    }

    /// Leaves the trace of a migration that this release does not know.
    pub(crate) async fn migrate_further(&self) {
        let mut connection = SqliteConnection::connect(self.path().to_str().unwrap()).await.unwrap();
        connection.execute(AssertSqlSafe(newer("_sqlx_migrations"))).await.unwrap();
    }
}

pub(crate) async fn sqlite() -> Option<Folder> {
    Some(Folder(tempfile::tempdir().unwrap()))
}

#[derive(Clone, Copy)]
enum Kind {
    Postgres,
    Redis,
}

/// A database of a server that nobody else uses.
pub(crate) struct Place {
    kind: Kind,
    url: String,
    address: SocketAddr,
}

/// A database of its own for each test.
pub(crate) async fn postgres() -> Option<Place> {
    let server = server("ASTROMESH_TEST_POSTGRES")?;
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let mut connection = PgConnection::connect(&server).await.unwrap();
    connection.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
    connection.close().await.unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    Some(Place { kind: Kind::Postgres, url: format!("{base}/{name}"), address: address_of(&server) })
}

/// One of the server's databases, emptied. Each process runs one test at a time under nextest, and several under cargo
/// test; so the databases are handed out by a counter in the server.
pub(crate) async fn redis() -> Option<Place> {
    let server = server("ASTROMESH_TEST_REDIS")?;
    let mut connection =
        redis::Client::open(server.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    // Database 0 holds the counter.
    let count: usize = redis::cmd("INCR").arg("tests").query_async(&mut connection).await.unwrap();
    let number = 1 + count % 511;
    let url = format!("{server}/{number}");
    let mut connection = redis::Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
    redis::cmd("FLUSHDB").query_async::<()>(&mut connection).await.unwrap();
    Some(Place { kind: Kind::Redis, url, address: address_of(&server) })
}

fn newer(table: &str) -> String {
    format!(
        "insert into {table} (version, description, success, checksum, execution_time)
         select 9999, 'newer', success, checksum, execution_time from {table} limit 1"
    )
}

fn address_of(url: &str) -> SocketAddr {
    let (_, rest) = url.split_once("://").unwrap();
    let host = rest.split('/').next().unwrap();
    host.rsplit('@').next().unwrap().parse().unwrap()
}

fn id() -> SecretId {
    SecretId { name: "store".to_owned(), key: "url".to_owned() }
}

impl Place {
    /// Leaves the trace of a migration that this release does not know.
    pub(crate) async fn migrate_further(&self) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        connection.execute(AssertSqlSafe(newer("astromesh_migrations"))).await.unwrap();
    }

    fn at(url: &str) -> (SecretStore, SecretHandle) {
        let secrets = SecretStore::in_memory();
        let handle = secrets.handle(&id());
        secrets.set(&id(), Some(SecretString::from(url)));
        (secrets, handle)
    }

    fn store_at(&self, handle: SecretHandle) -> Arc<dyn ConversationStore> {
        match self.kind {
            Kind::Postgres => Arc::new(PostgresStore::new(Arc::new(PostgresServer::new(handle)))),
            Kind::Redis => Arc::new(RedisStore::new(Arc::new(RedisServer::new(handle)))),
        }
    }

    fn budgets_at(&self, handle: SecretHandle) -> Arc<dyn BudgetStore> {
        match self.kind {
            Kind::Postgres => Arc::new(PostgresBudgets::new(Arc::new(PostgresServer::new(handle)))),
            Kind::Redis => Arc::new(RedisBudgets::new(Arc::new(RedisServer::new(handle)))),
        }
    }

    /// One more replica of the store of budgets.
    pub(crate) fn budgets(&self) -> Arc<dyn BudgetStore> {
        self.budgets_at(Self::at(&self.url).1)
    }

    /// A store of budgets whose way to the server can be cut.
    pub(crate) async fn budgets_behind_proxy(&self) -> (Proxy, Arc<dyn BudgetStore>) {
        let (proxy, handle) = self.proxied().await;
        (proxy, self.budgets_at(handle))
    }

    /// One more replica of the store.
    pub(crate) fn store(&self) -> Arc<dyn ConversationStore> {
        self.store_at(Self::at(&self.url).1)
    }

    /// One more replica of the store of events.
    pub(crate) fn episodes(&self) -> Arc<dyn EpisodeStore> {
        Arc::new(PostgresEpisodes::new(self.server()))
    }

    /// One more replica of the store of texts by their meaning.
    pub(crate) fn meanings(&self) -> Arc<dyn SemanticStore> {
        Arc::new(PgvectorMeanings::new(self.server()))
    }

    /// One more pod's connections.
    fn server(&self) -> Arc<PostgresServer> {
        Arc::new(PostgresServer::new(Self::at(&self.url).1))
    }

    /// A store at a port where nobody listens, and its secrets.
    pub(crate) fn nowhere(&self) -> (SecretStore, Arc<dyn ConversationStore>) {
        let scheme = self.url.split("://").next().unwrap();
        let (secrets, handle) = Self::at(&format!("{scheme}://user:hunter2@127.0.0.1:1/0"));
        (secrets, self.store_at(handle))
    }

    /// Makes the secrets of [`Place::nowhere`] lead here.
    pub(crate) fn point(&self, secrets: &SecretStore) {
        secrets.set(&id(), Some(SecretString::from(self.url.as_str())));
    }

    /// A store whose way to the server can be cut.
    pub(crate) async fn behind_proxy(&self) -> (Proxy, Arc<dyn ConversationStore>) {
        let (proxy, handle) = self.proxied().await;
        (proxy, self.store_at(handle))
    }

    /// A URL whose way to the server can be cut.
    pub(crate) async fn proxied(&self) -> (Proxy, SecretHandle) {
        let proxy = Proxy::start(self.address).await;
        let url = self.url.replace(&self.address.to_string(), &proxy.address.to_string());
        (proxy, Self::at(&url).1)
    }
}

/// What becomes of connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// All of them end, and new ones end at once.
    Cut,
    /// Nothing passes any more, and nothing ends: as when the server is paused.
    Stalled,
}

/// Passes connections on, until it is cut or stalled.
pub(crate) struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    passed: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Proxy {
    async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, seen) = watch::channel(Way::Open);
        let passed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&passed);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut from, _) = listener.accept().await.unwrap();
                let mut way = seen.clone();
                if *way.borrow() == Way::Cut {
                    continue;
                }
                count.fetch_add(1, Ordering::Relaxed);
                connections.spawn(async move {
                    let mut to = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut to) => {}
                        _ = way.wait_for(|way| *way != Way::Open) => {}
                    }
                    drop(way.wait_for(|way| *way != Way::Stalled).await);
                });
            }
        });
        Self { address, way, passed, _task: task }
    }

    pub(crate) fn cut(&self) {
        self.turn(Way::Cut);
    }

    pub(crate) fn stall(&self) {
        self.turn(Way::Stalled);
    }

    pub(crate) fn mend(&self) {
        self.way.send_replace(Way::Open);
    }

    fn turn(&self, way: Way) {
        assert!(self.passed.load(Ordering::Relaxed) > 0, "nothing went through the proxy");
        self.way.send_replace(way);
    }
}
