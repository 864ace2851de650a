//! Who wants to hear of the changes of a file: told after each commit, so that nobody has to ask again and again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::watch;

/// The number of the newest row that an outbox ever had.
const NEWEST: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'";

/// The followers of all files. Where there are none, a commit looks at one number and that is all.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    count: AtomicUsize,
    /// A plain mutex: held for a look-up, never across a query or an await.
    by_path: Mutex<HashMap<PathBuf, watch::Sender<u64>>>,
}

impl Followers {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, watch::Sender<u64>>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where commits to the file are told of from now on.
    pub(crate) fn follow(&self, path: &Path) -> watch::Receiver<u64> {
        let mut by_path = self.lock();
        let sender = by_path.entry(path.to_owned()).or_default();
        let receiver = sender.subscribe();
        self.count.store(by_path.len(), Ordering::Release);
        receiver
    }

    /// Tells those who follow the file which row of its outbox is the newest. Also a commit that left the outbox as it
    /// was is told of: it may have ended a session.
    pub(crate) fn tell(&self, path: &Path, connection: &Connection) {
        if self.count.load(Ordering::Acquire) == 0 || !self.is_followed(path) {
            return;
        }
        // A file that has no outbox has nobody who waits for one; a follower who hears nothing looks all the same.
        let newest = connection.prepare_cached(NEWEST);
        let newest = newest.and_then(|mut statement| statement.query_row([], |row| row.get(0)));
        if let Some(sender) = self.lock().get(path) {
            sender.send_replace(newest.unwrap_or(0));
        }
    }

    fn is_followed(&self, path: &Path) -> bool {
        let mut by_path = self.lock();
        match by_path.get(path).map(watch::Sender::is_closed) {
            None => false,
            Some(false) => true,
            Some(true) => {
                by_path.remove(path);
                self.count.store(by_path.len(), Ordering::Release);
                false
            }
        }
    }

    /// The file was replaced by another one: whatever was read of it, it has to be looked at again.
    pub(crate) fn startle(&self, path: &Path) {
        if let Some(sender) = self.lock().get(path) {
            sender.send_replace(u64::MAX);
        }
    }

    /// The file is gone; so is everything that could be told of it.
    pub(crate) fn dismiss(&self, path: &Path) {
        let mut by_path = self.lock();
        by_path.remove(path);
        self.count.store(by_path.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_outbox(newest: u64) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT)")
            .unwrap();
        connection
            .execute("INSERT INTO outbox VALUES (?)", [newest])
            .unwrap();
        connection
    }

    #[test]
    fn whoever_follows_a_file_hears_of_its_commits_and_of_no_others() {
        let followers = Followers::default();
        let mut one = followers.follow(Path::new("one"));
        followers.tell(Path::new("other"), &with_outbox(7));
        assert!(!one.has_changed().unwrap());
        followers.tell(Path::new("one"), &with_outbox(5));
        assert_eq!(*one.borrow_and_update(), 5);
        // A commit without a change of an object is one, too.
        followers.tell(Path::new("one"), &with_outbox(5));
        assert!(one.has_changed().unwrap());
    }

    #[test]
    fn nothing_is_kept_of_those_who_left() {
        let followers = Followers::default();
        drop(followers.follow(Path::new("one")));
        followers.tell(Path::new("one"), &with_outbox(5));
        assert!(followers.lock().is_empty());
        assert_eq!(followers.count.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_file_that_is_gone_is_followed_by_nobody() {
        let followers = Followers::default();
        let receiver = followers.follow(Path::new("one"));
        followers.dismiss(Path::new("one"));
        assert!(receiver.has_changed().is_err());
    }
}
