//! Reads an archive that nobody vouches for.
//!
//! Only plain files with plain names are taken, each once, into a folder that was empty. Lengths are bounded by what is
//! allowed and by what the disk has room for, and nothing that the archive says about itself is believed before it was
//! compared.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pilvi_base::Keyring;
use pilvi_base::secret::{Sha256, hex, unhex};
use tar::{Archive, Entry, EntryType};

use crate::error::{Error, Result};
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::{FORMAT, is_plain_path};

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const SIGNATURE: &str = "manifest.sig";
pub(crate) const ERROR: &str = "given-up.txt";
pub(crate) const SIGNED_FOR: &str = "backup manifest";

const PIECE_BYTES: usize = 256 << 10;
/// How often it is looked how full the disk is.
const LOOK_EVERY_BYTES: u64 = 16 << 20;
/// What stays free on the disk, or a tenth of it where that is less.
const DISK_RESERVE_BYTES: u64 = 256 << 20;
/// More than any reason has.
pub(crate) const REASON_BYTES_MAX: u64 = 4096;

/// How much may be in an archive.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub bytes: u64,
    pub files: u64,
    /// Bytes of the manifest, which is in memory as a whole.
    pub manifest_bytes: u64,
    /// What may be taken of the disk: see [`room_for_a_guest`].
    pub disk_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            bytes: 1 << 40,
            files: 1_000_000,
            manifest_bytes: MANIFEST_BYTES_MAX,
            disk_bytes: u64::MAX,
        }
    }
}

/// Who made an archive, as far as the keys at hand can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A server with our keys, and nobody changed it since.
    Ours,
    /// Somebody else, or we before the keys were exchanged.
    Unknown,
}

/// What was found in an archive.
#[derive(Debug)]
pub struct Unpacked {
    pub manifest: Manifest,
    /// The text and the signature of the manifest, for [`Unpacked::origin`].
    text: Vec<u8>,
    signature: Vec<u8>,
}

impl Unpacked {
    pub fn origin(&self, keyring: &Keyring) -> Origin {
        match keyring.is_signed(SIGNED_FOR, &self.text, &self.signature) {
            true => Origin::Ours,
            false => Origin::Unknown,
        }
    }
}

/// Takes the files of an archive into `folder`, which is empty, and compares all of them with the manifest. When this
/// fails, what is in the folder is of no use.
pub fn unpack(source: impl Read, folder: &Path, bounds: Bounds) -> Result<Unpacked> {
    read(source, Some(folder), bounds)
}

/// Compares an archive with its manifest without unpacking it.
pub fn check(source: impl Read, bounds: Bounds) -> Result<Unpacked> {
    read(source, None, bounds)
}

fn read(source: impl Read, folder: Option<&Path>, bounds: Bounds) -> Result<Unpacked> {
    let mut archive = Archive::new(source);
    // As they are: long names and other headers before headers are nothing that we write.
    let entries = archive.entries().map_err(Error::Unreadable)?.raw(true);
    let mut taken = Taken::new(folder, bounds);
    let mut text = None;
    for entry in entries {
        let mut entry = entry.map_err(unreadable)?;
        let path = plain_file(&entry)?;
        match (path.as_str(), &text) {
            (ERROR, _) => {
                let why = small(&mut entry, REASON_BYTES_MAX)?;
                return Err(Error::GivenUp(String::from_utf8_lossy(&why).into_owned()));
            }
            (MANIFEST, None) => text = Some(small(&mut entry, bounds.manifest_bytes)?),
            (SIGNATURE, Some(_)) => {
                let signature = small(&mut entry, 256)?;
                let text = text.unwrap_or_default();
                let manifest = parse(&text)?;
                taken.compare(&manifest)?;
                let signature = std::str::from_utf8(&signature).ok().and_then(unhex);
                let signature =
                    signature.ok_or_else(|| Error::Damaged("its signature is none".to_owned()))?;
                return Ok(Unpacked {
                    manifest,
                    text,
                    signature,
                });
            }
            (_, None) => taken.take(&path, &mut entry)?,
            (_, Some(_)) => {
                return Err(Error::Damaged(format!("`{path}` follows its manifest")));
            }
        }
    }
    if taken.files.is_empty() && text.is_none() {
        return Err(Error::NotABackup("it holds no files".to_owned()));
    }
    Err(Error::CutShort)
}

fn parse(text: &[u8]) -> Result<Manifest> {
    #[derive(serde::Deserialize)]
    struct Version {
        format: u32,
    }
    let not_one = |error: serde_json::Error| Error::NotABackup(format!("its manifest: {error}"));
    // A newer format may have another shape.
    let Version { format } = serde_json::from_slice(text).map_err(not_one)?;
    if format > FORMAT {
        return Err(Error::TooNew {
            found: format,
            known: FORMAT,
        });
    }
    serde_json::from_slice(text).map_err(not_one)
}

/// The path of an entry, if it is one that we would have written.
pub(crate) fn plain_file(entry: &Entry<'_, impl Read>) -> Result<String> {
    let bytes = entry.path_bytes();
    let path = std::str::from_utf8(&bytes).unwrap_or_default();
    if !is_plain_path(path) {
        return Err(Error::NotABackup(format!(
            "it holds a file with the name {:?}, which we write into no archive",
            String::from_utf8_lossy(&bytes)
                .chars()
                .take(80)
                .collect::<String>()
        )));
    }
    match entry.header().entry_type() {
        EntryType::Regular => Ok(path.to_owned()),
        _ => Err(Error::NotABackup(format!(
            "it holds `{path}`, which is no plain file"
        ))),
    }
}

