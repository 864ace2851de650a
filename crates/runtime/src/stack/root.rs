//! What of a tree with a `/usr` and an `/etc` is shown to a sandbox.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::etc;
use crate::spec::{Bind, StackRoot};

/// Folders beside `/usr` that are links into it on a system of today, and folders of their own on an old one.
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"];

/// Shows the system below `top`: `/` is the host.
pub(super) fn of(top: &Path) -> io::Result<StackRoot> {
    let usr = top.join("usr");
    if !usr.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("{} is not there", usr.display()),
        ));
    }
    let mut root = StackRoot {
        binds: vec![bind("/usr", usr)],
        masks: vec!["/usr/local".into()],
        ..StackRoot::default()
    };
    for name in MERGED {
        let path = top.join(name);
        let at = format!("/{name}");
        if let Ok(target) = fs::read_link(&path) {
            root.links.push((at, target.to_string_lossy().into_owned()));
        } else if path.is_dir() {
            root.binds.push(bind(&at, path));
        }
    }
    etc::show(top, &mut root);
    Ok(root)
}

pub(super) fn bind(at: &str, source: PathBuf) -> Bind {
    Bind {
        at: at.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_old_tree_shows_its_own_bin_and_a_merged_one_a_link() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path();
        fs::create_dir_all(top.join("usr/lib")).unwrap();
        fs::create_dir(top.join("bin")).unwrap();
        symlink("usr/lib", top.join("lib")).unwrap();
        let root = of(top).unwrap();
        assert!(root.binds.iter().any(|bind| bind.at == "/bin"));
        assert_eq!(root.links[0], ("/lib".to_owned(), "usr/lib".to_owned()));
    }

    #[test]
    fn a_tree_without_programs_is_none() {
        let top = tempfile::tempdir().unwrap();
        assert!(of(top.path()).unwrap_err().to_string().contains("usr"));
    }
}
