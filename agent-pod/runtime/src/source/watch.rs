//! Waiting for files to change.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// A change is looked for this often even when the kernel reports none (network file systems do not).
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// A folder that cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("failed to watch `{}`", path.display())]
pub struct WatchError {
    path: PathBuf,
    source: notify::Error,
}

/// Watches folders with the kernel's notifications, and by looking again every ten seconds.
pub(super) struct Watch {
    changed: mpsc::Receiver<()>,
    /// How long to wait for the end of a burst of changes.
    settle: Duration,
    /// Kept alive: dropping it ends the notifications.
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    /// Watches the folder `path`.
    pub(super) fn new(path: &Path, depth: RecursiveMode, settle: Duration) -> Result<Self, WatchError> {
        let (sender, changed) = mpsc::channel(1);
        let failed = |source| WatchError { path: path.to_owned(), source };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel holds a change already that nobody has looked at yet.
                sender.try_send(()).ok();
            }
        })
        .map_err(failed)?;
        watcher.watch(path, depth).map_err(failed)?;
        Ok(Self { changed, settle, _watcher: watcher })
    }

    /// Returns when something may have changed.
    pub(super) async fn changed(&mut self) {
        self.changed_within(None).await;
    }

    /// The same, or when so much time has passed.
    pub(super) async fn changed_within(&mut self, time: Option<Duration>) {
        let time = time.map_or(LOOK_AGAIN, |time| time.min(LOOK_AGAIN));
        if matches!(timeout(time, self.changed.recv()).await, Ok(Some(()))) {
            sleep(self.settle).await;
            while self.changed.try_recv().is_ok() {}
        }
    }
}
