//! Episodic memory: an event per run, keyed by agent and session.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{SessionKey, StoreError};

/// The most characters of a question or an answer that an event holds.
const TEXT_CHARS_MAX: usize = 500;

/// The most tools that an event names.
const TOOLS_MAX: usize = 20;

/// What became of a run. Its serialized form is what prompts see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Episode {
    /// Id of the run.
    pub run_id: String,
    /// When it ended (RFC 3339).
    pub timestamp: String,
    /// The beginning of what was asked.
    pub question: String,
    /// The beginning of what was answered; absent where there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// How it ended.
    pub result: EpisodeResult,
    /// The stable code of its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the rule that stopped it has found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<String>,
    /// The tools that were used, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Tokens of all its model calls.
    pub tokens: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpisodeResult {
    /// With an answer.
    Ok,
    /// A rule has stopped it on its way or held back its answer.
    Blocked,
    /// With an error.
    Error,
    /// At its deadline.
    Timeout,
}

/// How many events are kept; the oldest go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpisodeBounds {
    /// Of a session.
    pub of_session: usize,
    /// Of an agent.
    pub of_agent: usize,
}

/// The bounds of every store: a session's as many as a prompt can ask for, an agent's so that its table stays small.
pub const EPISODE_BOUNDS: EpisodeBounds = EpisodeBounds { of_session: 100, of_agent: 10_000 };

/// Where events are kept.
#[async_trait]
pub trait EpisodeStore: Send + Sync {
    /// Adds an event and lets the oldest beyond `bounds` go.
    ///
    /// # Errors
    /// When the store is down.
    async fn append(&self, key: &SessionKey, episode: Episode, bounds: EpisodeBounds) -> Result<(), StoreError>;
    /// The last `events_max` events of a session, oldest first.
    ///
    /// # Errors
    /// When the store is down.
    async fn latest(&self, key: &SessionKey, events_max: usize) -> Result<Vec<Episode>, StoreError>;
    /// Forgets a session's events. Returns how many there were.
    ///
    /// # Errors
    /// When the store is down.
    async fn delete(&self, key: &SessionKey) -> Result<u64, StoreError>;
}

impl Episode {
    /// The same within the bounds of an event.
    #[must_use]
    pub(crate) fn bounded(mut self) -> Self {
        self.question = cut(&self.question);
        self.answer = self.answer.as_deref().map(cut);
        let mut tools = Vec::new();
        for tool in self.tools {
            if tools.len() < TOOLS_MAX && !tools.contains(&tool) {
                tools.push(tool);
            }
        }
        self.tools = tools;
        self
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_bounded() {
        let tools = (0..30).flat_map(|number| [number.to_string(), number.to_string()]).collect();
        let event = Episode {
            run_id: "r".to_owned(),
            timestamp: String::new(),
            question: "ä".repeat(500),
            answer: Some("ä".repeat(501)),
            result: EpisodeResult::Ok,
            error: None,
            guardrail: None,
            tools,
            tokens: 0,
        }
        .bounded();
        assert_eq!(event.question.chars().count(), 500);
        assert!(event.answer.as_deref().is_some_and(|answer| answer.ends_with("ä…") && answer.chars().count() == 501));
        assert_eq!(event.tools, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}
