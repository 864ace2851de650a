//! The built-in buildpacks: embedded in the binary, and laid out on disk for sandboxes to see.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pilvi_runtime::remove_tree;

/// Every file of the project's `buildpacks/`, by its path there.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/buildpacks.rs"));

/// The list of the buildpacks, in the order in which they are asked.
const ORDER: &str = "order";

/// The place inside `/tmp/buildpacks` where a buildpack that somebody else keeps is put.
pub(super) const CUSTOM: &str = "custom";

/// The built-in buildpacks on disk. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Packs {
    folder: Arc<PathBuf>,
    order: Arc<Vec<String>>,
}

impl Packs {
    /// Lays the buildpacks out in `folder`, in place of what an earlier version left there.
    pub fn lay_out(folder: &Path) -> io::Result<Self> {
        remove_tree(folder)?;
        make_folder(folder)?;
        make_folder(&folder.join(CUSTOM))?;
        for (path, content) in FILES {
            let path_on_disk = folder.join(path);
            // A path is `name/part/file` at most, so two levels of folders are all there are.
            let parents: Vec<_> = path_on_disk.ancestors().skip(1).collect();
            for parent in parents
                .into_iter()
                .rev()
                .filter(|parent| parent.starts_with(folder))
            {
                make_folder(parent)?;
            }
            fs::write(&path_on_disk, content)?;
            let mode = if path.contains("/bin/") { 0o755 } else { 0o644 };
            fs::set_permissions(&path_on_disk, Permissions::from_mode(mode))?;
        }
        Ok(Self {
            folder: Arc::new(folder.to_owned()),
            order: Arc::new(built_in_order()),
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of the buildpacks, in the order in which they are asked whether a project is theirs.
    pub fn order(&self) -> &[String] {
        &self.order
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Whatever the process's mask is, programs in a sandbox must be able to read it.
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

fn built_in_order() -> Vec<String> {
    let list = FILES.iter().find(|(path, _)| *path == ORDER);
    let text = list.map_or(&[][..], |(_, content)| content);
    String::from_utf8_lossy(text)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_is_in_the_order_and_has_its_three_programs() {
        let folder = tempfile::tempdir().unwrap();
        let packs = Packs::lay_out(&folder.path().join("packs")).unwrap();
        let mut on_disk: Vec<_> = fs::read_dir(packs.folder())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| entry.file_name().into_string().unwrap())
            .filter(|name| name != CUSTOM)
            .collect();
        on_disk.sort();
        let mut listed = packs.order().to_vec();
        listed.sort();
        assert_eq!(on_disk, listed);
        for name in packs.order() {
            for program in ["detect", "compile", "release"] {
                let path = packs.folder().join(name).join("bin").join(program);
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o755, "{}", path.display());
            }
        }
    }

    #[test]
    fn the_order_is_the_documented_one() {
        let folder = tempfile::tempdir().unwrap();
        let packs = Packs::lay_out(&folder.path().join("packs")).unwrap();
        let place = |name: &str| {
            packs
                .order()
                .iter()
                .position(|known| known == name)
                .unwrap()
        };
        assert_eq!(place("multi"), 0);
        for (first, second) in [
            ("qt", "nodejs"),
            ("nodejs", "python"),
            ("python", "static"),
            ("static", "procfile"),
        ] {
            assert!(place(first) < place(second), "{first} before {second}");
        }
        assert_eq!(packs.order().last().unwrap(), "procfile");
    }

    #[test]
    fn what_an_earlier_version_left_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("packs");
        fs::create_dir_all(place.join("cobol/bin")).unwrap();
        Packs::lay_out(&place).unwrap();
        assert!(!place.join("cobol").exists());
    }
}
