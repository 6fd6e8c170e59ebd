//! The stores in use: they outlive reloads, and agents that name the same place share them.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use agent_pod_config::SecretKey;
use agent_pod_infra::memory::{
    EmbeddedMeanings, PgvectorMeanings, PostgresBudgets, PostgresEpisodes, PostgresServer, PostgresStore, RedisBudgets,
    RedisServer, RedisStore, SqliteEpisodes, SqliteFile, SqliteStore,
};
use agent_pod_infra::secret::{SecretHandle, SecretId, SecretStore};

/// The file of what agents keep on disk.
const FILE: &str = "memory.db";

/// The stores in use.
pub(super) struct Stores {
    secrets: SecretStore,
    folder: Option<PathBuf>,
    redis: Shared<SecretKey, RedisServer>,
    on_redis: Shared<SecretKey, RedisStore>,
    budgets_on_redis: Shared<SecretKey, RedisBudgets>,
    files: Shared<PathBuf, SqliteFile>,
    in_files: Shared<PathBuf, SqliteStore>,
    episodes_in_files: Shared<PathBuf, SqliteEpisodes>,
    meanings_in_files: Shared<PathBuf, EmbeddedMeanings>,
    servers: Shared<SecretKey, PostgresServer>,
    on_servers: Shared<SecretKey, PostgresStore>,
    episodes_on_servers: Shared<SecretKey, PostgresEpisodes>,
    meanings_on_servers: Shared<SecretKey, PgvectorMeanings>,
    budgets_on_servers: Shared<SecretKey, PostgresBudgets>,
}

/// Those that some agent has, or a run of one that is gone.
struct Shared<K, V>(HashMap<K, Weak<V>>);

impl<K: Clone + Eq + Hash, V> Shared<K, V> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    fn at(&mut self, place: &K, make: impl FnOnce() -> V) -> Arc<V> {
        if let Some(known) = self.0.get(place).and_then(Weak::upgrade) {
            return known;
        }
        self.0.retain(|_, known| known.strong_count() > 0);
        let made = Arc::new(make());
        self.0.insert(place.clone(), Arc::downgrade(&made));
        made
    }
}

impl Stores {
    pub(super) fn new(secrets: SecretStore) -> Self {
        Self {
            secrets,
            folder: None,
            redis: Shared::new(),
            on_redis: Shared::new(),
            budgets_on_redis: Shared::new(),
            files: Shared::new(),
            in_files: Shared::new(),
            episodes_in_files: Shared::new(),
            meanings_in_files: Shared::new(),
            servers: Shared::new(),
            on_servers: Shared::new(),
            episodes_on_servers: Shared::new(),
            meanings_on_servers: Shared::new(),
            budgets_on_servers: Shared::new(),
        }
    }

    pub(super) fn keep_files_in(&mut self, folder: PathBuf) {
        self.folder = Some(folder);
    }

    pub(super) fn conversations_on_redis(&mut self, key: &SecretKey) -> Arc<RedisStore> {
        let server = self.redis(key);
        self.on_redis.at(key, || RedisStore::new(server))
    }

    pub(super) fn budgets_on_redis(&mut self, key: &SecretKey) -> Arc<RedisBudgets> {
        let server = self.redis(key);
        self.budgets_on_redis.at(key, || RedisBudgets::new(server))
    }

    pub(super) fn conversations_in_file(&mut self) -> Result<Arc<SqliteStore>, String> {
        let (place, file) = self.file()?;
        Ok(self.in_files.at(&place, || SqliteStore::new(file)))
    }

    pub(super) fn episodes_in_file(&mut self) -> Result<Arc<SqliteEpisodes>, String> {
        let (place, file) = self.file()?;
        Ok(self.episodes_in_files.at(&place, || SqliteEpisodes::new(file)))
    }

    pub(super) fn conversations_on(&mut self, key: &SecretKey) -> Arc<PostgresStore> {
        let server = self.server(key);
        self.on_servers.at(key, || PostgresStore::new(server))
    }

    pub(super) fn episodes_on(&mut self, key: &SecretKey) -> Arc<PostgresEpisodes> {
        let server = self.server(key);
        self.episodes_on_servers.at(key, || PostgresEpisodes::new(server))
    }

    pub(super) fn meanings_in_file(&mut self) -> Result<Arc<EmbeddedMeanings>, String> {
        let (place, file) = self.file()?;
        Ok(self.meanings_in_files.at(&place, || EmbeddedMeanings::new(file)))
    }

    pub(super) fn meanings_on(&mut self, key: &SecretKey) -> Arc<PgvectorMeanings> {
        let server = self.server(key);
        self.meanings_on_servers.at(key, || PgvectorMeanings::new(server))
    }

    pub(super) fn budgets_on(&mut self, key: &SecretKey) -> Arc<PostgresBudgets> {
        let server = self.server(key);
        self.budgets_on_servers.at(key, || PostgresBudgets::new(server))
    }

    fn file(&mut self) -> Result<(PathBuf, Arc<SqliteFile>), String> {
        let folder = self.folder.as_ref().ok_or("this backend keeps a file: start with --data-dir DIR")?;
        let place = folder.join(FILE);
        let file = self.files.at(&place, || SqliteFile::new(&place));
        Ok((place, file))
    }

    fn redis(&mut self, key: &SecretKey) -> Arc<RedisServer> {
        let Self { redis, secrets, .. } = self;
        redis.at(key, || RedisServer::new(url(secrets, key)))
    }

    fn server(&mut self, key: &SecretKey) -> Arc<PostgresServer> {
        let Self { servers, secrets, .. } = self;
        servers.at(key, || PostgresServer::new(url(secrets, key)))
    }
}

fn url(secrets: &SecretStore, SecretKey { name, key }: &SecretKey) -> SecretHandle {
    secrets.handle(&SecretId { name: name.clone(), key: key.clone() })
}
