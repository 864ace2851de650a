//! The inside of a packed slug: checked before it is taken, unpacked before it runs.
//!
//! A slug comes from whoever may deploy, and is unpacked by the server itself. Only files, folders and links are taken
//! out of it, nothing lands outside its own folder, and all of it is bounded.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use pilvi_model::app::PROCFILE_MAX_BYTES;
use pilvi_model::{Error, Result};
use tar::{Archive, Entry, EntryType};

use crate::settings::Limits;
use crate::upload::{Draft, of_the_disk};

/// How much may be in a slug.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub unpacked_bytes: u64,
    pub files: u64,
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        Self {
            unpacked_bytes: limits.slug_unpacked_bytes,
            files: limits.slug_files,
        }
    }
}

/// What was found in a slug.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The text of the Procfile in its root.
    pub procfile: Option<String>,
}

/// Reads a packed slug from end to end and says what is wrong with it.
pub(crate) fn check(tarball: &Path, bounds: Bounds) -> Result<Contents> {
    let mut packed = Packed::open(tarball, bounds)?;
    let mut contents = Contents::default();
    let mut is_empty = true;
    let mut entries = packed.entries()?;
    while let Some(mut entry) = entries.next()? {
        is_empty = false;
        let is_file = entry.header().entry_type().is_file();
        let path = entry.path().map_err(unreadable)?.into_owned();
        let is_procfile = path.strip_prefix(".").unwrap_or(&path) == Path::new("Procfile");
        if is_file && is_procfile {
            let mut text = Vec::new();
            let mut head = (&mut entry).take(PROCFILE_MAX_BYTES as u64 + 1);
            head.read_to_end(&mut text).map_err(unreadable)?;
            contents.procfile = Some(String::from_utf8_lossy(&text).into_owned());
        }
    }
    // What follows the last entry belongs to the file as well, its checksum above all.
    let mut rest = packed.archive.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(unreadable)?;
    match is_empty {
        true => Err(refused("holds nothing")),
        false => Ok(contents),
    }
}

/// Unpacks a slug into a folder that does not exist yet. The folder is there once it is whole. When the server runs as
/// root, everything in it belongs to `uid`.
pub(crate) fn unpack(tarball: &Path, folder: &Path, uid: u32, bounds: Bounds) -> Result<()> {
    let parent = folder
        .parent()
        .ok_or_else(|| Error::internal("a slug has no folder to be unpacked in"))?;
    let draft = Draft::new(parent);
    std::fs::create_dir(draft.path()).map_err(of_the_disk)?;
    let mut packed = Packed::open(tarball, bounds)?;
    packed.archive.set_preserve_permissions(false);
    packed.archive.set_preserve_mtime(true);
    let mut entries = packed.entries()?;
    while let Some(mut entry) = entries.next()? {
        let is_inside = entry.unpack_in(draft.path()).map_err(of_the_archive)?;
        if !is_inside {
            return Err(outside());
        }
    }
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(draft.path(), mode).map_err(of_the_disk)?;
    give_to(draft.path(), uid).map_err(of_the_disk)?;
    std::fs::rename(draft.path(), folder).map_err(of_the_disk)
}

type Unpacker = Bounded<MultiGzDecoder<BufReader<File>>>;

/// A packed slug. Whoever reads one, whether it was looked at before or not, does so within the same bounds: what a
/// build packed is the work of programs that nobody knows.
struct Packed {
    archive: Archive<Unpacker>,
    meter: Rc<Meter>,
    files_max: u64,
}

impl Packed {
    fn open(tarball: &Path, bounds: Bounds) -> Result<Self> {
        let meter = Rc::new(Meter::default());
        let unpacker = Bounded {
            inner: open(tarball)?,
            left: bounds.unpacked_bytes,
            meter: Rc::clone(&meter),
        };
        Ok(Self {
            archive: Archive::new(unpacker),
            meter,
            files_max: bounds.files,
        })
    }

    fn entries(&mut self) -> Result<Entries<'_>> {
        Ok(Entries {
            entries: self.archive.entries().map_err(unreadable)?,
            meter: Rc::clone(&self.meter),
            files_left: self.files_max,
            files_max: self.files_max,
            passed_over: 0,
        })
    }
}

/// The entries of a slug, each of which may be in one.
struct Entries<'a> {
    entries: tar::Entries<'a, Unpacker>,
    meter: Rc<Meter>,
    files_left: u64,
    files_max: u64,
    /// Bytes of the entry before, which are passed over on the way to the next.
    passed_over: u64,
}

