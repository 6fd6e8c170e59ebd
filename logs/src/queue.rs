//! What has been logged and not written yet.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::line;

/// The most that waits, in bytes: some 4,000 lines of the usual length. Beside it stands what is being written, which is
/// never more.
const BYTES_MAX: usize = 1024 * 1024;

/// A queue of lines, bounded in bytes.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    /// There is something to write.
    filled: Condvar,
    /// Everything has been written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Vec<u8>,
    /// Whether the writer holds lines that it has not written yet.
    writing: bool,
    dropped: u64,
    /// Those of the dropped that have been told.
    said: u64,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line if there is room for it, and counts it if not.
    pub(crate) fn push(&self, line: &[u8]) {
        let line = line::cut(line);
        let mut inner = self.lock();
        if inner.waiting.len() + line.len() > BYTES_MAX {
            inner.dropped += 1;
            return;
        }
        inner.waiting.extend_from_slice(&line);
        drop(inner);
        self.filled.notify_one();
    }

    /// Waits for lines, and puts them in place of what `lines` held.
    pub(crate) fn take(&self, lines: &mut Vec<u8>) {
        lines.clear();
        let waited = self.filled.wait_while(self.lock(), |inner| inner.waiting.is_empty());
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut inner.waiting, lines);
        inner.writing = true;
    }

    /// What was taken is written.
    pub(crate) fn written(&self) {
        self.lock().writing = false;
        self.emptied.notify_all();
    }

    /// Counts lines that were taken and could not be written.
    pub(crate) fn lost(&self, lines: u64) {
        let mut inner = self.lock();
        inner.dropped += lines;
        // Nobody would read that either.
        inner.said += lines;
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// The lines that were dropped since this was asked last.
    pub(crate) fn unsaid(&self) -> u64 {
        let mut inner = self.lock();
        let unsaid = inner.dropped - inner.said;
        inner.said = inner.dropped;
        unsaid
    }

    /// Waits until nothing is left to write, but no longer than `patience`; returns whether nothing is.
    pub(crate) fn wait_until_written(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        let mut inner = self.lock();
        while inner.writing || !inner.waiting.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.emptied.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
