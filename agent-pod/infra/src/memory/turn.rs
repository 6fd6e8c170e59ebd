//! A turn as the stores hold it: one JSON text, whole or not at all.

use agent_pod_core::memory::{Conversation, StoreError, StoredTurn};

use super::natural;

pub(super) fn to_text(turn: &StoredTurn) -> Result<String, StoreError> {
    serde_json::to_string(turn).map_err(|error| StoreError(format!("a turn could not be written: {error}")))
}

pub(super) fn from_text(text: &str) -> Result<StoredTurn, StoreError> {
    // The text holds what was said, which is for no log.
    serde_json::from_str(text).map_err(|_unreadable| StoreError("a stored turn could not be read".into()))
}

/// What a query finds of a session, a row for each turn of the window, oldest first.
pub(super) struct Found(Conversation);

impl Found {
    /// A session without a turn.
    pub(super) fn new(revision: String, summary: Option<String>) -> Self {
        Self(Conversation { revision, summary, ..Conversation::default() })
    }

    /// A row: number and bytes are absent where the session has no turn, the body where it does not fit.
    pub(super) fn add(
        &mut self,
        number: Option<i64>,
        bytes: Option<i64>,
        body: Option<&str>,
    ) -> Result<(), StoreError> {
        let Self(conversation) = self;
        let Some(body) = body else {
            conversation.left_out += bytes.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0));
            return Ok(());
        };
        if conversation.turns.is_empty() {
            conversation.first = number.map_or(0, natural);
        }
        conversation.turns.push(from_text(body)?);
        Ok(())
    }

    pub(super) fn conversation(self) -> Conversation {
        self.0
    }
}
