//! Reading as much of a session as there is memory for.

use std::time::Duration;

use super::{Conversation, SessionKey, StoreError, Window};
use crate::agent::ConversationMemory;
use crate::byte_pool::{BytePool, ByteReservation, Priority};

/// What is read without asking for room. Most sessions are smaller, and cost one reading.
const FREE_BYTES: usize = 256 * 1024;

/// One session gets up to this share of the pool of bytes.
const SHARE: usize = 4;

/// A history is there as text and as turns while it is read.
const FORMS: usize = 2;

/// How long is waited for room; then the newest turns have to do.
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// The newest turns of a session for which there is room, and the room that they take while they are read.
pub(crate) async fn read(
    memory: &ConversationMemory,
    key: &SessionKey,
) -> Result<Option<(Conversation, ByteReservation)>, StoreError> {
    let pool = BytePool::of_process();
    let mut room = pool.reservation();
    let small = Window { bytes_max: FREE_BYTES, ..Window::newest(memory.settings.turns_max) };
    let Some(conversation) = memory.store.read(key, small).await? else { return Ok(None) };
    if conversation.left_out == 0 {
        return Ok(Some((conversation, room)));
    }
    let bytes_max = FREE_BYTES.saturating_add(conversation.left_out).min(pool.capacity() / SHARE / FORMS);
    if bytes_max <= FREE_BYTES || room.grow(FORMS * bytes_max, Priority::Run, ROOM_WAIT).await.is_err() {
        return Ok(Some((conversation, room)));
    }
    drop(conversation);
    let whole = memory.store.read(key, Window { bytes_max, ..small }).await?;
    Ok(whole.map(|conversation| (conversation, room)))
}
