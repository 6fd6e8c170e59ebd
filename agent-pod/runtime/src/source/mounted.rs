//! The operator's document and trust as a mounted ConfigMap, and Secrets as mounted files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::RecursiveMode;

use super::watch::{Watch, WatchError};
use crate::Runtime;

/// The kubelet swaps a volume's files by one rename; there is next to nothing to wait for.
const SETTLE: Duration = Duration::from_millis(5);

/// Where the operator's files are.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// The document.
    pub document: PathBuf,
    /// The trust; absent files mean that no caller can be verified.
    pub trust: Option<PathBuf>,
    /// The folder of the Secrets, `<name>/<key>`.
    pub secrets: PathBuf,
}

impl Mounted {
    /// Reads the files once.
    pub fn read(&self, runtime: &Runtime) {
        if let Some(path) = &self.trust
            && let Some(bytes) = read(path)
            && let Err(error) = runtime.trust(&bytes)
        {
            tracing::error!(path = %path.display(), cause = %error, "trust refused; the keys in use stay");
        }
        let (serving, rejected) = runtime.revisions();
        if let Some(bytes) = read(&self.document) {
            let revision = agent_pod_config::revision_of(&bytes);
            let refused = rejected.as_deref() == Some(revision.as_str());
            let served = rejected.is_none() && serving.as_deref() == Some(revision.as_str());
            if !refused && !served {
                runtime.load(&bytes);
            }
        }
    }

    /// Follows every change of the files, for ever.
    ///
    /// # Errors
    /// When a folder cannot be watched.
    pub async fn follow(self, runtime: Arc<Runtime>) -> Result<(), WatchError> {
        let folder = self.document.parent().unwrap_or_else(|| Path::new("."));
        let mut document = Watch::new(folder, RecursiveMode::Recursive, SETTLE)?;
        // Without a Secret to mount there is no such folder.
        let mut secrets = if self.secrets.is_dir() {
            Some(Watch::new(&self.secrets, RecursiveMode::Recursive, SETTLE)?)
        } else {
            None
        };
        loop {
            let (files, runtime) = (self.clone(), Arc::clone(&runtime));
            // On a thread of its own: the doors go on while a document loads.
            let reading = tokio::task::spawn_blocking(move || {
                files.read(&runtime);
                runtime.secrets().refresh();
            });
            if let Err(error) = reading.await {
                tracing::error!(cause = %error, "the document could not be loaded");
            }
            tokio::select! {
                () = document.changed() => {}
                () = changed(&mut secrets) => {}
            }
        }
    }
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    fs::read(path)
        .inspect_err(|error| tracing::warn!(path = %path.display(), cause = %error, "file cannot be read"))
        .ok()
}
