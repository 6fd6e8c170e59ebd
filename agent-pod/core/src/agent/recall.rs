//! The memory of one turn: read before it, written after it.

mod episodes;
mod found;
mod kept;
mod said;
mod unwritten;

use std::time::Duration;

use futures::future::{join, join3};
use serde_json::{Value, json};
use tokio::time::timeout;

use self::found::Sayings;
use self::said::Said;
use super::{Agent, AgentMemory, Ledger, Turn};
use crate::memory::SessionKey;
use crate::memory::StoreError;
use crate::memory::episode::Episode;
use crate::memory::semantic::Found;
use crate::message::Message;
use crate::pattern::PatternEnd;
use crate::prompt::Prompts;

pub(super) use unwritten::Unwritten;

/// How long a turn waits for its memory to read or write; then it goes on without.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// The memory of one turn: what there is to know before it, and the session's lock until the turn has been stored.
pub(super) struct Recall<'a> {
    memory: Option<(&'a AgentMemory, SessionKey)>,
    said: Said<'a>,
    episodes: Vec<Episode>,
    found: Vec<Found>,
}

impl<'a> Recall<'a> {
    /// Takes the session and reads everything of it at the same time. A store that is down leaves the turn without what
    /// it holds, and the answer says so.
    pub(super) async fn begin(turn: &Turn<'a>) -> Self {
        let Some((memory, key)) = remembered(turn) else {
            return Self { memory: None, said: Said::default(), episodes: Vec::new(), found: Vec::new() };
        };
        let ledger = turn.ledger;
        // The session's own turn: what the one before has written is seen.
        let lock = said::lock(memory.conversation.as_ref(), &key, ledger).await;
        let (said, episodes, found) = join3(
            Said::read(lock, &key, ledger),
            episodes::read(memory.episodic.as_ref(), &key, ledger),
            found::read(memory.semantic.as_ref(), &key, turn),
        )
        .await;
        let found = found::unseen(found, &key, said.messages());
        Self { memory: Some((memory, key)), said, episodes, found }
    }

    /// What was said before, for the conversation. None if the prompt shows it itself.
    pub(super) fn history(&mut self, prompts: &Prompts) -> Vec<Message> {
        self.said.history(prompts)
    }

    /// What is known beside the conversation, for the end of the system message, without what the prompt shows itself.
    pub(super) fn notes(&self, prompts: &Prompts) -> impl Iterator<Item = String> {
        let episodes = Some(self.episodes.as_slice()).filter(|_| !prompts.mentions("memory.episodic"));
        let found = Some(self.found.as_slice()).filter(|_| !prompts.mentions("memory.semantic"));
        let notes = [self.said.note(prompts), episodes.and_then(episodes::note), found.and_then(found::note)];
        notes.into_iter().flatten()
    }

    /// `memory` as prompts see it, where one does.
    pub(super) fn variables(&self, prompts: &Prompts) -> Value {
        if !prompts.uses("memory") {
            return Value::Null;
        }
        let (conversation, summary) = self.said.variables();
        json!({
            "conversation": conversation,
            "conversation_summary": summary,
            "episodic": self.episodes,
            "semantic": self.found,
        })
    }

    /// Stores the turn and gives the session free. Returns what is left to do.
    pub(super) async fn remember(self, turn: &Turn<'_>, question: Message, end: &PatternEnd) -> Unwritten {
        let Some((memory, key)) = self.memory else { return Unwritten::default() };
        let episode = episodes::of_answer(turn, end);
        let epoch = self.said.epoch();
        let sayings = memory.semantic.as_ref().and_then(|_| Sayings::of(turn, &key, &question, end));
        let sayings = sayings.map(|sayings| sayings.within(epoch.clone()));
        let (fold, ()) = join(
            self.said.remember(turn, &key, question, end),
            episodes::write(memory.episodic.as_ref(), &key, episode, turn.ledger),
        )
        .await;
        if epoch.is_some_and(|epoch| epoch.is_over()) {
            episodes::forget(memory.episodic.as_ref(), &key, turn.ledger).await;
            return Unwritten::default();
        }
        Unwritten { fold: fold.then_some(key), sayings, failed: None }
    }
}

/// What the agent remembers of the run's session. Who brings the whole conversation keeps it.
fn remembered<'a>(turn: &Turn<'a>) -> Option<(&'a AgentMemory, SessionKey)> {
    let memory = turn.agent.memory.as_ref().filter(|_| turn.request.is_on_its_own())?;
    Some((memory, key(turn.agent, &turn.identity.session_id)))
}

fn key(agent: &Agent, session: &str) -> SessionKey {
    SessionKey { agent: agent.key(), session: session.to_owned() }
}

async fn in_time<T>(operation: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(STORE_WAIT, operation).await.unwrap_or_else(|_| Err(StoreError("the store did not answer in time".into())))
}

/// What the operation gives, or nothing and a word in the answer.
fn degraded<T>(ledger: &Ledger, memory: &'static str, done: Result<T, StoreError>) -> Option<T> {
    done.map_err(|cause| {
        tracing::warn!(memory, %cause, "memory failed, going on without");
        ledger.degrade("memory");
    })
    .ok()
}
