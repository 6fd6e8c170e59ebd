//! What an agent remembers as the document holds it.

use astromesh_crds::v1alpha1::{ConversationalMemory, EpisodicMemory, Memory, SemanticMemory, StoreConnection};

use super::agent::Compiler;
use super::provider::{auth, secret_key};
use crate::document::{
    ConversationalDocument, EmbeddingsDocument, EpisodicDocument, MemoryDocument, SecretKey, SemanticDocument,
};

pub(super) fn memory(compiler: &mut Compiler, memory: &Memory) -> MemoryDocument {
    MemoryDocument {
        conversational: memory.conversational.as_ref().map(|said| conversational(compiler, said)),
        episodic: memory.episodic.as_ref().map(episodic),
        semantic: memory.semantic.as_ref().map(|meant| semantic(compiler, meant)),
    }
}

fn conversational(compiler: &mut Compiler, said: &ConversationalMemory) -> ConversationalDocument {
    ConversationalDocument {
        backend: said.backend,
        connection: said.connection.as_ref().map(connection),
        strategy: said.strategy,
        max_turns: said.max_turns,
        max_tokens: said.max_tokens,
        ttl_ms: compiler.millis("spec.memory.conversational.ttl", &said.ttl),
    }
}

fn episodic(done: &EpisodicMemory) -> EpisodicDocument {
    EpisodicDocument {
        backend: done.backend,
        connection: done.connection.as_ref().map(connection),
        max_events: done.max_events,
    }
}

fn semantic(compiler: &mut Compiler, meant: &SemanticMemory) -> SemanticDocument {
    let embeddings = &meant.embeddings;
    let auth = auth(embeddings.auth.as_ref()).unwrap_or_else(|| {
        compiler.invalid("spec.memory.semantic.embeddings.auth.secretKeyRef", "is missing".to_owned());
        None
    });
    SemanticDocument {
        backend: meant.backend,
        connection: meant.connection.as_ref().map(connection),
        embeddings: EmbeddingsDocument {
            provider: embeddings.provider,
            model: embeddings.model.clone(),
            endpoint: embeddings.endpoint.clone(),
            auth,
            dimension: embeddings.dimension,
            batch_size: embeddings.batch_size,
        },
        top_k: meant.top_k,
        min_score: meant.min_score,
    }
}

fn connection(connection: &StoreConnection) -> SecretKey {
    secret_key(&connection.secret_key_ref)
}
