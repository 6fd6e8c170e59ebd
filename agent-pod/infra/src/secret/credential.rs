//! A key of a Secret as one server takes it, so that a rotated key costs no call.
//!
//! ```text
//!  sent ─ accepted ─► may be waited for ─ refused ─► looked at again ─ the same ─► awaited, for WAIT ─► another one
//!    └─── refused without ever having been accepted: it is wrong, and nobody waits ───────────────────► as it was
//! ```
//!
//! What a server says is of one value. When another one has been read, nothing is known.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use agent_pod_core::cpu::offload;
use http::StatusCode;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::{SecretHandle, SecretId, lock};

/// How long another value is waited for, from when the first call was refused. The operator has the volume refreshed within
/// a second; the rest is for whoever revokes a key and then replaces it.
pub const WAIT: Duration = Duration::from_secs(5);

/// A value for which a wait was in vain is not waited for again so soon.
const WAIT_AGAIN: Duration = Duration::from_secs(3600);

/// The most calls of a pod that wait at the same time; those beyond fail at once.
const WAITING_MAX: usize = 1024;

static PLACES: Semaphore = Semaphore::const_new(WAITING_MAX);

/// A key of a Secret, and what one server has said of its value.
#[derive(Clone, Debug)]
pub struct Credential {
    secret: SecretHandle,
    standing: Arc<Mutex<Standing>>,
}

/// A value as it was sent.
pub struct Sent {
    /// The value.
    pub value: SecretString,
    version: u64,
    at: Instant,
}

/// What the server has said of the value of this version.
#[derive(Debug, Default)]
pub(super) struct Standing {
    version: u64,
    accepted: bool,
    refused: Option<Instant>,
    /// When it was last waited for another one.
    waited: Option<Instant>,
    /// It was refused and accepted again: not all that looks like a refusal of it is one.
    forgiven: bool,
}

impl Standing {
    /// Whether the server refuses the value of this version.
    pub(super) fn refuses(&self, version: u64) -> bool {
        self.version == version && self.refused.is_some()
    }

    fn awaited_until(&self) -> Option<Instant> {
        let until = self.waited.filter(|_| self.refused.is_some())? + WAIT;
        (until > Instant::now()).then_some(until)
    }
}

impl Credential {
    /// The value of this key, at a server that has not seen it yet.
    #[must_use]
    pub fn new(secret: SecretHandle) -> Self {
        let standing = Arc::default();
        secret.used_as(&standing);
        Self { secret, standing }
    }

    /// The key.
    #[must_use]
    pub fn id(&self) -> &SecretId {
        self.secret.id()
    }

    /// Changes whenever the value in use does; 0 while there is none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.secret.version()
    }

    /// The value in use, to be sent now.
    #[must_use]
    pub fn to_send(&self) -> Option<Sent> {
        let (value, version) = self.secret.versioned()?;
        Some(Sent { value, version, at: Instant::now() })
    }

    /// The value after another look at its source, if it is not the one that was `refused`.
    pub async fn fresh(&self, refused: &Sent) -> Option<Sent> {
        let secret = self.secret.clone();
        // What it says is not enough: somebody else may have looked since the refused one was sent.
        let _changed: bool = offload(move || secret.reread()).await;
        self.to_send().filter(|fresh| fresh.version != refused.version)
    }

    /// The server has taken what was sent.
    pub fn accepted(&self, sent: &Sent) {
        let mut standing = self.standing(sent.version);
        if standing.version != sent.version {
            return;
        }
        standing.accepted = true;
        // One that was sent before the refusal may have been taken before it, too, and be answered late.
        if standing.refused.is_some_and(|at| at < sent.at) {
            standing.refused = None;
            standing.forgiven = true;
            drop(standing);
            let SecretId { name, key } = self.id();
            info!(secret = %name, key = %key, "secret key accepted again");
            self.secret.tell_change();
        }
    }

    /// The server has refused what was sent with this status.
    pub fn refused(&self, sent: &Sent, status: StatusCode) {
        let mut standing = self.standing(sent.version);
        // 403 may as well be said of a model or a place.
        let meant = status == StatusCode::UNAUTHORIZED || !standing.forgiven;
        if standing.version != sent.version || standing.refused.is_some() || !meant {
            return;
        }
        let now = Instant::now();
        standing.refused = Some(now);
        let rested = standing.waited.is_none_or(|waited| waited.elapsed() >= WAIT_AGAIN);
        if standing.accepted && rested && self.secret.comes_late() {
            standing.waited = Some(now);
        }
        let awaited = standing.awaited_until().is_some();
        drop(standing);
        let SecretId { name, key } = self.id();
        warn!(secret = %name, key = %key, status = status.as_u16(), awaited, "secret key refused by its server");
        self.secret.tell_change();
    }

    /// Whether the value is refused that was accepted before, so that another one may be on its way.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        PLACES.available_permits() > 0 && self.awaited_until().is_some()
    }

    /// Waits for another value as long as it makes sense; whether the one in use is worth another try.
    pub async fn renewed(&self) -> bool {
        let mut changes = self.secret.changes();
        let before = self.version();
        let mut place = None;
        while let Some(until) = self.awaited_until() {
            if place.is_none() {
                let Ok(free) = PLACES.try_acquire() else { return false };
                place = Some(free);
            }
            // Too late or woken, it is looked at again.
            drop(timeout_at(until, changes.changed()).await);
        }
        let now = self.version();
        now != before || (place.is_some() && !self.standing(now).refuses(now))
    }

    fn awaited_until(&self) -> Option<Instant> {
        self.standing(self.version()).awaited_until()
    }

    /// What is known; nothing where the value is another one now. Of a `version` that is not in use nothing is ever known.
    fn standing(&self, version: u64) -> MutexGuard<'_, Standing> {
        let mut standing = lock(&self.standing);
        if standing.version != version && version == self.version() {
            *standing = Standing { version, ..Standing::default() };
        }
        standing
    }
}

#[cfg(test)]
mod tests;
