//! Credentials: the keys of Secrets, read from mounted files or set in memory, with the last good value kept.
//!
//! ```text
//!  SecretStore ─ handle(id) ─► SecretHandle (in a model) ─ get() ─► the last good value, without any I/O
//!      └─ refresh(), reread(id): look at the source again
//! ```
//!
//! A key is known as long as a handle of it lives. Whoever rebuilds models builds the new ones before the old ones are
//! dropped; so the last good value of a key that has gone from the source passes on to the new ones.

pub mod credential;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tracing::{info, warn};

use credential::Standing;
pub use source::LookUp;
use source::{Memory, Source, SourceError};

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId {
    /// Name of the Secret.
    pub name: String,
    /// Key within it.
    pub key: String,
}

/// Whether the source holds a key now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The last look found a value, which is the one in use.
    Present,
    /// The last look found none that could be used. The last good value, if there ever was one, stays in use.
    Missing,
}

/// A key and whether its source holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretState {
    /// The key.
    pub id: SecretId,
    /// What the last look found.
    pub presence: Presence,
    /// Why what is there is of no use.
    pub problem: Option<Problem>,
    /// Whether a value from before is in use in place of a missing one.
    pub former: bool,
    /// Whether a server refuses the value in use.
    pub refused: bool,
}

/// Why a value that is there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is nothing but white space.
    Empty,
    /// It is not UTF-8.
    NotText,
}

impl Problem {
    /// `empty` or `not_text`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotText => "not_text",
        }
    }
}

/// The keys in use and where they come from. Clones share one state.
#[derive(Clone, Debug)]
pub struct SecretStore {
    source: Arc<Source>,
    entries: Arc<Mutex<BTreeMap<SecretId, Weak<Entry>>>>,
    changes: watch::Sender<()>,
}

/// The value of one key, for whoever sends it.
#[derive(Clone)]
pub struct SecretHandle(Arc<Entry>);

struct Entry {
    id: SecretId,
    source: Arc<Source>,
    value: ArcSwapOption<Value>,
    // Held while the source is read, so that an older read never replaces a newer one. `None`: not yet read.
    found: Mutex<Option<Found>>,
    /// What the servers that it is sent to say of it.
    standings: Mutex<Vec<Weak<Mutex<Standing>>>>,
    changes: watch::Sender<()>,
}

/// What the last look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Present,
    Missing(Option<Problem>),
}

/// A value, and a number that only the same value has.
struct Value {
    text: SecretString,
    version: u64,
}

impl Presence {
    /// `present` or `missing`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Missing => "missing",
        }
    }
}

impl SecretStore {
    /// Keys are the files `<root>/<secret>/<key>`, as the kubelet mounts them.
    #[must_use]
    pub fn directory(root: impl Into<PathBuf>) -> Self {
        Self::new(Source::Directory(root.into()))
    }

    /// Keys are what [`SecretStore::set`] says; at first there are none.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Source::Memory(Memory::default()))
    }

    /// Says where the values that are set come from, for the moment when one of them is refused. What it blocks for is not
    /// waited for on a thread that serves sockets. Without effect on a store of files.
    pub fn looked_up_by(&self, look_up: LookUp) {
        self.source.looked_up_by(look_up);
    }

    fn new(source: Source) -> Self {
        Self { source: Arc::new(source), entries: Arc::default(), changes: watch::Sender::new(()) }
    }

    /// Sees every change of a state or a value from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Sets what the source holds for a key; `None`: it is gone, and the last good value stays in use. Without effect
    /// on a store of files.
    pub fn set(&self, id: &SecretId, value: Option<SecretString>) {
        self.source.set(id, value);
        self.reread(id);
    }

    /// A handle of a key, which is read if it is not known yet. The same key gives the same value everywhere.
    #[must_use]
    pub fn handle(&self, id: &SecretId) -> SecretHandle {
        let mut entries = lock(&self.entries);
        entries.retain(|_, entry| entry.strong_count() > 0);
        if let Some(entry) = entries.get(id).and_then(Weak::upgrade) {
            return SecretHandle(entry);
        }
        let entry = Arc::new(Entry {
            id: id.clone(),
            source: Arc::clone(&self.source),
            value: ArcSwapOption::empty(),
            found: Mutex::new(None),
            standings: Mutex::default(),
            changes: self.changes.clone(),
        });
        entries.insert(id.clone(), Arc::downgrade(&entry));
        drop(entries);
        entry.read();
        SecretHandle(entry)
    }

    /// The last good value of a known key.
    #[must_use]
    pub fn get(&self, id: &SecretId) -> Option<SecretString> {
        self.known(id).and_then(|entry| entry.get())
    }

    /// Looks at the source of every known key again. Reads small files and therefore blocks for a moment.
    pub fn refresh(&self) -> Vec<SecretState> {
        self.all().iter().map(|entry| entry.read_state()).collect()
    }

    /// Looks at the source of one key again; whether the value in use has changed.
    pub fn reread(&self, id: &SecretId) -> bool {
        self.known(id).is_some_and(|entry| entry.read())
    }

    /// Every known key in order, and what the last look found.
    #[must_use]
    pub fn states(&self) -> Vec<SecretState> {
        self.all().iter().map(|entry| entry.state(*lock(&entry.found))).collect()
    }

    fn known(&self, id: &SecretId) -> Option<Arc<Entry>> {
        lock(&self.entries).get(id).and_then(Weak::upgrade)
    }

    fn all(&self) -> Vec<Arc<Entry>> {
        lock(&self.entries).values().filter_map(Weak::upgrade).collect()
    }
}

