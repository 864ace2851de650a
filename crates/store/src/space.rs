//! Room for a tenant: the writes of one that has its part are refused. What is to stay free on the disk for
//! everybody is [`pilvi_base::disk`]'s: see [`crate::Limits::disk_reserve`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use rusqlite::Connection;

pub(crate) use pilvi_base::disk::Space;

/// How many bytes single files may hold, together with what is kept beside them. Shared by all writers.
#[derive(Debug, Default)]
pub(crate) struct Caps(RwLock<HashMap<PathBuf, Cap>>);

#[derive(Clone, Copy, Debug, Default)]
struct Cap {
    /// `None`: as many as there are.
    bytes_max: Option<u64>,
    /// What belongs to the file and is kept elsewhere, such as the bytes of files that it only names.
    beside: u64,
}

impl Caps {
    pub(crate) fn set(&self, path: PathBuf, bytes_max: Option<u64>) {
        self.change(path, |cap| cap.bytes_max = bytes_max);
    }

    /// Lets a file hold as much as another one may.
    pub(crate) fn set_as(&self, path: PathBuf, like: &Path) {
        self.set(path, self.bytes_max(like));
    }

    /// How much the file may hold; `None`: as much as there is.
    pub(crate) fn bytes_max(&self, path: &Path) -> Option<u64> {
        self.get(path).bytes_max
    }

    /// Writes down how much is kept beside a file.
    pub(crate) fn set_beside(&self, path: PathBuf, bytes: u64) {
        self.change(path, |cap| cap.beside = bytes);
    }

    pub(crate) fn add_beside(&self, path: PathBuf, bytes: u64) {
        self.change(path, |cap| cap.beside = cap.beside.saturating_add(bytes));
    }

    /// Forgets a file that is gone.
    pub(crate) fn forget(&self, path: &Path) {
        let mut caps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        caps.remove(path);
    }

    fn change(&self, path: PathBuf, change: impl FnOnce(&mut Cap)) {
        let mut caps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(caps.entry(path).or_default());
    }

    fn get(&self, path: &Path) -> Cap {
        let caps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        caps.get(path).copied().unwrap_or_default()
    }

    /// How much the file may hold, if that is less than what it holds and so many bytes more.
    pub(crate) fn lacks(&self, path: &Path, bytes: u64) -> Option<u64> {
        let cap = self.get(path);
        let bytes_max = cap.bytes_max?;
        let file = std::fs::metadata(path).ok()?.len();
        let wanted = file.saturating_add(cap.beside).saturating_add(bytes);
        (wanted > bytes_max).then_some(bytes_max)
    }

    /// How much the file may hold, if it holds as much. What was deleted from a file leaves room in it, which does not
    /// count; only of a file that has grown so far it is asked how much that is.
    pub(crate) fn reached(&self, path: &Path, connection: &Connection) -> Option<u64> {
        let cap = self.get(path);
        let bytes_max = cap.bytes_max?;
        let for_file = bytes_max.saturating_sub(cap.beside);
        if std::fs::metadata(path).ok()?.len() < for_file {
            return None;
        }
        let page = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let used = || {
            let pages = page("page_count")? - page("freelist_count")?;
            Ok::<_, rusqlite::Error>(pages.saturating_mul(page("page_size")?))
        };
        // Whatever is wrong there, the write itself will say it better.
        let used = u64::try_from(used().ok()?).ok()?;
        (used >= for_file).then_some(bytes_max)
    }
}
