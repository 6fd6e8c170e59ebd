//! A limit of memory as a pod's container has it: a cgroup of version 1 or 2, beyond which the kernel ends the process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// A cgroup with a limit of its own; it is removed when it is dropped, which needs its processes to have ended.
pub(crate) struct Cgroup {
    folder: PathBuf,
    peak: &'static str,
}

impl Cgroup {
    /// Makes one with a limit of so many bytes, or says why this machine cannot.
    pub(crate) fn with_limit(bytes: u64) -> Result<Self, String> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("astromesh-hostile-{}-{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let (parent, limit, swap, peak) = hierarchy();
        let folder = parent.join(name);
        fs::create_dir(&folder).map_err(|error| format!("no cgroup can be made in {}: {error}", parent.display()))?;
        let cgroup = Self { folder, peak };
        let set = fs::write(cgroup.folder.join(limit), bytes.to_string());
        set.map_err(|error| format!("{limit} of a cgroup cannot be set: {error}"))?;
        // Without swap there is no such file.
        drop(fs::write(cgroup.folder.join(swap.0), if swap.1 { "0".to_owned() } else { bytes.to_string() }));
        Ok(cgroup)
    }

    /// Where a process writes its id to be held by the limit.
    pub(crate) fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// The most that its processes have had at once, in bytes.
    pub(crate) fn peak(&self) -> Option<u64> {
        fs::read_to_string(self.folder.join(self.peak)).ok()?.trim().parse().ok()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..200 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
}

/// Where cgroups that limit memory are made, and how their files are called: the limit, that of swap (and whether it counts swap
/// alone), the peak.
fn hierarchy() -> (PathBuf, &'static str, (&'static str, bool), &'static str) {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        (root.to_owned(), "memory.max", ("memory.swap.max", true), "memory.peak")
    } else {
        let swap = ("memory.memsw.limit_in_bytes", false);
        (root.join("memory"), "memory.limit_in_bytes", swap, "memory.max_usage_in_bytes")
    }
}
