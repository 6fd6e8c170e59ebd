//! How much memory the pool of bytes may have: a share of the container's limit, as the kernel tells it.

use std::fs;
use std::path::{Path, PathBuf};

/// A quarter: the estimates may be wrong by half, the shares of what is kept stand beside, and the process has its own.
const SHARE: u64 = 4;

/// Where there is no limit the machine is not ours alone.
const UNLIMITED_MAX: u64 = 512 * 1024 * 1024;

/// What is taken where the kernel tells nothing, as outside of Linux.
const UNKNOWN: u64 = 256 * 1024 * 1024;

/// The capacity of the pool in this container, or on this machine.
pub(crate) fn pool_capacity() -> u64 {
    capacity(Path::new("/"))
}

fn capacity(root: &Path) -> u64 {
    let total = memory_total(root);
    // A limit beyond the machine's memory is none; version 1 says "no limit" with such a number.
    match limit(root).filter(|limit| total.is_none_or(|total| *limit < total)) {
        Some(limit) => limit / SHARE,
        None => total.map_or(UNKNOWN, |total| total / SHARE).min(UNLIMITED_MAX),
    }
}

/// The tightest limit of our control group and of those above it.
fn limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut files =
        vec![root.join("sys/fs/cgroup/memory.max"), root.join("sys/fs/cgroup/memory/memory.limit_in_bytes")];
    for group in groups.lines() {
        // `hierarchy:controllers:path`; no controllers are those of version 2.
        let mut parts = group.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = if controllers.is_empty() {
            ("sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mut folder: PathBuf = root.join(base);
        for part in path.split('/').filter(|part| !part.is_empty() && *part != "..") {
            folder.push(part);
            files.push(folder.join(file));
        }
    }
    files.iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

/// `MemTotal:  24683520 kB`.
fn memory_total(root: &Path) -> Option<u64> {
    let info = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn machine(files: &[(&str, &str)]) -> u64 {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files.iter().chain(&[("proc/meminfo", "MemTotal:        4194304 kB\nMemFree: 1 kB\n")]) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        capacity(root.path())
    }

    #[test]
    fn a_container_has_a_quarter_of_its_limit() {
        assert_eq!(machine(&[("sys/fs/cgroup/memory.max", "268435456\n")]), 64 * MIB);
        assert_eq!(machine(&[("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n")]), 32 * MIB);
    }

    #[test]
    fn the_tightest_group_counts() {
        let files = [
            ("proc/self/cgroup", "0::/kube/pod/container\n"),
            ("sys/fs/cgroup/kube/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/kube/pod/memory.max", "268435456\n"),
            ("sys/fs/cgroup/kube/pod/container/memory.max", "max\n"),
        ];
        assert_eq!(machine(&files), 64 * MIB);
        let files = [
            ("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/b\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/docker/b/memory.limit_in_bytes", "268435456\n"),
        ];
        assert_eq!(machine(&files), 64 * MIB);
    }

    #[test]
    fn without_a_limit_the_machine_decides() {
        assert_eq!(machine(&[]), 512 * MIB);
        assert_eq!(machine(&[("sys/fs/cgroup/memory.max", "max\n")]), 512 * MIB);
        assert_eq!(machine(&[("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")]), 512 * MIB);
        assert_eq!(capacity(Path::new("/nowhere/at/all")), 256 * MIB);
    }
}
