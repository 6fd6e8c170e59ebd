//! The history of a session as callers read it: page by page, the newest page first.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join3;
use tokio::time::timeout;

use super::episode::EpisodeStore;
use super::semantic::{Found, SemanticError, find};
use super::{Conversation, ConversationStore, SessionKey, StoreError, Window};
use crate::agent::{Agent, SemanticMemory};
use crate::byte_pool::PoolError;
use crate::embedding::EmbeddingError;
use crate::error::{ErrorCode, FieldProblem, RunError};
use crate::message::Message;

/// The most messages of a page.
pub const PAGE_MAX: usize = 1_000;

/// How long a caller waits for the store.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// How long a caller waits for a search, embedding included.
const SEARCH_WAIT: Duration = Duration::from_secs(10);

/// The most texts of a search.
pub const FOUND_MAX: usize = 100;

/// When it may be worth to ask a store again that is down.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The memory of one agent, for those who look into it.
#[derive(Clone)]
pub struct AgentHistory {
    name: String,
    key: String,
    stores: Stores,
}

/// Where the memory of an agent is kept; what is absent it does not have.
#[derive(Clone, Default)]
pub struct Stores {
    /// The turns of its sessions.
    pub conversations: Option<Arc<dyn ConversationStore>>,
    /// What became of its runs.
    pub episodes: Option<Arc<dyn EpisodeStore>>,
    /// What was said in its sessions, by its meaning.
    pub semantic: Option<SemanticMemory>,
}

/// One page, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryPage {
    /// The messages.
    pub messages: Vec<HistoryMessage>,
    /// What was folded away, in a few sentences.
    pub summary: Option<String>,
    /// Leads to the page of older messages, if there are any.
    pub next_cursor: Option<String>,
}

/// A message of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryMessage {
    /// The message.
    pub message: Message,
    /// When its turn ended (RFC 3339).
    pub timestamp: String,
}

/// Messages before this one: the one at `index` of turn `turn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    turn: u64,
    index: usize,
}

impl AgentHistory {
    /// The memory of this agent.
    #[must_use]
    pub fn of(agent: &Agent) -> Self {
        let stores = agent.memory.as_ref().map_or_else(Stores::default, |memory| Stores {
            conversations: memory.conversation.as_ref().map(|memory| Arc::clone(&memory.store)),
            episodes: memory.episodic.as_ref().map(|memory| Arc::clone(&memory.store)),
            semantic: memory.semantic.clone(),
        });
        Self::new(&agent.namespace, &agent.name, stores)
    }

    /// The memory of the agent of this name, which is kept in `stores`.
    #[must_use]
    pub fn new(namespace: &str, name: &str, stores: Stores) -> Self {
        Self { name: name.to_owned(), key: format!("{namespace}/{name}"), stores }
    }

    /// The newest `limit` messages of a session before `cursor`, or fewer: turns that take more than `bytes_max` together
    /// are for the next page.
    ///
    /// # Errors
    /// `session_not_found`, `validation_failed` for a cursor that is none, `memory_unavailable`, `overloaded` where a single
    /// turn takes more.
    pub async fn page(
        &self,
        session: &str,
        limit: usize,
        cursor: Option<&str>,
        bytes_max: usize,
    ) -> Result<HistoryPage, RunError> {
        let end = cursor.map(Position::parse).transpose()?;
        let limit = limit.clamp(1, PAGE_MAX);
        known_to_doors(session)?;
        let store = self.stores.conversations.as_ref().ok_or_else(|| self.no_memory())?;
        // Turns have a message each at least: these hold one more than asked for, which tells whether there are more.
        let before = end.map(|end| if end.index > 0 { end.turn.saturating_add(1) } else { end.turn });
        let key = self.session(session);
        let read = store.read(&key, Window { before, turns_max: limit.saturating_add(1), bytes_max });
        let conversation = in_time(read).await?.ok_or_else(|| not_found(session))?;
        if conversation.turns.is_empty() && conversation.left_out > 0 {
            return Err(PoolError::Exhausted.for_caller());
        }
        Ok(page_of(conversation, end, limit))
    }

    /// Forgets everything of a session. Returns how many messages it had.
    ///
    /// Stores are asked at the same time. Where one is down the others have forgotten, and whoever tries again gets it
    /// done.
    ///
    /// # Errors
    /// `session_not_found` where nothing is known of it, `memory_unavailable`.
    pub async fn clear(&self, session: &str) -> Result<u64, RunError> {
        let Stores { conversations, episodes, semantic } = &self.stores;
        if conversations.is_none() && episodes.is_none() && semantic.is_none() {
            return Err(self.no_memory());
        }
        known_to_doors(session)?;
        let key = self.session(session);
        let said = async { if let Some(store) = conversations { store.delete(&key).await } else { Ok(None) } };
        let done = async { if let Some(store) = episodes { store.delete(&key).await } else { Ok(0) } };
        let meant = async { if let Some(memory) = semantic { memory.store.delete(&key).await } else { Ok(0) } };
        let (said, done, meant) = join3(in_time(said), in_time(done), in_time(meant)).await;
        let (said, done, meant) = (said?, done?, meant?);
        if said.is_none() && done == 0 && meant == 0 {
            return Err(not_found(session));
        }
        Ok(said.unwrap_or_default())
    }

