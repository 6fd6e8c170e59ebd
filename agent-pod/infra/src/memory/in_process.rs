//! Conversations in the memory of this process. They end with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_pod_core::byte_pool::BytePool;
use agent_pod_core::byte_pool::weight::{of_conversation, of_turn};
use agent_pod_core::memory::{
    Conversation, ConversationSettings, ConversationStore, Fold, SessionKey, SessionLock, StoreError, StoredTurn,
    Window,
};
use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::forgotten;
use super::locks::SessionLocks;

/// The most sessions kept; beyond it the one that was not used for the longest time goes.
pub const SESSIONS_MAX: usize = 10_000;

/// All sessions together may take this share of the pool's capacity beside it.
pub const BYTES_SHARE: usize = 4;

/// What a session takes beside its turns.
const SESSION_BYTES: usize = 512;

/// How often expired sessions are looked for that nobody asks for any more.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Conversations in the memory of this process.
///
/// The process keeps one for its whole life, so that a reload loses no conversation.
pub struct InProcessStore {
    sessions: Mutex<Sessions>,
    // Apart from the sessions: a lock that is held outlives the eviction of its session.
    locks: SessionLocks,
    bounds: Bounds,
}

/// What is kept at most.
#[derive(Clone, Copy)]
struct Bounds {
    sessions_max: usize,
    /// Of all sessions; one of them has at most half of it, so that none is alone.
    bytes_max: usize,
}

struct Sessions {
    by_key: HashMap<SessionKey, Session>,
    // The same sessions, the one that was not used for the longest time first.
    by_use: BTreeMap<u64, SessionKey>,
    uses: u64,
    /// Of all sessions.
    bytes: usize,
    sweep_at: Instant,
}

struct Session {
    conversation: Conversation,
    bytes: usize,
    last_use: u64,
    // `None`: beyond what the clock can name, which is never.
    expires_at: Option<Instant>,
}

impl InProcessStore {
    /// A store of at most [`SESSIONS_MAX`] sessions and the share of memory that conversations have.
    #[must_use]
    pub fn new() -> Self {
        Self::within(SESSIONS_MAX, BytePool::of_process().capacity() / BYTES_SHARE)
    }

    /// A store of at most so many sessions, and of so many bytes of all of them together.
    #[must_use]
    pub fn within(sessions_max: usize, bytes_max: usize) -> Self {
        let bounds = Bounds { sessions_max, bytes_max };
        Self { sessions: Mutex::new(Sessions::new(Instant::now())), locks: SessionLocks::default(), bounds }
    }
}

impl Default for InProcessStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl ConversationStore for InProcessStore {
    async fn lock(&self, key: &SessionKey) -> Result<SessionLock, StoreError> {
        let (held, epoch) = self.locks.take(key).await;
        Ok(SessionLock::new(held).within(epoch))
    }

    async fn read(&self, key: &SessionKey, window: Window) -> Result<Option<Conversation>, StoreError> {
        Ok(hold(&self.sessions).read(key, window, Instant::now()))
    }

    async fn append(
        &self,
        key: &SessionKey,
        turn: StoredTurn,
        settings: ConversationSettings,
        lock: &SessionLock,
    ) -> Result<(), StoreError> {
        let mut sessions = hold(&self.sessions);
        // Under the same mutex as a deletion: one of them is first.
        if lock.is_forgotten() {
            return Err(forgotten());
        }
        sessions.append(key, turn, settings, (Instant::now(), self.bounds));
        Ok(())
    }

    async fn fold(&self, key: &SessionKey, fold: Fold) -> Result<bool, StoreError> {
        Ok(hold(&self.sessions).fold(key, fold, Instant::now()))
    }

    async fn delete(&self, key: &SessionKey) -> Result<Option<u64>, StoreError> {
        let mut sessions = hold(&self.sessions);
        self.locks.forget(key);
        sessions.remove_if_expired(key, Instant::now());
        let messages = |session: Session| session.conversation.turns.iter().map(|turn| turn.messages.len()).sum();
        Ok(sessions.remove(key).map(messages).map(|count: usize| u64::try_from(count).unwrap_or(u64::MAX)))
    }
}

impl Sessions {
    fn new(now: Instant) -> Self {
        Self { by_key: HashMap::new(), by_use: BTreeMap::new(), uses: 0, bytes: 0, sweep_at: now + SWEEP_INTERVAL }
    }

