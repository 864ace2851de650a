//! Removing what programs of a sandbox left on the disk.
//!
//! Whoever fills a folder chooses its shape. Folders may be nested by the hundred thousand, which nothing survives that
//! calls itself for each level, or keeps each level open; and any part may be a link, or become one while it is looked
//! at. So the depth of what is here is bounded, no link is followed, and no path is used below the top.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, chmod, fchmod, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use rustix::path::Arg;

/// Levels that are open at the same time; deeper folders are moved up first.
const LEVELS_OPEN: usize = 64;

/// Folders that are moved up at most. Only somebody who goes on making them while they are removed reaches this.
const MOVED_MAX: u64 = 1 << 24;

/// Removes a folder or file with all that is in it, also when its owner made it hard to remove. None there is fine.
/// Blocks.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open_folder(CWD, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            is_removed(CWD, path)?;
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let mut moved = 0;
    while !is_removed(CWD, path)? {
        if moved > MOVED_MAX {
            let message = "somebody goes on writing into a folder that is removed";
            return Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, message));
        }
        empty(&top, &mut moved)?;
    }
    Ok(())
}

/// A folder on the way down, and its name in the one above.
struct Level {
    name: CString,
    folder: Dir,
}

/// Removes what is in `top`, but for folders that lie very deep: these are in `top` afterwards, with a new name. What
/// changes meanwhile may stay.
fn empty(top: &OwnedFd, moved: &mut u64) -> rustix::io::Result<()> {
    let mut here = Dir::read_from(top)?;
    let mut above: Vec<Level> = Vec::new();
    let mut name = CString::default();
    loop {
        let Some(entry) = here.read() else {
            let Some(level) = above.pop() else {
                return Ok(());
            };
            here = level.folder;
            is_removed(here.fd()?, name.as_c_str())?;
            name = level.name;
            continue;
        };
        let entry = entry?;
        let next = entry.file_name();
        if is_dots(next) || is_removed(here.fd()?, next)? {
            continue;
        }
        let opened = match open_folder(here.fd()?, next) {
            // It was replaced meanwhile; the next round sees by what.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            opened => opened?,
        };
        if above.len() < LEVELS_OPEN {
            let folder = std::mem::replace(&mut here, Dir::new(opened)?);
            let name = std::mem::replace(&mut name, next.to_owned());
            above.push(Level { name, folder });
        } else {
            move_up(here.fd()?, next, top, moved)?;
        }
    }
}

/// Moves what is called `name` to `top`, where it gets a name that nothing has.
fn move_up(
    folder: BorrowedFd<'_>,
    name: &CStr,
    top: &OwnedFd,
    moved: &mut u64,
) -> rustix::io::Result<()> {
    loop {
        *moved += 1;
        let place = format!(".pilvi-removed-{moved}");
        match renameat_with(folder, name, top, place.as_str(), RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) if *moved <= MOVED_MAX => {}
            Err(Errno::NOENT) => return Ok(()),
            moved => return moved,
        }
    }
}

/// Removes a file, a link or an empty folder. `false`: it is a folder with something in it.
fn is_removed(folder: BorrowedFd<'_>, name: impl Arg + Copy) -> rustix::io::Result<bool> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    match unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a folder that is no link, so that what is in it can be listed and removed.
fn open_folder(at: BorrowedFd<'_>, name: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
    let kind = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match openat(at, name, kind | OFlags::RDONLY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // By its descriptor, which is the folder itself whatever has the name by now.
            let handle = openat(at, name, kind | OFlags::PATH, Mode::empty())?;
            let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
            chmod(path.as_str(), Mode::RWXU)?;
            openat(
                CWD,
                path.as_str(),
                OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )?
        }
        opened => opened?,
    };
    if !rustix::process::geteuid().is_root() {
        // If it is not ours, what follows fails and says so.
        let _ = fchmod(&opened, Mode::RWXU);
    }
    Ok(opened)
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use rustix::fs::mkdirat;

    use super::*;

    /// Folders in folders, deeper than any path may be long.
    fn nest(folder: &Path, levels: u32) {
        let mut at = openat(CWD, folder, OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..levels {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = openat(&at, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn no_depth_takes_more_stack_or_descriptors() {
        // In memory: some disks take milliseconds for each folder.
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("beside")).unwrap();
        fs::write(tree.join("beside/file"), "x").unwrap();
        nest(&tree, 30_000);
        let removal = std::thread::Builder::new().stack_size(128 << 10);
        let removed = removal.spawn(move || {
            remove_tree(&tree).unwrap();
            tree.exists()
        });
        assert!(!removed.unwrap().join().unwrap());
    }

    #[test]
    fn links_are_removed_and_not_what_they_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("kept")).unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        for place in ["link", "a/link", "a/b/link", "a/b/c/link"] {
            symlink(outside.path(), tree.join(place)).unwrap();
        }
        let link = folder.path().join("link");
        symlink(outside.path(), &link).unwrap();
        remove_tree(&tree).unwrap();
        remove_tree(&link).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(outside.path().join("kept").is_dir());
    }

    #[test]
    fn neither_rights_nor_names_keep_anything() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        for place in [
            ".pilvi-removed-1/.pilvi-removed-2/x",
            "a/\u{1b}[2J\n/x",
            "locked/in/x",
        ] {
            fs::create_dir_all(tree.join(place)).unwrap();
            fs::write(tree.join(place).join("file"), "x").unwrap();
        }
        for (place, mode) in [("locked/in", 0o000), ("locked", 0o500)] {
            fs::set_permissions(tree.join(place), fs::Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn a_file_is_removed_and_nothing_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        remove_tree(&file).unwrap();
        remove_tree(&file).unwrap();
        assert!(!file.exists());
    }
}
