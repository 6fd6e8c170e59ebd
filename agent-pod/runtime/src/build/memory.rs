//! What agents remember.

mod embedding;
mod stores;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_pod_config::{ConversationalDocument, EpisodicDocument, MemoryDocument, SecretKey, SemanticDocument};
use agent_pod_core::agent::{AgentMemory, ConversationMemory, EpisodicMemory, SemanticMemory};
use agent_pod_core::budget::BudgetStore;
use agent_pod_core::memory::episode::EpisodeStore;
use agent_pod_core::memory::semantic::SemanticStore;
use agent_pod_core::memory::{ConversationSettings, ConversationStore, Strategy};
use agent_pod_infra::secret::SecretStore;
use astromesh_crds::v1alpha1::{ConversationalBackend, EpisodicBackend, MemoryStrategy, SemanticBackend};

use self::embedding::Paces;
use self::stores::Stores;

/// Builds memories over the stores in use.
pub(super) struct Memory {
    in_process: Arc<dyn ConversationStore>,
    secrets: SecretStore,
    stores: Stores,
    paces: Paces,
}

/// The field below `memory` that cannot be built, and why.
pub(super) type Refused = (String, String);

impl Memory {
    pub(super) fn new(in_process: Arc<dyn ConversationStore>, secrets: SecretStore) -> Self {
        Self { in_process, stores: Stores::new(secrets.clone()), secrets, paces: Paces::default() }
    }

    pub(super) fn keep_files_in(&mut self, folder: PathBuf) {
        self.stores.keep_files_in(folder);
    }

    /// The memory of an agent, or why it cannot have it.
    pub(super) fn build(&mut self, memory: &MemoryDocument) -> Result<AgentMemory, Refused> {
        let conversation = memory.conversational.as_ref().map(|said| self.conversation(said)).transpose();
        let episodic = memory.episodic.as_ref().map(|done| self.episodic(done)).transpose();
        let at = |kind: &str| format!("{kind}.backend");
        Ok(AgentMemory {
            conversation: conversation.map_err(|message| (at("conversational"), message))?,
            episodic: episodic.map_err(|message| (at("episodic"), message))?,
            semantic: memory.semantic.as_ref().map(|meant| self.semantic(meant)).transpose()?,
        })
    }

    /// Where the replicas of an agent count together what they use: the server of its conversations, if it has one.
    pub(super) fn budgets(&mut self, memory: &MemoryDocument) -> Option<Arc<dyn BudgetStore>> {
        let said = memory.conversational.as_ref()?;
        let connection = said.connection.as_ref()?;
        match said.backend {
            ConversationalBackend::InMemory | ConversationalBackend::Sqlite => None,
            ConversationalBackend::Redis => Some(self.stores.budgets_on_redis(connection)),
            ConversationalBackend::Postgres => Some(self.stores.budgets_on(connection)),
        }
    }

    fn conversation(&mut self, said: &ConversationalDocument) -> Result<ConversationMemory, String> {
        let store: Arc<dyn ConversationStore> = match said.backend {
            ConversationalBackend::InMemory => Arc::clone(&self.in_process),
            ConversationalBackend::Sqlite => self.stores.conversations_in_file()?,
            ConversationalBackend::Redis => self.stores.conversations_on_redis(connection(said.connection.as_ref())?),
            ConversationalBackend::Postgres => self.stores.conversations_on(connection(said.connection.as_ref())?),
        };
        let strategy = strategy(said);
        let settings =
            ConversationSettings { turns_max: strategy.turns_kept(), ttl: Duration::from_millis(said.ttl_ms) };
        Ok(ConversationMemory { store, settings, strategy })
    }

    fn episodic(&mut self, done: &EpisodicDocument) -> Result<EpisodicMemory, String> {
        let store: Arc<dyn EpisodeStore> = match done.backend {
            EpisodicBackend::Sqlite => self.stores.episodes_in_file()?,
            EpisodicBackend::Postgres => self.stores.episodes_on(connection(done.connection.as_ref())?),
        };
        Ok(EpisodicMemory { store, events_max: usize::try_from(done.max_events).unwrap_or(usize::MAX) })
    }

    fn semantic(&mut self, meant: &SemanticDocument) -> Result<SemanticMemory, Refused> {
        let refused = |message| ("semantic.backend".to_owned(), message);
        let store: Arc<dyn SemanticStore> = match meant.backend {
            SemanticBackend::Embedded => self.stores.meanings_in_file().map_err(refused)?,
            SemanticBackend::Pgvector => {
                self.stores.meanings_on(connection(meant.connection.as_ref()).map_err(refused)?)
            }
        };
        let embedding = embedding::embedding(&self.secrets, &meant.embeddings, &mut self.paces);
        let embedding =
            embedding.map_err(|error| (format!("semantic.embeddings.{}", error.field()), error.to_string()))?;
        let top_k = usize::try_from(meant.top_k).unwrap_or(usize::MAX);
        Ok(SemanticMemory { store, embedding, top_k, min_score: meant.min_score })
    }
}