impl<'a> Entries<'a> {
    fn next(&mut self) -> Result<Option<Entry<'a, Unpacker>>> {
        loop {
            // What stands before an entry is held in memory as a whole: names, links, and the map of a sparse file.
            self.meter.stop_after(self.passed_over + HEAD_MAX_BYTES);
            let Some(entry) = self.entries.next() else {
                self.meter.go_on();
                return Ok(None);
            };
            let entry = entry.map_err(unreadable)?;
            self.meter.go_on();
            let kind = entry.header().entry_type();
            let length = match kind {
                // It says how much it stands for, and its head how much of that is here.
                EntryType::GNUSparse => entry.header().entry_size().map_err(unreadable)?,
                _ => entry.size(),
            };
            self.passed_over = self.meter.position().saturating_add(length);
            self.files_left = self
                .files_left
                .checked_sub(1)
                .ok_or_else(|| refused(&format!("holds more than {} files", self.files_max)))?;
            if kind.is_pax_global_extensions() {
                continue;
            }
            check_kind(kind)?;
            check_path(&entry.path().map_err(unreadable)?)?;
            return Ok(Some(entry));
        }
    }
}

/// The longest path and the longest target of a link take 4096 bytes each, and a few attributes come with them.
const HEAD_MAX_BYTES: u64 = 256 << 10;

/// How far a slug has been read, and where to stop.
#[derive(Debug)]
struct Meter {
    position: Cell<u64>,
    stop: Cell<u64>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            position: Cell::new(0),
            stop: Cell::new(u64::MAX),
        }
    }
}

impl Meter {
    fn position(&self) -> u64 {
        self.position.get()
    }

    fn stop_after(&self, position: u64) {
        self.stop.set(position);
    }

    fn go_on(&self) {
        self.stop.set(u64::MAX);
    }

    /// Notes that so much was read. `false`: it is more than may be.
    fn add(&self, count: u64) -> bool {
        let position = self.position.get().saturating_add(count);
        self.position.set(position);
        position <= self.stop.get()
    }
}

fn open(tarball: &Path) -> Result<MultiGzDecoder<BufReader<File>>> {
    let file = match File::open(tarball) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::conflict(
                "the file of this slug is missing on the server; deploy another one",
            ));
        }
        file => file.map_err(of_the_disk)?,
    };
    Ok(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file)))
}

fn check_kind(kind: EntryType) -> Result<()> {
    match kind {
        EntryType::Regular
        | EntryType::Continuous
        | EntryType::Directory
        | EntryType::Symlink
        | EntryType::Link
        | EntryType::GNUSparse => Ok(()),
        _ => Err(refused(
            "holds a device, a pipe or something else that is no file, folder or link",
        )),
    }
}

fn check_path(path: &Path) -> Result<()> {
    let is_inside = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    match is_inside {
        true => Ok(()),
        false => Err(outside()),
    }
}

fn outside() -> Error {
    refused("holds a path that leads out of the app's folder")
}

/// Everything below a folder, and the folder.
fn give_to(path: &Path, uid: u32) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let mut folders = vec![path.to_owned()];
    std::os::unix::fs::lchown(path, Some(uid), Some(uid))?;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            std::os::unix::fs::lchown(entry.path(), Some(uid), Some(uid))?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// A reader that fails when there is more than expected, as in a small file that unpacks to a large one.
struct Bounded<R> {
    inner: R,
    left: u64,
    meter: Rc<Meter>,
}

/// Carried through the layers of readers, so that it is told from a broken file.
#[derive(Debug, thiserror::Error)]
#[error("the slug unpacks to more than a slug may")]
struct TooMuch;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other(TooMuch))?;
        if !self.meter.add(count as u64) {
            return Err(io::Error::other("the head of an entry has no end"));
        }
        Ok(count)
    }
}

fn refused(what: &str) -> Error {
    Error::invalid("slug", what)
}

fn unreadable(error: io::Error) -> Error {
    if is_too_much(&error) {
        return refused("unpacks to more bytes than a slug may have");
    }
    refused("is not a gzip tar, or is damaged").caused_by(error)
}

/// An error while unpacking may be the archive's or the disk's.
fn of_the_archive(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => of_the_disk(error),
        _ => unreadable(error),
    }
}

