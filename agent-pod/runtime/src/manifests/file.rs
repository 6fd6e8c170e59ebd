//! One file: read within bounds, and never waited for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use astromesh_crds::manifest::excerpt_of_lines;
use serde_json::Value;

/// The largest manifest file.
pub(crate) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a file could not be read as a whole.
pub(super) struct Unread {
    pub(super) message: String,
    /// Whether the next try may do better, though the file has not changed.
    pub(super) passing: bool,
}

impl Unread {
    fn for_good(message: String) -> Self {
        Self { message, passing: false }
    }
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self { passing: error.kind() != io::ErrorKind::InvalidData, message: format!("cannot be read: {error}") }
    }
}

/// The objects of a file, or what is wrong with it as a whole.
pub(super) fn objects(file: &Path) -> Result<Vec<Value>, Unread> {
    let text = text(file)?;
    serde_saphyr::from_multiple(&text)
        .map_err(|error| Unread::for_good(format!("is not valid YAML: {}", excerpt_of_lines(error))))
}

fn text(path: &Path) -> Result<String, Unread> {
    // Whoever opens a named pipe waits for a writer, unless this is said.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        let message = "is not a regular file; put the manifest itself here, or a link to it";
        return Err(Unread::for_good(message.to_owned()));
    }
    bounded(file, found.len())
}

/// The length may be of a moment ago.
fn bounded(file: File, length: u64) -> Result<String, Unread> {
    let too_long =
        |length: u64| Unread::for_good(format!("is {length} bytes long; a manifest has at most {FILE_BYTES_MAX}"));
    if length > FILE_BYTES_MAX {
        return Err(too_long(length));
    }
    let mut text = String::new();
    let read = u64::try_from(file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?).unwrap_or(u64::MAX);
    if read > FILE_BYTES_MAX { Err(too_long(read)) } else { Ok(text) }
}
