//! File descriptors: how many there are, and who may have them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process needs for itself: standard streams, listeners, wake-ups, watched folders, data files, and the
/// connections of the admin port.
const OWN: u64 = 48;

/// The most callers' connections, however many descriptors there are: an idle one takes up to 23 KiB, so
/// that all of them fit into a fifth of a small pod's memory.
const CONNECTIONS_MAX: u64 = 2_048;

/// The fewest, however few there are: without callers there is nothing to save descriptors for.
const CONNECTIONS_MIN: u64 = 4;

/// Raises the soft limit to the hard one, and gives how many connections callers may have: half of what is left, because
/// each may need a descriptor for the provider that is asked on its behalf.
pub(super) fn raise_limit() -> usize {
    let limits = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limits.maximum, maximum: limits.maximum };
    let limit = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limits.maximum,
        Err(error) => {
            tracing::warn!(cause = %error, "the limit of open files could not be raised");
            limits.current
        }
    };
    share(limit.unwrap_or(u64::MAX))
}

fn share(limit: u64) -> usize {
    let share = (limit.saturating_sub(OWN) / 2).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX);
    usize::try_from(share).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_get_half_of_what_is_not_needed_within() {
        assert_eq!([64, 256, 1_024, 20_000, u64::MAX].map(share), [8, 104, 488, 2_048, 2_048]);
        assert_eq!(share(20), 4);
    }
}
