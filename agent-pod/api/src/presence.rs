//! A connection as its port sees it, also when it has become a WebSocket.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

/// Busy for as long as it is held.
type Busy = Box<dyn Send>;

/// What a WebSocket says to whoever gives out the places of a port, and hears from there: it is an extension of its
/// request. Without one nobody asks.
#[derive(Clone)]
pub struct Presence {
    attend: Arc<dyn Fn() -> Busy + Send + Sync>,
    give_way: CancellationToken,
}

impl Presence {
    /// `attend` is called when the socket begins to be busy; `give_way` is cancelled when another one gets its place.
    #[must_use]
    pub fn new(attend: impl Fn() -> Busy + Send + Sync + 'static, give_way: CancellationToken) -> Self {
        Self { attend: Arc::new(attend), give_way }
    }

    /// Another one gets the place.
    pub(crate) async fn given_away(&self) {
        self.give_way.cancelled().await;
    }

    /// Shows whether the socket is busy; `shown` is what was shown before.
    pub(crate) fn show(&self, busy: bool, shown: &mut Option<Busy>) {
        if !busy {
            *shown = None;
        } else if shown.is_none() {
            *shown = Some((self.attend)());
        }
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self::new(|| Box::new(()), CancellationToken::new())
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("give_way", &self.give_way).finish_non_exhaustive()
    }
}
