//! How many files and connections this process may hold open.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is asked for when the system sets no bound.
const FILES_MAX: u64 = 1 << 20;

/// Takes as many descriptors as the system allows: its usual first offer of 1024 is far below what a server needs.
/// Says how many there are.
pub(crate) fn raise_limit() -> u64 {
    let offered = getrlimit(Resource::Nofile);
    let most = offered.maximum.unwrap_or(FILES_MAX).min(FILES_MAX);
    let wish = Rlimit {
        current: Some(most),
        maximum: offered.maximum,
    };
    match setrlimit(Resource::Nofile, wish) {
        Ok(()) => most,
        Err(error) => {
            let kept = offered.current.unwrap_or(most);
            tracing::warn!(%error, files = kept, "the limit of open files could not be raised");
            kept
        }
    }
}

/// Who may hold how many of the descriptors: half are for WebSockets, a quarter for connections that ask, and the
/// rest for databases and calls to the outside.
pub(crate) struct Shares {
    pub(crate) sockets: usize,
    pub(crate) connections: usize,
    pub(crate) databases: NonZeroUsize,
}

impl Shares {
    pub(crate) fn of(files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        // One open database may hold a writer and four readers, each with the file and its log.
        let databases = (files / 8 / 10).clamp(4, 1024);
        Self {
            sockets: files / 2,
            connections: files / 4,
            databases: NonZeroUsize::new(databases).expect("it is at least 4"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_fit_into_the_whole() {
        for files in [1024, 20_000, 1 << 20] {
            let shares = Shares::of(files);
            let held = shares.sockets + shares.connections + shares.databases.get() * 10;
            assert!(held <= usize::try_from(files).unwrap(), "{files}");
        }
    }
}