fn is_too_much(error: &io::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = error
        .get_ref()
        .map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(error) = next {
        if error.is::<TooMuch>() {
            return true;
        }
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use pilvi_model::Kind;
    use tempfile::TempDir;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        unpacked_bytes: 1 << 20,
        files: 10,
    };

    struct Slug {
        folder: TempDir,
    }

    impl Slug {
        fn packed(fill: impl FnOnce(&mut tar::Builder<&mut GzEncoder<Vec<u8>>>)) -> Self {
            let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
            let mut builder = tar::Builder::new(&mut packer);
            fill(&mut builder);
            builder.finish().unwrap();
            drop(builder);
            Self::of(&packer.finish().unwrap())
        }

        fn of(bytes: &[u8]) -> Self {
            let folder = TempDir::new().unwrap();
            let mut file = File::create(folder.path().join("1.tgz")).unwrap();
            file.write_all(bytes).unwrap();
            Self { folder }
        }

        fn check(&self) -> Result<Contents> {
            check(&self.folder.path().join("1.tgz"), BOUNDS)
        }

        fn unpack(&self) -> Result<()> {
            let folder = self.folder.path();
            unpack(&folder.join("1.tgz"), &folder.join("1"), 200_001, BOUNDS)
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.folder.path()).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    fn header(kind: EntryType, size: usize, mode: u32) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(mode);
        header
    }

    fn add(builder: &mut tar::Builder<&mut GzEncoder<Vec<u8>>>, path: &str, text: &str) {
        let mut header = header(EntryType::Regular, text.len(), 0o4755);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }

    /// An entry whose path no honest tool would write.
    fn add_raw(builder: &mut tar::Builder<&mut GzEncoder<Vec<u8>>>, path: &str) {
        let mut header = header(EntryType::Regular, 1, 0o644);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, &b"x"[..]).unwrap();
    }

    #[test]
    fn a_slug_is_unpacked_whole_or_not_at_all() {
        let slug = Slug::packed(|builder| {
            add(builder, "./Procfile", "web: ./run");
            add(builder, "./bin/run", "#!/bin/sh");
            let mut link = header(EntryType::Symlink, 0, 0o777);
            builder
                .append_link(&mut link, "./current", "bin/run")
                .unwrap();
        });
        assert_eq!(
            slug.check().unwrap().procfile.as_deref(),
            Some("web: ./run")
        );
        slug.unpack().unwrap();
        assert_eq!(slug.names(), ["1", "1.tgz"]);
        let tree = slug.folder.path().join("1");
        assert_eq!(
            std::fs::read_to_string(tree.join("current")).unwrap(),
            "#!/bin/sh"
        );
        let mode = std::fs::metadata(tree.join("bin/run"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755, "nothing is set-uid");
    }

    #[test]
    fn what_is_no_gzip_tar_is_refused() {
        let whole = Slug::packed(|builder| add(builder, "a", &"text ".repeat(1000)));
        let bytes = std::fs::read(whole.folder.path().join("1.tgz")).unwrap();
        let mut damaged = bytes.clone();
        let place = damaged.len() - 6;
        damaged[place] ^= 1;
        for wrong in [
            &b""[..],
            b"just text",
            &bytes[..bytes.len() / 2],
            &bytes[..bytes.len() - 4],
            &damaged,
        ] {
            let error = Slug::of(wrong).check().unwrap_err();
            assert_eq!(error.kind, Kind::Invalid, "{}", error.message);
        }
    }

    #[test]
    fn nothing_lands_outside() {
        for path in ["../evil", "/etc/evil", "a/../../evil"] {
            let slug = Slug::packed(|builder| add_raw(builder, path));
            assert!(slug.check().is_err(), "{path}");
            assert!(slug.unpack().is_err(), "{path}");
            assert_eq!(slug.names(), ["1.tgz"], "{path}");
        }
        let slug = Slug::packed(|builder| {
            let mut link = header(EntryType::Symlink, 0, 0o777);
            builder.append_link(&mut link, "way", "..").unwrap();
            add(builder, "way/evil", "x");
        });
        assert!(slug.unpack().is_err());
        assert_eq!(slug.names(), ["1.tgz"]);
    }

    #[test]
    fn devices_are_refused() {
        for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
            let slug = Slug::packed(|builder| {
                let mut header = header(kind, 0, 0o666);
                builder
                    .append_data(&mut header, "device", io::empty())
                    .unwrap();
            });
            assert!(slug.check().is_err(), "{kind:?}");
            assert!(slug.unpack().is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_slug_is_bounded() {
        let slug = Slug::packed(|builder| add(builder, "zeros", &"0".repeat(2 << 20)));
        let error = slug.check().unwrap_err();
        assert!(error.message.contains("more bytes"), "{}", error.message);
        assert!(slug.unpack().is_err());
        let slug = Slug::packed(|builder| {
            for number in 0..11 {
                add(builder, &format!("f{number}"), "");
            }
        });
        assert!(slug.check().unwrap_err().message.contains("10 files"));
    }

    #[test]
    fn what_is_unpacked_is_bounded_though_nobody_checked_it() {
        let slug = Slug::packed(|builder| {
            for number in 0..11 {
                add(builder, &format!("f{number}"), "");
            }
        });
        let error = slug.unpack().unwrap_err();
        assert!(error.message.contains("10 files"), "{}", error.message);
        assert_eq!(slug.names(), ["1.tgz"]);
    }

    #[test]
    fn a_long_path_is_fine_and_one_that_fills_the_memory_is_not() {
        for kind in [
            EntryType::GNULongName,
            EntryType::GNULongLink,
            EntryType::XHeader,
        ] {
            let slug = Slug::packed(|builder| {
                add(builder, "Procfile", &"web: ./run\n".repeat(40));
                let name = vec![b'a'; 600 << 10];
                let mut header = header(kind, name.len(), 0o644);
                header.set_cksum();
                builder.append(&header, &name[..]).unwrap();
                add(builder, "file", "x");
            });
            assert!(slug.check().is_err(), "{kind:?}");
            assert!(slug.unpack().is_err(), "{kind:?}");
        }
        let path = format!("{}/file", "a".repeat(200));
        let slug = Slug::packed(|builder| {
            add(builder, "zeros", &"0".repeat(500 << 10));
            add(builder, &path, "x");
        });
        slug.check().unwrap();
        slug.unpack().unwrap();
        assert!(slug.folder.path().join("1").join(path).is_file());
    }
}