fn connection(key: Option<&SecretKey>) -> Result<&SecretKey, String> {
    key.ok_or_else(|| "a server needs a connection: name the Secret with its URL".to_owned())
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
    use agent_pod_config::EmbeddingsDocument;
    use agent_pod_infra::memory::InProcessStore;
    use astromesh_crds::v1alpha1::EmbeddingsProvider;

    fn said(backend: ConversationalBackend, secret: &str) -> MemoryDocument {
        let server = matches!(backend, ConversationalBackend::Redis | ConversationalBackend::Postgres);
        let conversational = ConversationalDocument {
            backend,
            connection: server.then(|| key(secret)),
            strategy: MemoryStrategy::SlidingWindow,
            max_turns: 3,
            max_tokens: 100,
            ttl_ms: 1000,
        };
        MemoryDocument { conversational: Some(conversational), episodic: None, semantic: None }
    }

    fn done(backend: EpisodicBackend, secret: &str) -> MemoryDocument {
        let connection = (backend == EpisodicBackend::Postgres).then(|| key(secret));
        let episodic = Some(EpisodicDocument { backend, connection, max_events: 5 });
        MemoryDocument { conversational: None, episodic, semantic: None }
    }

    fn meant(backend: SemanticBackend, endpoint: &str) -> MemoryDocument {
        let embeddings = EmbeddingsDocument {
            provider: EmbeddingsProvider::Ollama,
            model: "e".to_owned(),
            endpoint: endpoint.to_owned(),
            auth: None,
            dimension: 4,
            batch_size: 32,
        };
        let connection = (backend == SemanticBackend::Pgvector).then(|| key("a"));
        let semantic = Some(SemanticDocument { backend, connection, embeddings, top_k: 5, min_score: 0.5 });
        MemoryDocument { conversational: None, episodic: None, semantic }
    }

    fn key(secret: &str) -> SecretKey {
        SecretKey { name: secret.to_owned(), key: "url".to_owned() }
    }

    fn memory() -> Memory {
        Memory::new(Arc::new(InProcessStore::new()), SecretStore::in_memory())
    }

    #[tokio::test]
    async fn agents_that_name_the_same_store_share_it() {
        let mut memory = memory();
        memory.keep_files_in(PathBuf::from("/nowhere"));
        let mut store = |backend, secret: &str| {
            let built = memory.build(&said(backend, secret)).unwrap();
            built.conversation.unwrap().store
        };
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
        let mut store = |backend, secret: &str| memory.build(&done(backend, secret)).unwrap().episodic.unwrap().store;
        for backend in [EpisodicBackend::Sqlite, EpisodicBackend::Postgres] {
            assert!(Arc::ptr_eq(&store(backend, "a"), &store(backend, "a")), "{backend:?}");
        }
        let mut store = |backend| memory.build(&meant(backend, "http://ollama")).unwrap().semantic.unwrap().store;
        for backend in [SemanticBackend::Embedded, SemanticBackend::Pgvector] {
            assert!(Arc::ptr_eq(&store(backend), &store(backend)), "{backend:?}");
        }
    }

    #[tokio::test]
    async fn budgets_are_counted_where_the_conversations_are() {
        let mut memory = memory();
        let mut store = |backend, secret: &str| memory.budgets(&said(backend, secret));
        for backend in [ConversationalBackend::InMemory, ConversationalBackend::Sqlite] {
            assert!(store(backend, "a").is_none(), "{backend:?}");
        }
        for backend in [ConversationalBackend::Redis, ConversationalBackend::Postgres] {
            let known = store(backend, "a").unwrap();
            assert!(Arc::ptr_eq(&known, &store(backend, "a").unwrap()), "{backend:?}");
            assert!(!Arc::ptr_eq(&known, &store(backend, "b").unwrap()), "{backend:?}");
        }
        assert!(memory.budgets(&done(EpisodicBackend::Postgres, "a")).is_none());
    }

    #[test]
    fn an_endpoint_of_embeddings_that_cannot_be_called_is_named() {
        let (at, why) = memory().build(&meant(SemanticBackend::Pgvector, "ollama:11434")).err().unwrap();
        assert_eq!((at.as_str(), why.contains("cannot be called")), ("semantic.embeddings.endpoint", true), "{why}");
    }

    #[test]
    fn a_file_needs_a_folder() {
        for (document, field) in [
            (said(ConversationalBackend::Sqlite, "a"), "conversational.backend"),
            (done(EpisodicBackend::Sqlite, "a"), "episodic.backend"),
            (meant(SemanticBackend::Embedded, "http://ollama"), "semantic.backend"),
        ] {
            let (at, why) = memory().build(&document).err().unwrap();
            assert_eq!(at, field);
            assert!(why.contains("--data-dir"), "{why}");
        }
    }
}
