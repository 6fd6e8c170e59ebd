//! What is left to write and to sum up once a run's end is told, for which no caller shall have to wait.

use super::found::Sayings;
use super::{episodes, remembered};
use crate::agent::{Agent, Ledger, Turn};
use crate::error::RunError;
use crate::memory::SessionKey;
use crate::memory::episode::Episode;

/// What is left to do.
#[derive(Default)]
pub(in crate::agent) struct Unwritten {
    /// The session with turns to sum up.
    pub(super) fold: Option<SessionKey>,
    /// What can be found later.
    pub(super) sayings: Option<Sayings>,
    /// What became of a run that has failed.
    pub(super) failed: Option<(SessionKey, Episode)>,
}

impl Unwritten {
    /// What a failed run leaves to remember.
    pub(in crate::agent) fn of_failed(turn: &Turn<'_>, error: &RunError) -> Self {
        let failed = remembered(turn).filter(|(memory, _)| memory.episodic.is_some());
        Self { failed: failed.map(|(_, key)| (key, episodes::of_error(turn, error))), ..Self::default() }
    }

    /// Does it.
    pub(in crate::agent) async fn write(self, agent: &Agent) {
        let Self { fold, sayings, failed } = self;
        let anything = fold.is_some() || sayings.is_some() || failed.is_some();
        let Some(memory) = agent.memory.as_ref().filter(|_| anything) else { return };
        // The end goes out first, however quick a store or a summarizer is.
        tokio::task::yield_now().await;
        if let Some((key, episode)) = failed {
            episodes::write(memory.episodic.as_ref(), &key, episode, &Ledger::default()).await;
        }
        if let (Some(sayings), Some(semantic)) = (sayings, &memory.semantic) {
            sayings.keep(agent, semantic).await;
        }
        if let (Some(key), Some(conversation)) = (fold, &memory.conversation) {
            crate::memory::summary::fold(agent, conversation, &key).await;
        }
    }
}
