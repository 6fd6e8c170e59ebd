//! Events in a table, for tests of what is above a store.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::memory::episode::{Episode, EpisodeBounds, EpisodeStore};
use crate::memory::{SessionKey, StoreError};

/// Keeps everything; or is down, or hangs.
#[derive(Default)]
pub struct TableEpisodes {
    events: Mutex<Vec<(SessionKey, Episode)>>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Up,
    Down,
    Hanging,
}

impl TableEpisodes {
    /// Every call fails from now on.
    pub fn go_down(&self) {
        *hold(&self.state) = State::Down;
    }

    /// No call ends from now on.
    pub fn hang(&self) {
        *hold(&self.state) = State::Hanging;
    }

    /// Everything that is kept.
    #[must_use]
    pub fn events(&self) -> Vec<(SessionKey, Episode)> {
        hold(&self.events).clone()
    }

    async fn answers(&self) -> Result<(), StoreError> {
        let state = *hold(&self.state);
        match state {
            State::Up => Ok(()),
            State::Down => Err(StoreError("down".to_owned())),
            State::Hanging => std::future::pending().await,
        }
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl EpisodeStore for TableEpisodes {
    async fn append(&self, key: &SessionKey, episode: Episode, _: EpisodeBounds) -> Result<(), StoreError> {
        self.answers().await?;
        hold(&self.events).push((key.clone(), episode));
        Ok(())
    }

    async fn latest(&self, key: &SessionKey, events_max: usize) -> Result<Vec<Episode>, StoreError> {
        self.answers().await?;
        let events = hold(&self.events);
        let of_session: Vec<_> = events.iter().filter(|(of, _)| of == key).map(|(_, event)| event.clone()).collect();
        let skipped = of_session.len().saturating_sub(events_max);
        Ok(of_session.into_iter().skip(skipped).collect())
    }

    async fn delete(&self, key: &SessionKey) -> Result<u64, StoreError> {
        self.answers().await?;
        let mut events = hold(&self.events);
        let before = events.len();
        events.retain(|(of, _)| of != key);
        Ok(u64::try_from(before - events.len()).unwrap_or(u64::MAX))
    }
}