    /// What was said in any session of the agent that is close to `query`; `top_k`: so many, else as the agent is told.
    ///
    /// # Errors
    /// `session_not_found` for an agent without semantic memory, `memory_unavailable`.
    pub async fn search(&self, query: &str, top_k: Option<usize>) -> Result<Vec<Found>, RunError> {
        let Some(memory) = &self.stores.semantic else {
            let name = &self.name;
            let message = format!("agent `{name}` has no semantic memory; give it spec.memory.semantic to change that");
            return Err(RunError::new(ErrorCode::SessionNotFound, message));
        };
        let top_k = top_k.unwrap_or(memory.top_k).clamp(1, FOUND_MAX);
        let finding = find(memory.parts(), &self.key, query, (top_k, memory.min_score));
        match timeout(SEARCH_WAIT, finding).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(SemanticError::Store(error))) => Err(unavailable(&error)),
            Ok(Err(SemanticError::Embedding(EmbeddingError::Model(cause)))) => Err(unavailable(&StoreError(cause))),
            // Its owner has to mend this, and gets to know what.
            Ok(Err(SemanticError::Embedding(wrong))) => {
                let error = unavailable(&StoreError(wrong.to_string()));
                Err(RunError { message: format!("the agent's semantic memory is set up wrongly: {wrong}"), ..error })
            }
            Err(_elapsed) => Err(unavailable(&StoreError("embedding and search took too long".to_owned()))),
        }
    }

    fn session(&self, session: &str) -> SessionKey {
        SessionKey { agent: self.key.clone(), session: session.to_owned() }
    }

    fn no_memory(&self) -> RunError {
        let name = &self.name;
        let message =
            format!("agent `{name}` keeps no conversations; give it spec.memory.conversational to change that");
        RunError::new(ErrorCode::SessionNotFound, message)
    }
}

fn page_of(conversation: Conversation, end: Option<Position>, limit: usize) -> HistoryPage {
    let Conversation { summary, first, turns, left_out, revision: _ } = conversation;
    let numbered = (first..).zip(turns);
    let mut messages: Vec<(Position, HistoryMessage)> = numbered
        .flat_map(|(turn, stored)| {
            let timestamp = stored.timestamp;
            let of_turn = stored.messages.into_iter().enumerate();
            of_turn.map(move |(index, message)| {
                (Position { turn, index }, HistoryMessage { message, timestamp: timestamp.clone() })
            })
        })
        .filter(|(position, _)| end.is_none_or(|end| *position < end))
        .collect();
    let older = messages.len().saturating_sub(limit);
    let page = messages.split_off(older);
    let more = older > 0 || left_out > 0;
    let next_cursor = if more { page.first().map(|(position, _)| position.to_text()) } else { None };
    HistoryPage { messages: page.into_iter().map(|(_, message)| message).collect(), summary, next_cursor }
}

impl Position {
    fn to_text(self) -> String {
        format!("{:x}-{:x}", self.turn, self.index)
    }

    fn parse(text: &str) -> Result<Self, RunError> {
        let parsed = text.split_once('-').and_then(|(turn, index)| {
            Some(Self { turn: u64::from_str_radix(turn, 16).ok()?, index: usize::from_str_radix(index, 16).ok()? })
        });
        parsed.ok_or_else(|| {
            let message = "is not a cursor; take `nextCursor` of the page before".to_owned();
            let error =
                RunError::new(ErrorCode::ValidationFailed, format!("the request is not valid: cursor {message}"));
            RunError { problems: vec![FieldProblem { path: "cursor".to_owned(), message }], ..error }
        })
    }
}

async fn in_time<T>(operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, RunError> {
    let done = timeout(STORE_WAIT, operation).await.unwrap_or_else(|_| Err(StoreError("no answer in time".to_owned())));
    done.map_err(|error| unavailable(&error))
}

fn unavailable(cause: &StoreError) -> RunError {
    tracing::warn!(%cause, "memory could not be asked");
    RunError::new(ErrorCode::MemoryUnavailable, "the agent's memory cannot be reached now; try again soon")
        .retry_after(RETRY_AFTER)
}

/// No door lets a session with a NUL begin, and not every store can be asked for one.
fn known_to_doors(session: &str) -> Result<(), RunError> {
    if session.contains('\0') { Err(not_found(&session.replace('\0', "?"))) } else { Ok(()) }
}

fn not_found(session: &str) -> RunError {
    RunError::new(
        ErrorCode::SessionNotFound,
        format!("there is no session `{session}`; it has not begun, or its time to live is over"),
    )
}
