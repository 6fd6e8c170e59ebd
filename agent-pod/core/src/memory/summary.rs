//! The `summary` strategy: older turns become a few sentences, after the answer has gone out.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Conversation, Fold, SessionKey, StoreError, StoredTurn, window};
use crate::agent::{Agent, ConversationMemory, Events, Ledger};
use crate::message::{Message, Role};
use crate::model::router::Ask;

/// The models that write summaries are those of this role, if there are any.
const ROLE: &str = "summarizer";

/// Reading, summarizing and writing together. What is not done by then is done after the next turn.
pub(crate) const FOLD_WAIT: Duration = Duration::from_secs(60);

/// The most characters of one message that a summarizer reads: results of tools can be long, and say little later.
const MESSAGE_CHARS_MAX: usize = 4_000;

const INSTRUCTIONS: &str = "You keep the notes of a conversation between a user and an assistant. Write new notes that \
    take the place of the old ones: whatever is needed to go on with the conversation later. Keep names, numbers, \
    decisions, wishes and open questions; leave out greetings. Invent nothing. At most 200 words, in the language of \
    the conversation, and nothing but the notes.";

/// Folds what is due of a session. Whoever awaits this waits for nothing: the turn is over.
pub(crate) async fn fold(agent: &Agent, memory: &ConversationMemory, key: &SessionKey) {
    let deadline = Instant::now() + FOLD_WAIT;
    let ledger = Ledger::default();
    let folded = timeout_at(deadline, fold_now(agent, memory, key, &ledger)).await;
    let used = ledger.booked();
    agent.observer.used(&agent.name, &used.usage, &used.attempts);
    match folded {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => {
            tracing::warn!(agent = %agent.name, %cause, "old turns could not be summarized; tried again after the next turn")
        }
        Err(_elapsed) => {
            tracing::warn!(agent = %agent.name, "old turns were not summarized in time; tried again after the next turn")
        }
    }
}

async fn fold_now(
    agent: &Agent,
    memory: &ConversationMemory,
    key: &SessionKey,
    ledger: &Ledger,
) -> Result<(), StoreError> {
    let Some((conversation, _room)) = window::read(memory, key).await? else { return Ok(()) };
    let due = memory.strategy.due(conversation.turns.len());
    let Some(old) = conversation.turns.get(..due).filter(|old| !old.is_empty()) else { return Ok(()) };
    let summary = summarize(agent, &conversation, old, ledger).await?;
    let fold = Fold {
        revision: conversation.revision.clone(),
        next_revision: agent.environment.fresh_id(),
        before: conversation.first.saturating_add(u64::try_from(due).unwrap_or(u64::MAX)),
        summary,
    };
    if !memory.store.fold(key, fold).await? {
        tracing::info!(agent = %agent.name, "the session has changed while its old turns were summarized");
    }
    Ok(())
}

async fn summarize(
    agent: &Agent,
    conversation: &Conversation,
    old: &[StoredTurn],
    ledger: &Ledger,
) -> Result<String, StoreError> {
    let messages = [Message::new(Role::System, INSTRUCTIONS), Message::new(Role::User, request(conversation, old))];
    let ask = Ask {
        messages: &messages,
        tools: &[],
        tool_choice: None,
        response_format: None,
        format_required: false,
        parameters: None,
        deadline: Instant::now() + FOLD_WAIT,
        seed: conversation.first,
    };
    let reply = agent.complete(ROLE, &ask, ledger, &Events::silent()).await;
    let summary = reply.map_err(|error| StoreError(error.message))?.content.trim().to_owned();
    if summary.is_empty() { Err(StoreError("the summarizer wrote nothing".to_owned())) } else { Ok(summary) }
}

fn request(conversation: &Conversation, old: &[StoredTurn]) -> String {
    let mut text = String::from("Notes so far:\n");
    text.push_str(conversation.summary.as_deref().unwrap_or("none"));
    text.push_str("\n\nWhat was said then:\n");
    for message in old.iter().flat_map(|turn| &turn.messages) {
        let who = match message.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            Role::System => continue,
        };
        for call in &message.tool_calls {
            text.push_str(&format!("{who} uses {}: {}\n", call.name, cut(&call.arguments.to_string())));
        }
        if !message.content.is_empty() {
            text.push_str(&format!("{who}: {}\n", cut(&message.content)));
        }
    }
    text
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(MESSAGE_CHARS_MAX).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}
