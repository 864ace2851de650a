//! Folders for what is under way, and the paths that an archive may name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use pilvi_base::secret::random_hex;

/// How the folders of work under way begin; hexadecimal digits follow.
const PREFIX: &str = ".pilvi-backup-";
const DIGITS: usize = 16;
/// Somebody who clears away may come upon a folder between its making and its locking.
const ATTEMPTS: usize = 3;

/// A folder that only we can look into, with all that is in it gone when this is dropped. It is locked while it is in
/// use, so that what somebody left behind can be told from it.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    _lock: File,
}

impl Staging {
    /// A new folder in `place`, which is made when it is missing. What an interrupted run left there is removed.
    pub fn new(place: &Path) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(place)?;
        // Whoever cannot do that has other worries, and will hear of them.
        let _ = Self::clear(place);
        let mut last = io::ErrorKind::AlreadyExists.into();
        for _ in 0..ATTEMPTS {
            let path = place.join(format!("{PREFIX}{}", random_hex::<{ DIGITS / 2 }>()));
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            match lock(&path) {
                Ok(lock) => return Ok(Self { path, _lock: lock }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes an empty folder in it.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }

    /// Removes what an earlier run left behind in `place`, and nothing that is in use.
    pub fn clear(place: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let is_ours = entry.file_name().to_str().is_some_and(is_staging)
                && entry.metadata()?.uid() == rustix::process::geteuid().as_raw();
            if is_ours && let Ok(_lock) = lock(&entry.path()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// Keeps a folder that is in this one under another name, which nothing has or which is an empty folder.
    /// All that is in it is on disk before it appears there.
    pub fn keep(self, folder: &Path, name: &Path) -> io::Result<()> {
        sync_tree(folder)?;
        fs::rename(folder, name)?;
        if let Some(parent) = name
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    }
}

fn is_staging(name: &str) -> bool {
    let digits = name.strip_prefix(PREFIX);
    digits.is_some_and(|digits| {
        digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Locks a folder that is there. The lock ends with the process at the latest.
fn lock(folder: &Path) -> io::Result<File> {
    let opened = File::open(folder)?;
    opened.try_lock()?;
    // It may have been removed in between.
    fs::metadata(folder)?;
    Ok(opened)
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays behind is cleared away by whoever comes next.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

/// Longest path and deepest folder that an archive may name. A longer path would need a second header, which a reader
/// would have to keep in memory however long it claims to be.
const PATH_BYTES_MAX: usize = 100;
const DEPTH_MAX: usize = 8;

/// Whether this is a path that a backup may hold: relative, of plain names, and below the folder it is unpacked into.
pub fn is_plain_path(path: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name != "."
            && name != ".."
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    path.len() <= PATH_BYTES_MAX
        && path.split('/').count() <= DEPTH_MAX
        && path.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_taken() {
        for plain in [
            "pilvi.db",
            "instances/mar-eu-1-ghb1rw62/slugs/17.tgz",
            "a/.b",
        ] {
            assert!(is_plain_path(plain), "{plain}");
        }
        for wrong in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "a\0b",
            "ä",
            "a b",
            "1/2/3/4/5/6/7/8/9",
        ] {
            assert!(!is_plain_path(wrong), "{wrong}");
        }
        assert!(!is_plain_path(&"a".repeat(PATH_BYTES_MAX + 1)));
    }

    #[test]
    fn what_is_under_way_goes_and_what_is_kept_stays() {
        let place = tempfile::tempdir().unwrap();
        let first = Staging::new(place.path()).unwrap();
        fs::write(first.folder("a").unwrap().join("b"), "x").unwrap();
        drop(first);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);

        // What a run that was killed left behind, and what only looks like it.
        let left = place.path().join(format!("{PREFIX}0123456789abcdef"));
        let others = [".pilvi-backup-2024", "backup-0123456789abcdef", "other"];
        fs::create_dir(&left).unwrap();
        fs::write(left.join("b"), "x").unwrap();
        for other in others {
            fs::create_dir(place.path().join(other)).unwrap();
        }
        let at_work = Staging::new(place.path()).unwrap();
        assert!(!left.exists());
        Staging::clear(place.path()).unwrap();
        assert!(at_work.path().is_dir(), "it is in use");
        drop(at_work);
        for other in others {
            fs::remove_dir(place.path().join(other)).unwrap();
        }

        let kept = Staging::new(place.path()).unwrap();
        let folder = kept.folder("a").unwrap();
        fs::write(folder.join("b"), "x").unwrap();
        let name = place.path().join("kept");
        fs::create_dir(&name).unwrap();
        kept.keep(&folder, &name).unwrap();
        assert_eq!(fs::read(name.join("b")).unwrap(), b"x");

        let refused = Staging::new(place.path()).unwrap();
        let folder = refused.folder("a").unwrap();
        assert!(refused.keep(&folder, &name).is_err(), "it is not empty");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