    fn read(&mut self, key: &SessionKey, window: Window, now: Instant) -> Option<Conversation> {
        self.remove_if_expired(key, now);
        let session = self.by_key.get_mut(key)?;
        let last_use = next(&mut self.uses);
        self.by_use.remove(&session.last_use);
        self.by_use.insert(last_use, key.clone());
        session.last_use = last_use;
        let Conversation { summary, first, turns, revision, left_out: _ } = &session.conversation;
        let number = |turns: usize| first.saturating_add(u64::try_from(turns).unwrap_or(u64::MAX));
        let end = window.before.map_or(turns.len(), |before| {
            usize::try_from(before.saturating_sub(*first)).map_or(turns.len(), |end| end.min(turns.len()))
        });
        let wanted = turns.get(end.saturating_sub(window.turns_max)..end).unwrap_or_default();
        let total = |total: &mut usize, turn: &StoredTurn| {
            *total = total.saturating_add(of_turn(turn));
            Some(*total)
        };
        let fitting = wanted.iter().rev().scan(0, total).take_while(|total| *total <= window.bytes_max).count();
        let (left_out, turns) = wanted.split_at(wanted.len() - fitting);
        Some(Conversation {
            summary: summary.clone(),
            first: number(end - fitting),
            turns: turns.to_vec(),
            revision: revision.clone(),
            left_out: left_out.iter().map(of_turn).sum(),
        })
    }

    fn fold(&mut self, key: &SessionKey, fold: Fold, now: Instant) -> bool {
        self.remove_if_expired(key, now);
        let Some(session) = self.by_key.get_mut(key) else { return false };
        let conversation = &mut session.conversation;
        if conversation.revision != fold.revision {
            return false;
        }
        conversation.drop_first(fold.before.saturating_sub(conversation.first));
        conversation.revision = fold.next_revision;
        conversation.summary = Some(fold.summary);
        let bytes = of_conversation(conversation);
        self.bytes = self.bytes.saturating_sub(session.bytes).saturating_add(bytes);
        session.bytes = bytes;
        true
    }

    fn append(
        &mut self,
        key: &SessionKey,
        turn: StoredTurn,
        settings: ConversationSettings,
        (now, bounds): (Instant, Bounds),
    ) {
        self.remove_if_expired(key, now);
        if now >= self.sweep_at {
            self.sweep(now);
        }
        let (mut conversation, mut bytes) = self.remove(key).map_or_else(
            || {
                let conversation = Conversation { revision: Uuid::new_v4().to_string(), ..Conversation::default() };
                (conversation, key.agent.len() + key.session.len() + SESSION_BYTES)
            },
            |session| (session.conversation, session.bytes),
        );
        bytes = bytes.saturating_add(of_turn(&turn));
        conversation.turns.push(turn);
        // The newest turns stay that are within both bounds.
        let (mut over, mut left) = (0, conversation.turns.len());
        for turn in &conversation.turns {
            if left <= settings.turns_max && bytes <= bounds.bytes_max / 2 {
                break;
            }
            bytes = bytes.saturating_sub(of_turn(turn));
            (over, left) = (over + 1, left - 1);
        }
        conversation.drop_first(over);
        while self.by_key.len() >= bounds.sessions_max || self.bytes.saturating_add(bytes) > bounds.bytes_max {
            let Some(oldest) = self.by_use.first_key_value().map(|(_, key)| key.clone()) else { break };
            self.remove(&oldest);
        }
        self.bytes = self.bytes.saturating_add(bytes);
        let last_use = next(&mut self.uses);
        self.by_use.insert(last_use, key.clone());
        self.by_key
            .insert(key.clone(), Session { conversation, bytes, last_use, expires_at: now.checked_add(settings.ttl) });
    }

    fn remove_if_expired(&mut self, key: &SessionKey, now: Instant) {
        if self.by_key.get(key).is_some_and(|session| session.expired(now)) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: &SessionKey) -> Option<Session> {
        let session = self.by_key.remove(key)?;
        self.by_use.remove(&session.last_use);
        self.bytes = self.bytes.saturating_sub(session.bytes);
        Some(session)
    }

    fn sweep(&mut self, now: Instant) {
        let Self { by_key, by_use, uses: _, bytes, sweep_at } = self;
        by_key.retain(|_, session| !session.expired(now));
        *bytes = by_key.values().map(|session| session.bytes).sum();
        by_use.retain(|_, key| by_key.contains_key(key));
        *sweep_at = now + SWEEP_INTERVAL;
    }
}

impl Session {
    fn expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|expires_at| now >= expires_at)
    }
}

/// A number larger than all before.
fn next(uses: &mut u64) -> u64 {
    *uses += 1;
    *uses
}

