//! What agents remember: the stores, which outlive reloads and are shared by the agents that name the same one.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use agent_pod_config::{ConversationalDocument, MemoryDocument, SecretKey};
use agent_pod_core::agent::AgentMemory;
use agent_pod_core::memory::{ConversationSettings, ConversationStore, Strategy};
use agent_pod_infra::memory::{PostgresStore, RedisStore, SqliteStore};
use agent_pod_infra::secret::{SecretHandle, SecretId, SecretStore};
use astromesh_crds::v1alpha1::{ConversationalBackend, MemoryStrategy};

/// The file of what agents keep on disk.
const FILE: &str = "memory.db";

/// The stores in use.
pub(super) struct Memory {
    in_process: Arc<dyn ConversationStore>,
    secrets: SecretStore,
    folder: Option<PathBuf>,
    /// Those that some agent has, or a run of one that is gone.
    stores: HashMap<Place, Weak<dyn ConversationStore>>,
}

/// Where a store is.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    File(PathBuf),
    Redis(SecretKey),
    Postgres(SecretKey),
}

impl Memory {
    pub(super) fn new(in_process: Arc<dyn ConversationStore>, secrets: SecretStore) -> Self {
        Self { in_process, secrets, folder: None, stores: HashMap::new() }
    }

    pub(super) fn keep_files_in(&mut self, folder: PathBuf) {
        self.folder = Some(folder);
    }

    /// The memory of an agent, or why it cannot have it.
    pub(super) fn build(&mut self, memory: &MemoryDocument) -> Result<AgentMemory, String> {
        let said = &memory.conversational;
        let strategy = strategy(said);
        let settings =
            ConversationSettings { turns_max: strategy.turns_kept(), ttl: Duration::from_millis(said.ttl_ms) };
        Ok(AgentMemory { store: self.store(said)?, settings, strategy })
    }

    fn store(&mut self, said: &ConversationalDocument) -> Result<Arc<dyn ConversationStore>, String> {
        let connection = || said.connection.clone().ok_or("a server needs a connection: name the Secret with its URL");
        let place = match said.backend {
            ConversationalBackend::InMemory => return Ok(Arc::clone(&self.in_process)),
            ConversationalBackend::Sqlite => {
                let folder =
                    self.folder.as_ref().ok_or("sqlite keeps a file: start with --data-dir DIR, or use in_memory")?;
                Place::File(folder.join(FILE))
            }
            ConversationalBackend::Redis => Place::Redis(connection()?),
            ConversationalBackend::Postgres => Place::Postgres(connection()?),
        };
        if let Some(store) = self.stores.get(&place).and_then(Weak::upgrade) {
            return Ok(store);
        }
        self.stores.retain(|_, store| store.strong_count() > 0);
        let store: Arc<dyn ConversationStore> = match &place {
            Place::File(file) => Arc::new(SqliteStore::new(file)),
            Place::Redis(key) => Arc::new(RedisStore::new(self.url(key))),
            Place::Postgres(key) => Arc::new(PostgresStore::new(self.url(key))),
        };
        self.stores.insert(place, Arc::downgrade(&store));
        Ok(store)
    }

    fn url(&self, SecretKey { name, key }: &SecretKey) -> SecretHandle {
        self.secrets.handle(&SecretId { name: name.clone(), key: key.clone() })
    }
}

fn strategy(said: &ConversationalDocument) -> Strategy {
    let turns_max = usize::try_from(said.max_turns).unwrap_or(usize::MAX);
    match said.strategy {
        MemoryStrategy::SlidingWindow => Strategy::SlidingWindow { turns_max },
        MemoryStrategy::TokenBudget => Strategy::TokenBudget { tokens_max: u64::from(said.max_tokens) },
        MemoryStrategy::Summary => Strategy::Summary { turns_max },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_pod_infra::memory::InProcessStore;

    fn said(backend: ConversationalBackend, secret: &str) -> MemoryDocument {
        let server = matches!(backend, ConversationalBackend::Redis | ConversationalBackend::Postgres);
        MemoryDocument {
            conversational: ConversationalDocument {
                backend,
                connection: server.then(|| SecretKey { name: secret.to_owned(), key: "url".to_owned() }),
                strategy: MemoryStrategy::SlidingWindow,
                max_turns: 3,
                max_tokens: 100,
                ttl_ms: 1000,
            },
        }
    }

    fn memory() -> Memory {
        Memory::new(Arc::new(InProcessStore::new()), SecretStore::in_memory())
    }

    #[test]
    fn agents_that_name_the_same_store_share_it() {
        let mut memory = memory();
        memory.keep_files_in(PathBuf::from("/nowhere"));
        let mut store = |backend, secret: &str| memory.build(&said(backend, secret)).unwrap().store;
        for backend in [
            ConversationalBackend::InMemory,
            ConversationalBackend::Sqlite,
            ConversationalBackend::Redis,
            ConversationalBackend::Postgres,
        ] {
            assert!(Arc::ptr_eq(&store(backend, "a"), &store(backend, "a")), "{backend:?}");
        }
        let redis = store(ConversationalBackend::Redis, "a");
        assert!(!Arc::ptr_eq(&redis, &store(ConversationalBackend::Redis, "b")));
    }

    #[test]
    fn a_file_needs_a_folder() {
        let refused = memory().build(&said(ConversationalBackend::Sqlite, "a")).err().unwrap();
        assert!(refused.contains("--data-dir"), "{refused}");
    }
}
