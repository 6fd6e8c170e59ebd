//! A turn as the stores hold it: one JSON text, whole or not at all.

use agent_pod_core::memory::{StoreError, StoredTurn};

pub(super) fn to_text(turn: &StoredTurn) -> Result<String, StoreError> {
    serde_json::to_string(turn).map_err(|error| StoreError(format!("a turn could not be written: {error}")))
}

pub(super) fn from_text(text: &str) -> Result<StoredTurn, StoreError> {
    // The text holds what was said, which is for no log.
    serde_json::from_str(text).map_err(|_unreadable| StoreError("a stored turn could not be read".into()))
}