/// Every holder leaves its state whole, so a poisoned lock is as good as another.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent_pod_core::message::{Message, Role};

    const SETTINGS: ConversationSettings = ConversationSettings { turns_max: 10, ttl: Duration::from_secs(3600) };

    fn key(session: usize) -> SessionKey {
        SessionKey { agent: "shop/support".to_owned(), session: session.to_string() }
    }

    fn turn() -> StoredTurn {
        StoredTurn { messages: Vec::new(), timestamp: "2026-01-01T00:00:00.000Z".to_owned(), agent: None }
    }

    async fn kept(store: &InProcessStore, session: usize) -> usize {
        store.read(&key(session), Window::newest(10)).await.unwrap().map_or(0, |conversation| conversation.turns.len())
    }

    #[tokio::test]
    async fn the_session_not_used_for_the_longest_time_makes_room() {
        let store = InProcessStore::within(3, 1 << 20);
        for session in 0..3 {
            store.append(&key(session), turn(), SETTINGS, &SessionLock::new(())).await.unwrap();
        }
        assert_eq!(kept(&store, 0).await, 1, "and it is now the one used last");
        store.append(&key(3), turn(), SETTINGS, &SessionLock::new(())).await.unwrap();
        let mut sizes = Vec::new();
        for session in 0..4 {
            sizes.push(kept(&store, session).await);
        }
        assert_eq!(sizes, [1, 0, 1, 1]);
    }

    #[tokio::test]
    async fn a_full_store_takes_further_turns_of_its_sessions() {
        let store = InProcessStore::within(2, 1 << 20);
        for session in [0, 1, 0, 1, 0] {
            store.append(&key(session), turn(), SETTINGS, &SessionLock::new(())).await.unwrap();
        }
        assert_eq!((kept(&store, 0).await, kept(&store, 1).await), (3, 2));
    }

    #[tokio::test]
    async fn the_store_is_bounded() {
        let store = InProcessStore::new();
        for session in 0..SESSIONS_MAX + 50 {
            store.append(&key(session), turn(), SETTINGS, &SessionLock::new(())).await.unwrap();
        }
        let sessions = hold(&store.sessions);
        assert_eq!((sessions.by_key.len(), sessions.by_use.len()), (SESSIONS_MAX, SESSIONS_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn expired_sessions_are_swept_out_unasked() {
        let store = InProcessStore::new();
        for session in 0..100 {
            let ttl = Duration::from_secs(if session % 2 == 0 { 30 } else { 300 });
            store
                .append(&key(session), turn(), ConversationSettings { turns_max: 10, ttl }, &SessionLock::new(()))
                .await
                .unwrap();
        }
        tokio::time::advance(SWEEP_INTERVAL).await;
        store.append(&key(1000), turn(), SETTINGS, &SessionLock::new(())).await.unwrap();
        let sessions = hold(&store.sessions);
        assert_eq!((sessions.by_key.len(), sessions.by_use.len()), (51, 51));
    }

    fn said(bytes: usize) -> StoredTurn {
        StoredTurn { messages: vec![Message::new(Role::User, "x".repeat(bytes))], ..turn() }
    }

    #[tokio::test]
    async fn sessions_take_no_more_bytes_than_they_may() {
        let store = InProcessStore::within(100, 100_000);
        for session in 0..10 {
            store.append(&key(session), said(20_000), SETTINGS, &SessionLock::new(())).await.unwrap();
        }
        let mut sizes = Vec::new();
        for session in 0..10 {
            sizes.push(kept(&store, session).await);
        }
        assert_eq!(sizes, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1], "those used last stay");
    }

    #[tokio::test]
    async fn a_session_keeps_its_newest_turns_within_its_bytes() {
        let store = InProcessStore::within(100, 100_000);
        for _turn in 0..10 {
            store.append(&key(0), said(20_000), SETTINGS, &SessionLock::new(())).await.unwrap();
        }
        let conversation = store.read(&key(0), Window::newest(10)).await.unwrap().unwrap();
        assert_eq!((conversation.first, conversation.turns.len()), (8, 2), "numbers go on");
        store.append(&key(0), said(90_000), SETTINGS, &SessionLock::new(())).await.unwrap();
        assert_eq!(kept(&store, 0).await, 0, "one alone that has no place is not kept");
        store.append(&key(0), said(10), SETTINGS, &SessionLock::new(())).await.unwrap();
        let conversation = store.read(&key(0), Window::newest(10)).await.unwrap().unwrap();
        assert_eq!((conversation.first, conversation.turns.len()), (11, 1));
        store.delete(&key(0)).await.unwrap();
        assert_eq!(hold(&store.sessions).bytes, 0);
    }
}
