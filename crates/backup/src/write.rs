//! Writes an archive, piece by piece, to whoever takes it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use pilvi_base::Keyring;
use pilvi_base::secret::{Sha256, hex};
use tar::{Builder, EntryType, Header};

use crate::error::{Error, Result};
use crate::manifest::{Counts, FileRecord, Kind, Manifest};
use crate::read::{ERROR, MANIFEST, SIGNATURE, SIGNED_FOR};
use crate::{FORMAT, file_context, is_plain_path};

/// An archive on its way.
pub struct Writer<W: Write> {
    tar: Builder<W>,
    files: Vec<FileRecord>,
    databases: BTreeMap<String, Counts>,
    left_out: Vec<String>,
}

impl<W: Write> Writer<W> {
    pub fn new(output: W) -> Self {
        Self {
            tar: Builder::new(output),
            files: Vec::new(),
            databases: BTreeMap::new(),
            left_out: Vec::new(),
        }
    }

    /// Adds a file of the disk. It must not change any more, though nobody relies on that: its checksum is that of the
    /// bytes that were sent.
    pub fn file(&mut self, path: &str, source: &Path) -> Result<()> {
        let file = File::open(source).map_err(Error::io("open", source))?;
        let metadata = file.metadata().map_err(Error::io("inspect", source))?;
        let bytes = metadata.len();
        self.add(path, bytes, false, file.take(bytes))
    }

    /// Adds bytes.
    pub fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.add(path, bytes.len() as u64, false, bytes)
    }

    /// Adds bytes that only the holder of the server's key can read.
    pub fn sealed(&mut self, path: &str, bytes: &[u8], keyring: &Keyring) -> Result<()> {
        let sealed = keyring.seal(&file_context(path), bytes);
        self.add(path, sealed.len() as u64, true, &*sealed)
    }

    /// Adds everything in `folder`, in the order of names, below `path`.
    pub fn folder(&mut self, path: &str, folder: &Path) -> Result<()> {
        let read = std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = read.map_err(Error::io("list", folder))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let source = entry.path();
            let name = entry.file_name();
            let below = match path {
                "" => name.to_string_lossy().into_owned(),
                _ => format!("{path}/{}", name.to_string_lossy()),
            };
            let kind = entry.file_type().map_err(Error::io("inspect", &source))?;
            if kind.is_dir() {
                self.folder(&below, &source)?;
            } else if kind.is_file() {
                self.file(&below, &source)?;
            }
        }
        Ok(())
    }

    /// Says what was counted in a database that was added.
    pub fn counted(&mut self, path: &str, counts: Counts) {
        self.databases.insert(path.to_owned(), counts);
    }

    /// Says what is not in the archive although somebody may expect it there.
    pub fn left_out(&mut self, what: String) {
        self.left_out.push(what);
    }

    fn add(&mut self, path: &str, bytes: u64, sealed: bool, source: impl Read) -> Result<()> {
        debug_assert!(is_plain_path(path), "`{path}` could not be read again");
        let mut measured = Measured::new(source, bytes);
        self.tar
            .append_data(&mut header(bytes), path, &mut measured)
            .map_err(Error::Unwritable)?;
        self.files.push(FileRecord {
            path: path.to_owned(),
            bytes,
            sha256: hex(&measured.sum()),
            sealed,
        });
        Ok(())
    }

    /// Ends the archive with its manifest and its signature.
    pub fn finish(mut self, kind: Kind, created_at: String, keyring: &Keyring) -> Result<Manifest> {
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at,
            seal_key: keyring.seal_id(),
            kind,
            files: std::mem::take(&mut self.files),
            databases: std::mem::take(&mut self.databases),
            left_out: std::mem::take(&mut self.left_out),
        };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| Error::Unwritable(error.into()))?;
        let signature = hex(&keyring.sign(SIGNED_FOR, &text));
        self.last(MANIFEST, &text)?;
        self.last(SIGNATURE, signature.as_bytes())?;
        let mut output = self.tar.into_inner().map_err(Error::Unwritable)?;
        output.flush().map_err(Error::Unwritable)?;
        Ok(manifest)
    }

    /// Ends the archive with the reason why it is none: whoever reads it learns more than that it was cut short.
    pub fn give_up(mut self, why: &str) -> Result<()> {
        self.last(ERROR, why.as_bytes())?;
        let mut output = self.tar.into_inner().map_err(Error::Unwritable)?;
        output.flush().map_err(Error::Unwritable)
    }

    fn last(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let mut header = header(bytes.len() as u64);
        self.tar
            .append_data(&mut header, path, bytes)
            .map_err(Error::Unwritable)
    }
}

pub(crate) fn header(bytes: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_size(bytes);
    header
}

/// Sums up what is read, and fails where a file turns out shorter than it was said to be.
pub(crate) struct Measured<R> {
    source: R,
    left: u64,
    sum: Sha256,
}

impl<R> Measured<R> {
    pub(crate) fn new(source: R, bytes: u64) -> Self {
        Self {
            source,
            left: bytes,
            sum: Sha256::default(),
        }
    }

    /// The checksum of what was read.
    pub(crate) fn sum(self) -> [u8; 32] {
        self.sum.finish()
    }
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.sum.add(&buffer[..count]);
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file became shorter while it was copied",
            ));
        }
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}
