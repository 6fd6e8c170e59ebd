//! An event as the stores hold it: one JSON text.

use agent_pod_core::memory::StoreError;
use agent_pod_core::memory::episode::Episode;

pub(super) fn to_text(episode: &Episode) -> Result<String, StoreError> {
    serde_json::to_string(episode).map_err(|error| StoreError(format!("an event could not be written: {error}")))
}

pub(super) fn from_text(text: &str) -> Result<Episode, StoreError> {
    // The text holds what was said, which is for no log.
    serde_json::from_str(text).map_err(|_unreadable| StoreError("a stored event could not be read".into()))
}
