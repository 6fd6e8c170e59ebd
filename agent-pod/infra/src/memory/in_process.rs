//! Conversations in the memory of this process. They end with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use agent_pod_core::memory::{
    ConversationSettings, ConversationStore, SessionKey, SessionLock, StoreError, StoredTurn,
};
use async_trait::async_trait;
use tokio::sync::Mutex as SessionMutex;
use tokio::time::Instant;

/// The most sessions kept; beyond it the one that was not used for the longest time goes.
pub const SESSIONS_MAX: usize = 10_000;

/// How often expired sessions are looked for that nobody asks for any more.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Conversations in the memory of this process.
///
/// The process keeps one for its whole life, so that a reload loses no conversation.
pub struct InProcessStore {
    sessions: Mutex<Sessions>,
    locks: Mutex<Locks>,
    sessions_max: usize,
}

struct Sessions {
    by_key: HashMap<SessionKey, Session>,
    // The same sessions, the one that was not used for the longest time first.
    by_use: BTreeMap<u64, SessionKey>,
    uses: u64,
    sweep_at: Instant,
}

struct Session {
    turns: Vec<StoredTurn>,
    last_use: u64,
    // `None`: beyond what the clock can name, which is never.
    expires_at: Option<Instant>,
}

/// Locks live apart from sessions: one that is held outlives the eviction of its session.
#[derive(Default)]
struct Locks {
    by_key: HashMap<SessionKey, Weak<SessionMutex<()>>>,
    purge_at: usize,
}

impl InProcessStore {
    /// A store of at most [`SESSIONS_MAX`] sessions.
    #[must_use]
    pub fn new() -> Self {
        Self::with_sessions_max(SESSIONS_MAX)
    }

    /// A store of at most `sessions_max` sessions.
    #[must_use]
    pub fn with_sessions_max(sessions_max: usize) -> Self {
        Self { sessions: Mutex::new(Sessions::new(Instant::now())), locks: Mutex::default(), sessions_max }
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
        let session = hold(&self.locks).of(key);
        Ok(Box::new(session.lock_owned().await))
    }

    async fn load(&self, key: &SessionKey, turns_max: usize) -> Result<Vec<StoredTurn>, StoreError> {
        Ok(hold(&self.sessions).load(key, turns_max, Instant::now()))
    }

    async fn append(
        &self,
        key: &SessionKey,
        turn: StoredTurn,
        settings: ConversationSettings,
    ) -> Result<(), StoreError> {
        hold(&self.sessions).append(key, turn, settings, (Instant::now(), self.sessions_max));
        Ok(())
    }
}

impl Sessions {
    fn new(now: Instant) -> Self {
        Self { by_key: HashMap::new(), by_use: BTreeMap::new(), uses: 0, sweep_at: now + SWEEP_INTERVAL }
    }

    fn load(&mut self, key: &SessionKey, turns_max: usize, now: Instant) -> Vec<StoredTurn> {
        self.remove_if_expired(key, now);
        let Some(session) = self.by_key.get_mut(key) else { return Vec::new() };
        let last_use = next(&mut self.uses);
        self.by_use.remove(&session.last_use);
        self.by_use.insert(last_use, key.clone());
        session.last_use = last_use;
        let skipped = session.turns.len().saturating_sub(turns_max);
        session.turns.iter().skip(skipped).cloned().collect()
    }

    fn append(
        &mut self,
        key: &SessionKey,
        turn: StoredTurn,
        settings: ConversationSettings,
        (now, sessions_max): (Instant, usize),
    ) {
        self.remove_if_expired(key, now);
        if now >= self.sweep_at {
            self.sweep(now);
        }
        let mut turns = self.remove(key).map_or_else(Vec::new, |session| session.turns);
        turns.push(turn);
        turns.drain(..turns.len().saturating_sub(settings.turns_max));
        while self.by_key.len() >= sessions_max {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            self.by_key.remove(&oldest);
        }
        let last_use = next(&mut self.uses);
        self.by_use.insert(last_use, key.clone());
        self.by_key.insert(key.clone(), Session { turns, last_use, expires_at: now.checked_add(settings.ttl) });
    }

    fn remove_if_expired(&mut self, key: &SessionKey, now: Instant) {
        if self.by_key.get(key).is_some_and(|session| session.expired(now)) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: &SessionKey) -> Option<Session> {
        let session = self.by_key.remove(key)?;
        self.by_use.remove(&session.last_use);
        Some(session)
    }

