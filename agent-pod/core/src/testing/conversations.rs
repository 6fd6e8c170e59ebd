//! Conversations in a table, for tests of what is above a store.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::byte_pool::weight::of_turn;
use crate::memory::{
    Conversation, ConversationSettings, ConversationStore, Fold, SessionKey, SessionLock, StoreError, StoredTurn,
    Window,
};

/// Keeps everything, or is down.
#[derive(Default)]
pub struct TableStore {
    sessions: Mutex<HashMap<SessionKey, Conversation>>,
    down: Mutex<bool>,
}

impl TableStore {
    /// Puts a session into the table.
    pub fn put(&self, key: SessionKey, conversation: Conversation) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(key, conversation);
    }

    /// Every call fails from now on.
    pub fn go_down(&self) {
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn table(&self) -> Result<MutexGuard<'_, HashMap<SessionKey, Conversation>>, StoreError> {
        if *self.down.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(StoreError("down".to_owned()));
        }
        Ok(self.sessions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl ConversationStore for TableStore {
    async fn lock(&self, _: &SessionKey) -> Result<SessionLock, StoreError> {
        self.table().map(|_| SessionLock::new(()))
    }

    async fn read(&self, key: &SessionKey, window: Window) -> Result<Option<Conversation>, StoreError> {
        let mut read = self.table()?.get(key).cloned();
        if let Some(conversation) = &mut read {
            let end = window.before.map_or(u64::MAX, |before| before.saturating_sub(conversation.first));
            conversation.turns.truncate(usize::try_from(end).unwrap_or(usize::MAX));
            let over = conversation.turns.len().saturating_sub(window.turns_max);
            conversation.drop_first(u64::try_from(over).unwrap_or(u64::MAX));
            while conversation.turns.iter().map(of_turn).sum::<usize>() > window.bytes_max {
                conversation.left_out += conversation.turns.first().map_or(0, of_turn);
                conversation.drop_first(1);
            }
        }
        Ok(read)
    }

    async fn append(
        &self,
        key: &SessionKey,
        turn: StoredTurn,
        _: ConversationSettings,
        _: &SessionLock,
    ) -> Result<(), StoreError> {
        self.table()?.entry(key.clone()).or_default().turns.push(turn);
        Ok(())
    }

    async fn fold(&self, _: &SessionKey, _: Fold) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn delete(&self, key: &SessionKey) -> Result<Option<u64>, StoreError> {
        let messages = |session: Conversation| session.turns.iter().map(|turn| turn.messages.len()).sum::<usize>();
        Ok(self.table()?.remove(key).map(|session| u64::try_from(messages(session)).unwrap_or(u64::MAX)))
    }
}
