//! File descriptors: as many as the system lets us have, shared by clients and files.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Fewer than this are used up by a few thousand durable queues, or clients.
const FEW: u64 = 65_536;

/// Raises our limit as far as it goes without privileges, and returns it.
pub(crate) fn raise_limit() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    // `None` is unlimited.
    if limit.current != limit.maximum {
        let wanted = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        match setrlimit(Resource::Nofile, wanted) {
            Ok(()) => limit.current = limit.maximum,
            Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
        }
    }
    let limit = limit.current.unwrap_or(u64::MAX);
    if limit < FEW {
        tracing::warn!(
            limit,
            "few files may be open at a time; every durable queue needs two, every client one (see ulimit -n)"
        );
    }
    limit
}

/// How many clients may be connected: a broker that cannot open a file ends, so half stays for files.
pub(crate) fn connections_max(limit: u64) -> usize {
    usize::try_from(limit / 2).unwrap_or(usize::MAX).max(1)
}
