//! What an agent remembers as the document holds it.

use astromesh_crds::v1alpha1::{ConversationalMemory, EpisodicMemory, Memory, StoreConnection};

use super::agent::Compiler;
use crate::document::{ConversationalDocument, EpisodicDocument, MemoryDocument, SecretKey};

pub(super) fn memory(compiler: &mut Compiler, memory: &Memory) -> MemoryDocument {
    MemoryDocument {
        conversational: memory.conversational.as_ref().map(|said| conversational(compiler, said)),
        episodic: memory.episodic.as_ref().map(episodic),
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

fn connection(StoreConnection { secret_key_ref }: &StoreConnection) -> SecretKey {
    SecretKey { name: secret_key_ref.name.clone(), key: secret_key_ref.key.clone() }
}