    fn sweep(&mut self, now: Instant) {
        let Self { by_key, by_use, uses: _, sweep_at } = self;
        by_key.retain(|_, session| !session.expired(now));
        by_use.retain(|_, key| by_key.contains_key(key));
        *sweep_at = now + SWEEP_INTERVAL;
    }
}

impl Session {
    fn expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|expires_at| now >= expires_at)
    }
}

impl Locks {
    /// The lock of a session. Those that nobody holds or waits for are dropped whenever the table has doubled.
    fn of(&mut self, key: &SessionKey) -> Arc<SessionMutex<()>> {
        if let Some(session) = self.by_key.get(key).and_then(Weak::upgrade) {
            return session;
        }
        if self.by_key.len() >= self.purge_at {
            self.by_key.retain(|_, session| session.strong_count() > 0);
            self.purge_at = (self.by_key.len() * 2).max(64);
        }
        let session = Arc::default();
        self.by_key.insert(key.clone(), Arc::downgrade(&session));
        session
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

    const SETTINGS: ConversationSettings = ConversationSettings { turns_max: 10, ttl: Duration::from_secs(3600) };

    fn key(session: usize) -> SessionKey {
        SessionKey { agent: "shop/support".to_owned(), session: session.to_string() }
    }

    fn turn() -> StoredTurn {
        StoredTurn { messages: Vec::new(), timestamp: "2026-01-01T00:00:00.000Z".to_owned() }
    }

    async fn kept(store: &InProcessStore, session: usize) -> usize {
        store.load(&key(session), 10).await.unwrap().len()
    }

    #[tokio::test]
    async fn the_session_not_used_for_the_longest_time_makes_room() {
        let store = InProcessStore::with_sessions_max(3);
        for session in 0..3 {
            store.append(&key(session), turn(), SETTINGS).await.unwrap();
        }
        assert_eq!(kept(&store, 0).await, 1, "and it is now the one used last");
        store.append(&key(3), turn(), SETTINGS).await.unwrap();
        let mut sizes = Vec::new();
        for session in 0..4 {
            sizes.push(kept(&store, session).await);
        }
        assert_eq!(sizes, [1, 0, 1, 1]);
    }

    #[tokio::test]
    async fn a_full_store_takes_further_turns_of_its_sessions() {
        let store = InProcessStore::with_sessions_max(2);
        for session in [0, 1, 0, 1, 0] {
            store.append(&key(session), turn(), SETTINGS).await.unwrap();
        }
        assert_eq!((kept(&store, 0).await, kept(&store, 1).await), (3, 2));
    }

    #[tokio::test]
    async fn the_store_is_bounded() {
        let store = InProcessStore::new();
        for session in 0..SESSIONS_MAX + 50 {
            store.append(&key(session), turn(), SETTINGS).await.unwrap();
        }
        let sessions = hold(&store.sessions);
        assert_eq!((sessions.by_key.len(), sessions.by_use.len()), (SESSIONS_MAX, SESSIONS_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn expired_sessions_are_swept_out_unasked() {
        let store = InProcessStore::new();
        for session in 0..100 {
            let ttl = Duration::from_secs(if session % 2 == 0 { 30 } else { 300 });
            store.append(&key(session), turn(), ConversationSettings { turns_max: 10, ttl }).await.unwrap();
        }
        tokio::time::advance(SWEEP_INTERVAL).await;
        store.append(&key(1000), turn(), SETTINGS).await.unwrap();
        let sessions = hold(&store.sessions);
        assert_eq!((sessions.by_key.len(), sessions.by_use.len()), (51, 51));
    }

    #[tokio::test]
    async fn locks_that_nobody_holds_are_dropped() {
        let store = InProcessStore::new();
        let held = store.lock(&key(0)).await.unwrap();
        for session in 1..1000 {
            drop(store.lock(&key(session)).await.unwrap());
        }
        assert!(hold(&store.locks).by_key.len() <= 64);
        assert!(hold(&store.locks).of(&key(0)).try_lock().is_err(), "the held one is kept");
        drop(held);
        assert!(hold(&store.locks).of(&key(0)).try_lock().is_ok());
    }
}
