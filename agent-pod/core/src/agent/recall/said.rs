//! The conversation of one turn.

use serde_json::{Value, json};

use super::{degraded, in_time, kept};
use crate::agent::{ConversationMemory, Ledger, Turn};
use crate::byte_pool::BytePool;
use crate::byte_pool::weight::{self, COPIES};
use crate::memory::{Conversation, SessionKey, SessionLock, StoredTurn, Watched, window};
use crate::message::{Message, Role};
use crate::pattern::PatternEnd;
use crate::prompt::Prompts;

/// Put before a summary in the system message.
const NOTES: &str = "Notes of what was said earlier in this conversation:";

/// A turn is kept up to this share of the pool of bytes.
const TURN_SHARE: usize = 16;

/// A session that is taken.
pub(super) type Taken<'a> = (&'a ConversationMemory, SessionLock);

/// What was said before, and the session's lock until the turn has been stored.
#[derive(Default)]
pub(super) struct Said<'a> {
    taken: Option<Taken<'a>>,
    conversation: Conversation,
    /// Turns that the store has of the session.
    stored: usize,
}

/// Takes the session. The wait for another turn of it is bounded by the run's deadline.
pub(super) async fn lock<'a>(
    memory: Option<&'a ConversationMemory>,
    key: &SessionKey,
    ledger: &Ledger,
) -> Option<Taken<'a>> {
    let memory = memory?;
    let lock = degraded(ledger, "conversational", memory.store.lock(key).await)?;
    Some((memory, lock))
}

/// What of a conversation this run has the memory for: the newest turns first.
async fn afforded(mut conversation: Conversation, ledger: &Ledger) -> Conversation {
    if ledger.draw(COPIES * weight::of_conversation(&conversation)).await.is_ok() {
        return conversation;
    }
    let fits = conversation.turns.iter().rev().take_while(|turn| ledger.try_draw(COPIES * weight::of_turn(turn)));
    let dropped = conversation.turns.len() - fits.count();
    tracing::warn!(dropped, "no memory for the whole conversation, going on with its newest turns");
    ledger.degrade("memory");
    conversation.drop_first(u64::try_from(dropped).unwrap_or(u64::MAX));
    conversation
}

impl<'a> Said<'a> {
    pub(super) async fn read(taken: Option<Taken<'a>>, key: &SessionKey, ledger: &Ledger) -> Self {
        let Some((memory, lock)) = taken else { return Self::default() };
        let read = in_time(window::read(memory, key)).await;
        let Some(read) = degraded(ledger, "conversational", read) else { return Self::default() };
        let (conversation, _room) =
            read.unwrap_or_else(|| (Conversation::default(), BytePool::of_process().reservation()));
        if conversation.left_out > 0 {
            tracing::warn!(
                bytes = conversation.left_out,
                "no memory for the whole conversation, going on with its newest turns"
            );
            ledger.degrade("memory");
        }
        let stored = conversation.turns.len();
        ledger.held_by(conversation.turns.last().and_then(|turn| turn.agent.clone()));
        let conversation = afforded(memory.strategy.select(conversation), ledger).await;
        Self { taken: Some((memory, lock)), conversation, stored }
    }

    /// Everything that is known of it.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.conversation.turns.iter().flat_map(|turn| &turn.messages)
    }

    pub(super) fn history(&mut self, prompts: &Prompts) -> Vec<Message> {
        if prompts.mentions("memory.conversation") {
            return Vec::new();
        }
        self.conversation.turns.drain(..).flat_map(|turn| turn.messages).collect()
    }

    /// The summary of what was said long ago. None if the prompt shows it itself.
    pub(super) fn note(&self, prompts: &Prompts) -> Option<String> {
        let summary = self.conversation.summary.as_ref();
        let summary = summary.filter(|_| !prompts.mentions("memory.conversation_summary"));
        summary.map(|summary| format!("{NOTES}\n{summary}"))
    }

    /// The conversation and its summary as prompts see them.
    pub(super) fn variables(&self) -> (Vec<Value>, Option<&String>) {
        let said = self.messages();
        // What tools said is for the model's own eyes, in its place in the conversation.
        let said = said.filter(|message| matches!(message.role, Role::User | Role::Assistant));
        let said = said.filter(|message| !message.content.is_empty());
        let conversation = said.map(|message| json!({"role": message.role, "content": message.content}));
        (conversation.collect(), self.conversation.summary.as_ref())
    }

    /// Ends when the session is forgotten.
    pub(super) fn epoch(&self) -> Option<Watched> {
        self.taken.as_ref().and_then(|(_, lock)| lock.epoch())
    }

    /// Stores the turn. The session stays taken. Returns whether it has turns to sum up.
    pub(super) async fn remember(
        &self,
        turn: &Turn<'_>,
        key: &SessionKey,
        question: Message,
        end: &PatternEnd,
    ) -> bool {
        let Some((memory, lock)) = &self.taken else { return false };
        let mut messages = vec![question];
        messages.extend(end.transcript.iter().cloned());
        let timestamp = turn.agent.environment.timestamp();
        let stored = StoredTurn { messages, timestamp, agent: turn.ledger.holder() };
        let stored = kept::within(stored, BytePool::of_process().capacity() / TURN_SHARE);
        let appended = in_time(memory.store.append(key, stored, memory.settings, lock)).await;
        if lock.is_forgotten() {
            tracing::info!(agent = %turn.agent.name, "the session was deleted while a turn of it ran; the turn is not kept");
            return false;
        }
        degraded(turn.ledger, "conversational", appended).is_some() && memory.strategy.due(self.stored + 1) > 0
    }
}
