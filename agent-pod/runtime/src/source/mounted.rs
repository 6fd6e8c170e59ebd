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
        let mut document = Watch::new(self.folder(), RecursiveMode::Recursive, SETTLE)?;
        // Without a Secret to mount there is no such folder.
        let secrets = if self.secrets.is_dir() {
            Some(Watch::new(&self.secrets, RecursiveMode::Recursive, SETTLE)?)
        } else {
            None
        };
        // Beside the document: a run may wait for a key, and a document may take long to load.
        let keys = follow_secrets(secrets, Arc::clone(&runtime));
        let documents = async {
            loop {
                let (files, runtime) = (self.clone(), Arc::clone(&runtime));
                // On a thread of its own: the doors go on while a document loads.
                aside(move || {
                    files.read(&runtime);
                    runtime.secrets().refresh();
                })
                .await;
                document.changed().await;
            }
        };
        tokio::join!(keys, documents);
        Ok(())
    }

    /// The folder of the operator's files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.document.parent().unwrap_or_else(|| Path::new("."))
    }
}

/// Reads the Secrets whenever their files change, for ever.
async fn follow_secrets(watch: Option<Watch>, runtime: Arc<Runtime>) {
    let Some(mut watch) = watch else { return };
    loop {
        watch.changed().await;
        let runtime = Arc::clone(&runtime);
        aside(move || drop(runtime.secrets().refresh())).await;
    }
}

/// Reads on a thread that may be kept waiting.
async fn aside(read: impl FnOnce() + Send + 'static) {
    if let Err(error) = tokio::task::spawn_blocking(read).await {
        tracing::error!(cause = %error, "the mounted files could not be read");
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    fs::read(path)
        .inspect_err(|error| tracing::warn!(path = %path.display(), cause = %error, "file cannot be read"))
        .ok()
}
