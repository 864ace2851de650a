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

/// Who may hold how many of the descriptors.
///
/// Clients share all but a reserve, whether they ask or listen: a connection that becomes a WebSocket keeps the place
/// that it has. The last places are not for sockets, so that a house full of them still answers requests. The reserve
/// is for databases, calls to the outside, refusals and the listeners. Open databases may grow beyond it while there is
/// room; then there is less room for clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    /// Connections of clients, WebSockets among them.
    pub(crate) connections: u32,
    pub(crate) sockets: u32,
    pub(crate) databases: NonZeroUsize,
}

impl Shares {
    pub(crate) fn of(files: u64) -> Self {
        let files = u32::try_from(files.min(FILES_MAX)).expect("the bound is a million");
        let reserve = (files / 32).max(256).min(files / 4);
        let connections = files - reserve;
        let for_requests = (connections / 8).clamp(1, 256);
        // An open database has a writer, with the file, its log and its index, and a reader, with two more.
        let databases = (files / 4 / 5).clamp(4, 1024);
        Self {
            connections,
            sockets: connections - for_requests,
            databases: NonZeroUsize::new(databases as usize).expect("it is at least 4"),
        }
    }

    /// The bounds of the door.
    pub(crate) fn of_the_door(self) -> pilvi_web::Limits {
        let number = |count: u32| i32::try_from(count).expect("the bound is a million");
        pilvi_web::Limits {
            connections_max: self.connections as usize,
            files_max: number(self.connections),
            socket_files_max: number(self.sockets),
            ..pilvi_web::Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_all_is_for_sockets_and_never_all() {
        for (files, sockets) in [
            (256, 168),
            (1024, 672),
            (20_000, 19_119),
            (1 << 20, 1_015_552),
            (u64::MAX, 1_015_552),
        ] {
            let Shares {
                connections,
                sockets: for_sockets,
                ..
            } = Shares::of(files);
            assert_eq!(for_sockets, sockets, "{files}");
            assert!(for_sockets < connections, "{files}");
            assert!(u64::from(connections) <= files - files / 32, "{files}");
        }
    }

    #[test]
    fn open_databases_take_no_more_than_a_quarter_where_that_is_enough_for_some() {
        for files in [1024, 20_000, 1 << 20] {
            let databases = Shares::of(files).databases.get() as u64;
            assert!((4..=files / 20).contains(&databases), "{files}");
        }
    }
}