impl SecretHandle {
    /// The key.
    #[must_use]
    pub fn id(&self) -> &SecretId {
        &self.0.id
    }

    /// The last good value; none if there never was one. Costs no I/O.
    #[must_use]
    pub fn get(&self) -> Option<SecretString> {
        self.0.get()
    }

    /// Changes whenever the value in use does; 0 while there is none.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.version()
    }

    fn versioned(&self) -> Option<(SecretString, u64)> {
        self.0.value.load().as_deref().map(|value| (value.text.clone(), value.version))
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    fn tell_change(&self) {
        self.0.changes.send_replace(());
    }

    /// Whether its source may hold an older value than the Secret does: the kubelet refreshes files when it comes to it.
    fn comes_late(&self) -> bool {
        matches!(*self.0.source, Source::Directory(_))
    }

    /// Says what one server thinks of the value, as long as it lives.
    fn used_as(&self, standing: &Arc<Mutex<Standing>>) {
        let mut standings = lock(&self.0.standings);
        standings.retain(|standing| standing.strong_count() > 0);
        standings.push(Arc::downgrade(standing));
    }

    /// Looks at the source again, and at what that comes from; whether the value in use has changed. Reads files, and may
    /// therefore block for a while.
    #[must_use]
    pub fn reread(&self) -> bool {
        self.0.source.look_up(&self.0.id);
        self.0.read()
    }
}

impl Value {
    fn new(text: SecretString) -> Self {
        let mut version = [0; 8];
        let digest = Sha256::digest(text.expose_secret().as_bytes());
        version.iter_mut().zip(&digest).for_each(|(to, from)| *to = *from);
        Self { text, version: u64::from_le_bytes(version) }
    }
}

impl fmt::Debug for SecretHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretHandle").field(&self.0.id).finish()
    }
}

impl Entry {
    fn get(&self) -> Option<SecretString> {
        self.value.load().as_deref().map(|value| value.text.clone())
    }

    fn version(&self) -> u64 {
        self.value.load().as_deref().map_or(0, |value| value.version)
    }

    fn state(&self, found: Option<Found>) -> SecretState {
        let (presence, problem) = match found {
            Some(Found::Present) => (Presence::Present, None),
            Some(Found::Missing(problem)) => (Presence::Missing, problem),
            None => (Presence::Missing, None),
        };
        let version = self.version();
        let standings: Vec<_> = lock(&self.standings).iter().filter_map(Weak::upgrade).collect();
        let refused = version != 0 && standings.iter().any(|standing| lock(standing).refuses(version));
        let former = version != 0 && presence == Presence::Missing;
        SecretState { id: self.id.clone(), presence, problem, former, refused }
    }

    fn read(&self) -> bool {
        self.read_into(&mut lock(&self.found))
    }

    fn read_state(&self) -> SecretState {
        let mut found = lock(&self.found);
        self.read_into(&mut found);
        self.state(*found)
    }

    fn read_into(&self, found: &mut Option<Found>) -> bool {
        let SecretId { name, key } = &self.id;
        let before = *found;
        let mut changed = false;
        match self.source.read(&self.id) {
            Ok(value) => {
                changed =
                    self.value.load().as_deref().map(|old| old.text.expose_secret()) != Some(value.expose_secret());
                if changed {
                    info!(secret = %name, key = %key, "secret key read");
                    self.value.store(Some(Arc::new(Value::new(value))));
                } else if matches!(before, Some(Found::Missing(_))) {
                    info!(secret = %name, key = %key, "secret key is back, unchanged");
                }
                *found = Some(Found::Present);
            }
            Err(error) => {
                *found = Some(Found::Missing(match error {
                    SourceError::Empty => Some(Problem::Empty),
                    SourceError::NotText => Some(Problem::NotText),
                    SourceError::Name
                    | SourceError::Read(_)
                    | SourceError::NotAFile
                    | SourceError::TooLarge
                    | SourceError::Unset => None,
                }));
                if *found != before {
                    let last_good = self.value.load().is_some();
                    warn!(secret = %name, key = %key, last_good, %error, "secret key missing");
                }
            }
        }
        if changed || *found != before {
            self.changes.send_replace(());
        }
        changed
    }
}

/// Every holder leaves its state whole, so a poisoned lock is as good as another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
