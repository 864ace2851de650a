//! Taking a place in a pure v2 tree: the subtree that was delegated to us, with its controllers switched on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::detect::{DAEMON, Tree, Unified, make_folder};

/// Those that we use, if the tree has them.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// Takes a place below our own group; as root, else at the top. The error says what to do.
pub(super) fn claim(tree: &Tree, prefix: &str, is_root: bool) -> Result<Unified, String> {
    let own = home(&tree.own, prefix);
    match place_in_own(&own, prefix) {
        Ok(found) => Ok(found),
        Err(_) if is_root && own != tree.top => place_at(&tree.top, prefix).map_err(|error| {
            format!(
                "{} cannot be given groups ({error}): mount /sys/fs/cgroup writable",
                tree.top.display()
            )
        }),
        Err(error) => Err(format!(
            "no control groups are delegated to us in {} ({error}): start Pilvi as a systemd service with \
             Delegate=yes, or by systemd-run --user --scope -p Delegate=yes",
            own.display()
        )),
    }
}

/// Our own group; a daemon that was started by its predecessor finds itself in that one's leaf.
fn home(own: &Path, prefix: &str) -> PathBuf {
    match own.ancestors().nth(2) {
        Some(home) if own.ends_with(Path::new(prefix).join(DAEMON)) => home.to_owned(),
        _ => own.to_owned(),
    }
}

/// A group that limits its children may hold no processes: we move out of the way, into a leaf.
fn place_in_own(own: &Path, prefix: &str) -> io::Result<Unified> {
    let folder = own.join(prefix);
    let leaf = folder.join(DAEMON);
    fs::create_dir_all(&leaf)?;
    let us = std::process::id().to_string();
    fs::write(leaf.join("cgroup.procs"), &us)?;
    match switch_on(own) {
        Ok(()) => finish(folder),
        Err(error) => {
            // Others live in our group too, so it cannot have limited children: back to where we were.
            fs::write(own.join("cgroup.procs"), &us)?;
            fs::remove_dir(&leaf)?;
            fs::remove_dir(&folder)?;
            Err(error)
        }
    }
}

/// The top of the tree may have both, processes and limited children.
fn place_at(top: &Path, prefix: &str) -> io::Result<Unified> {
    let folder = top.join(prefix);
    if !make_folder(&folder) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    switch_on(top)?;
    finish(folder)
}

fn finish(folder: PathBuf) -> io::Result<Unified> {
    switch_on(&folder)?;
    let on = words(&folder.join("cgroup.subtree_control"))?;
    let has = |name: &str| on.iter().any(|it| it == name);
    Ok(Unified {
        memory: has("memory"),
        pids: has("pids"),
        cpu: has("cpu"),
        kill: folder.join("cgroup.kill").exists(),
        folder,
    })
}

/// Hands the controllers that `folder` has down to its children. One that is refused spoils no other.
fn switch_on(folder: &Path) -> io::Result<()> {
    let there = words(&folder.join("cgroup.controllers"))?;
    let control = folder.join("cgroup.subtree_control");
    let on = words(&control)?;
    let mut refused = None;
    let mut switched = 0;
    for name in CONTROLLERS {
        let is_there = there.iter().any(|it| it == name);
        if on.iter().any(|it| it == name) {
            switched += 1;
        } else if is_there {
            match fs::write(&control, format!("+{name}")) {
                Ok(()) => switched += 1,
                Err(error) => refused = Some(error),
            }
        }
    }
    match refused {
        Some(error) if switched == 0 => Err(error),
        _ if switched == 0 => Err(io::Error::other("it has no controllers")),
        _ => Ok(()),
    }
}

fn words(path: &Path) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(path)?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}
