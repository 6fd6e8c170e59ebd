//! Where the values of keys come from.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};

use super::{SecretId, lock};

/// The most bytes of a value: what Kubernetes allows a whole Secret.
pub(super) const VALUE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a key has no usable value now. Never holds any of the value.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("the name is not that of a file")]
    Name,
    #[error("failed to read the file: {0}")]
    Read(io::ErrorKind),
    #[error("not a regular file")]
    NotAFile,
    #[error("larger than {VALUE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("not UTF-8 text")]
    NotText,
    #[error("empty, or nothing but white space")]
    Empty,
    #[error("not set")]
    Unset,
}

/// Where values come from.
pub(super) enum Source {
    /// Files `<root>/<secret>/<key>`.
    Directory(PathBuf),
    /// What was set.
    Memory(Memory),
}

/// Looks a value up where those that are set come from.
pub type LookUp = Arc<dyn Fn(&SecretId) -> Option<SecretString> + Send + Sync>;

/// What was set, and where to look whether it still holds.
#[derive(Default)]
pub(super) struct Memory {
    values: Mutex<BTreeMap<SecretId, SecretString>>,
    look_up: Mutex<Option<LookUps>>,
}

/// How keys are looked up, and when they last were.
struct LookUps {
    look_up: LookUp,
    last: BTreeMap<SecretId, LookedUp>,
}

struct LookedUp {
    began: Instant,
    took: Duration,
}

/// A look-up that takes longer reads many files.
const CHEAP: Duration = Duration::from_millis(10);

/// The longest rest after one that did.
const REST_MAX: Duration = Duration::from_secs(1);

impl LookedUp {
    /// Whether it has found what somebody who asks now, or did at `asked`, wants to know.
    fn serves(&self, asked: Instant) -> bool {
        let rest = if self.took > CHEAP { (self.took * 10).min(REST_MAX) } else { Duration::ZERO };
        self.began >= asked || asked < self.began + self.took + rest
    }
}

impl Source {
    pub(super) fn set(&self, id: &SecretId, value: Option<SecretString>) {
        match self {
            Self::Directory(_) => {}
            Self::Memory(memory) => {
                let mut values = lock(&memory.values);
                match value {
                    Some(value) => values.insert(id.clone(), value),
                    None => values.remove(id),
                };
            }
        }
    }

    /// Has what is set looked up before it is read again. Without effect on files, which are always looked at.
    pub(super) fn looked_up_by(&self, look_up: LookUp) {
        if let Self::Memory(memory) = self {
            *lock(&memory.look_up) = Some(LookUps { look_up, last: BTreeMap::new() });
        }
    }

    /// Looks up what may have changed since it was set. Whoever comes meanwhile waits, and finds it done.
    pub(super) fn look_up(&self, id: &SecretId) {
        let Self::Memory(memory) = self else { return };
        let asked = Instant::now();
        let mut look_ups = lock(&memory.look_up);
        let Some(LookUps { look_up, last }) = look_ups.as_mut() else { return };
        if last.get(id).is_some_and(|last| last.serves(asked)) {
            return;
        }
        let began = Instant::now();
        let found = look_up(id);
        last.insert(id.clone(), LookedUp { began, took: began.elapsed() });
        if found.is_some() {
            self.set(id, found);
        }
    }

    /// The value without one trailing line end.
    pub(super) fn read(&self, id: &SecretId) -> Result<SecretString, SourceError> {
        match self {
            Self::Directory(root) => read_file(&root.join(file_name(&id.name)?).join(file_name(&id.key)?)),
            Self::Memory(memory) => {
                let value = lock(&memory.values).get(id).cloned().ok_or(SourceError::Unset)?;
                trimmed(value.expose_secret())
            }
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(root) => f.debug_tuple("Directory").field(root).finish(),
            Self::Memory(_) => f.write_str("Memory"),
        }
    }
}

/// `part` if it names a file in a directory and leads nowhere else.
fn file_name(part: &str) -> Result<&str, SourceError> {
    let mut components = Path::new(part).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == part => Ok(part),
        _ => Err(SourceError::Name),
    }
}

fn read_file(path: &Path) -> Result<SecretString, SourceError> {
    let failed = |error: io::Error| SourceError::Read(error.kind());
    // Looked at before it is opened: opening a pipe would wait for its other end.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(SourceError::NotAFile);
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(VALUE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > VALUE_BYTES_MAX) {
        return Err(SourceError::TooLarge);
    }
    trimmed(std::str::from_utf8(&bytes).map_err(|_| SourceError::NotText)?)
}

fn trimmed(text: &str) -> Result<SecretString, SourceError> {
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.trim().is_empty() { Err(SourceError::Empty) } else { Ok(SecretString::from(text)) }
}
