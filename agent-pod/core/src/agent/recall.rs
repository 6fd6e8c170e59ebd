//! The memory of one turn: read before it, written after it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Agent, AgentMemory, Ledger, Turn};
use crate::memory::{Conversation, SessionKey, SessionLock, StoreError, StoredTurn};
use crate::message::{Message, Role};
use crate::pattern::PatternEnd;
use crate::prompt::Prompts;

/// How long a turn waits for its memory to read or write; then it goes on without.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// Put before a summary in the system message.
const NOTES: &str = "Notes of what was said earlier in this conversation:";

/// The memory of one turn: what was said before, and the session's lock until the turn has been stored.
pub(super) struct Recall<'a> {
    memory: Option<(&'a AgentMemory, SessionKey, SessionLock)>,
    conversation: Conversation,
    /// Turns that the store has of the session.
    stored: usize,
}

impl<'a> Recall<'a> {
    /// Takes the session and reads it. A store that is down leaves the turn without memory, and the answer says so.
    pub(super) async fn begin(turn: &Turn<'a>) -> Self {
        let none = Self { memory: None, conversation: Conversation::default(), stored: 0 };
        let (agent, identity, ledger) = (turn.agent, turn.identity, turn.ledger);
        // Who brings the whole conversation keeps it.
        let Some(memory) = agent.memory.as_ref().filter(|_| turn.request.is_on_its_own()) else { return none };
        let key = SessionKey { agent: agent.key(), session: identity.session_id.clone() };
        // The lock waits for another turn of the session, which the run's deadline bounds.
        let lock = match memory.store.lock(&key).await {
            Ok(lock) => lock,
            Err(error) => {
                degrade(ledger, &error);
                return none;
            }
        };
        match in_time(memory.store.read(&key, None, memory.settings.turns_max)).await {
            Ok(read) => {
                let conversation = read.unwrap_or_default();
                let stored = conversation.turns.len();
                ledger.held_by(conversation.turns.last().and_then(|turn| turn.agent.clone()));
                let conversation = memory.strategy.select(conversation);
                Self { memory: Some((memory, key, lock)), conversation, stored }
            }
            Err(error) => {
                degrade(ledger, &error);
                none
            }
        }
    }

    /// What was said before, for the conversation. None if the prompt shows it itself.
    pub(super) fn history(&mut self, prompts: &Prompts) -> Vec<Message> {
        if prompts.mentions("memory.conversation") {
            return Vec::new();
        }
        self.conversation.turns.drain(..).flat_map(|turn| turn.messages).collect()
    }

    /// The summary of what was said long ago, for the end of the system message. None if the prompt shows it itself.
    pub(super) fn note(&self, prompts: &Prompts) -> Option<String> {
        let summary = self.conversation.summary.as_ref();
        let summary = summary.filter(|_| !prompts.mentions("memory.conversation_summary"));
        summary.map(|summary| format!("{NOTES}\n{summary}"))
    }

    /// `memory` as prompts see it, where one does.
    pub(super) fn variables(&self, prompts: &Prompts) -> Value {
        if !prompts.uses("memory") {
            return Value::Null;
        }
        let said = self.conversation.turns.iter().flat_map(|turn| &turn.messages);
        // What tools said is for the model's own eyes, in its place in the conversation.
        let said = said.filter(|message| matches!(message.role, Role::User | Role::Assistant));
        let said = said.filter(|message| !message.content.is_empty());
        let conversation: Vec<_> =
            said.map(|message| json!({"role": message.role, "content": message.content})).collect();
        json!({"conversation": conversation, "conversation_summary": self.conversation.summary})
    }

    /// Stores the turn and gives the session free. Returns the session if it has turns to sum up.
    pub(super) async fn remember(
        self,
        agent: &Agent,
        question: Message,
        end: &PatternEnd,
        ledger: &Ledger,
    ) -> Option<SessionKey> {
        let (memory, key, lock) = self.memory?;
        let mut messages = vec![question];
        messages.extend(end.transcript.iter().cloned());
        let turn = StoredTurn { messages, timestamp: agent.environment.timestamp(), agent: ledger.holder() };
        if let Err(error) = in_time(memory.store.append(&key, turn, memory.settings, &lock)).await {
            degrade(ledger, &error);
            return None;
        }
        drop(lock);
        (memory.strategy.due(self.stored + 1) > 0).then_some(key)
    }
}

async fn in_time<T>(operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(STORE_WAIT, operation).await.unwrap_or_else(|_| Err(StoreError("the store did not answer in time".into())))
}

fn degrade(ledger: &Ledger, error: &StoreError) {
    tracing::warn!(cause = %error, "conversation memory failed, going on without");
    ledger.degrade("memory");
}