pub(crate) fn small(entry: &mut Entry<'_, impl Read>, bytes_max: u64) -> Result<Vec<u8>> {
    let (mut bytes, length) = (Vec::new(), entry.size());
    if length > bytes_max {
        return Err(Error::TooLarge(format!(
            "an entry has {length} bytes where {bytes_max} are the most"
        )));
    }
    entry.read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(Error::CutShort),
    }
}

/// Reading stopped, for want of bytes or because they make no sense.
pub(crate) fn unreadable(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::CutShort,
        // The tar reader says so itself when half a header is left.
        io::ErrorKind::Other if error.to_string().contains("failed to read entire block") => {
            Error::CutShort
        }
        io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            // The library's words repeat what it has read, which may be anything.
            Error::NotABackup(
                "it cannot be read as a tar file; `pilvi backup create` makes one".to_owned(),
            )
        }
        _ => Error::Unreadable(error),
    }
}

/// What came so far.
struct Taken<'a> {
    folder: Option<&'a Path>,
    left: Bounds,
    bounds: Bounds,
    /// Length and checksum by path.
    files: HashMap<String, (u64, [u8; 32])>,
    /// Bytes until the disk is looked at again.
    look_in: u64,
}

impl<'a> Taken<'a> {
    fn new(folder: Option<&'a Path>, bounds: Bounds) -> Self {
        Self {
            folder,
            left: bounds,
            bounds,
            files: HashMap::new(),
            look_in: 0,
        }
    }

    fn take(&mut self, path: &str, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let length = entry.size();
        let too_large = || {
            Error::TooLarge(format!(
                "it may hold {} files with {} bytes together",
                self.bounds.files, self.bounds.bytes
            ))
        };
        self.left.bytes = self.left.bytes.checked_sub(length).ok_or_else(too_large)?;
        self.left.files = self.left.files.checked_sub(1).ok_or_else(too_large)?;
        if self.files.contains_key(path) {
            return Err(Error::Damaged(format!("it holds `{path}` twice")));
        }
        let mut file = match self.folder {
            Some(folder) => {
                let left = self.left.disk_bytes.checked_sub(length);
                self.left.disk_bytes = left.ok_or_else(|| Error::DiskLow {
                    path: folder.to_owned(),
                })?;
                Some(create(folder, path)?)
            }
            None => None,
        };
        let (mut sum, mut left) = (Sha256::default(), length);
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let count = entry.read(&mut buffer).map_err(unreadable)?;
            if count == 0 {
                break;
            }
            let piece = &buffer[..count];
            sum.add(piece);
            left = left.saturating_sub(count as u64);
            if let Some((file, place)) = &mut file {
                self.look_in = match self.look_in.checked_sub(count as u64) {
                    Some(left) => left,
                    None => {
                        check_room(place)?;
                        LOOK_EVERY_BYTES
                    }
                };
                file.write_all(piece).map_err(Error::io("write", place))?;
            }
        }
        if left > 0 {
            return Err(Error::CutShort);
        }
        self.files.insert(path.to_owned(), (length, sum.finish()));
        Ok(())
    }

    /// Whether what came is what the manifest lists, no more and no less.
    fn compare(&mut self, manifest: &Manifest) -> Result<()> {
        for record in &manifest.files {
            let path = &record.path;
            let shown = || path.chars().take(200).collect::<String>();
            let (bytes, sum) = self
                .files
                .remove(path)
                .ok_or_else(|| Error::Damaged(format!("`{}` is missing", shown())))?;
            if bytes != record.bytes || hex(&sum) != record.sha256 {
                return Err(Error::Damaged(format!(
                    "`{path}` is not what it was when the backup was made"
                )));
            }
        }
        match self.files.keys().next() {
            None => Ok(()),
            Some(path) => Err(Error::Damaged(format!(
                "it holds `{path}`, of which its manifest knows nothing"
            ))),
        }
    }
}

fn create(folder: &Path, path: &str) -> Result<(File, PathBuf)> {
    let place = folder.join(path);
    if let Some(parent) = place.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            // `a` and `a/b` cannot both be files.
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                    Error::Damaged(format!("`{path}` lies in a file"))
                }
                _ => Error::io("make the folder", parent)(error),
            })?;
    }
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&place);
    match file {
        Ok(file) => Ok((file, place)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::Damaged(format!("`{path}` is a file and a folder")))
        }
        Err(error) => Err(Error::io("make", &place)(error)),
    }
}

/// How much may be unpacked into `folder` on behalf of somebody who shares the disk with others: half of what is free.
pub fn room_for_a_guest(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize) / 2)
}

/// Refuses when the disk has no more room than others need.
fn check_room(place: &Path) -> Result<()> {
    let folder = place.parent().unwrap_or(place);
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        // Whatever is wrong there, the write itself will say it better.
        return Ok(());
    };
    let size = disk.f_blocks.saturating_mul(disk.f_frsize);
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match free < DISK_RESERVE_BYTES.min(size / 10) {
        true => Err(Error::DiskLow {
            path: folder.to_owned(),
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
