//! Files that are not files yet: written beside the others, gone unless they are kept.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use pilvi_base::disk::{Reserve, Space};
use pilvi_base::secret::{Sha256, random_hex};
use pilvi_model::{Blob, Digest};

use crate::error::{Error, Result};
use crate::flow::Sink;

/// The folder of drafts. It is on the disk that keeps the files, so that moving one there is a rename.
#[derive(Debug)]
pub(crate) struct Drafts {
    folder: PathBuf,
    space: Space,
}

impl Drafts {
    /// Makes the folder and removes what a server that was killed left in it.
    pub(crate) fn open(folder: PathBuf, reserve: Reserve) -> Result<Self> {
        make_folder(&folder)?;
        let fail = || Error::io("clear the folder", &folder);
        for entry in fs::read_dir(&folder).map_err(fail())? {
            fs::remove_file(entry.map_err(fail())?.path()).map_err(fail())?;
        }
        Ok(Self {
            folder,
            space: Space::new(reserve),
        })
    }

    /// Fails when so many bytes more would use what is to stay free.
    pub(crate) fn make_sure_of(&self, bytes: usize) -> Result<()> {
        let path = self.folder.join("draft");
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match self.space.lacks(&path, bytes) {
            true => Err(Error::DiskLow { path }),
            false => Ok(()),
        }
    }

    fn new_file(&self) -> Result<(PathBuf, File)> {
        let path = self.folder.join(random_hex::<12>());
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("make the file", &path))?;
        Ok((path, file))
    }
}

/// Bytes that become a blob, counted and hashed while they are written. Dropped, they are gone.
pub(crate) struct Draft {
    drafts: Arc<Drafts>,
    /// Made when there is something to write: most files fit into the first block.
    file: Option<(PathBuf, File)>,
    hash: Sha256,
    bytes: u64,
}

impl Draft {
    pub(crate) fn new(drafts: Arc<Drafts>) -> Self {
        Self {
            drafts,
            file: None,
            hash: Sha256::default(),
            bytes: 0,
        }
    }

    /// Whether everything is still in the hands of whoever writes it.
    pub(crate) fn is_unwritten(&self) -> bool {
        self.file.is_none()
    }

    /// What the bytes so far are called.
    pub(crate) fn name(&mut self) -> Blob {
        let hash = std::mem::take(&mut self.hash);
        Blob {
            digest: Digest::from_bytes(hash.finish()),
            bytes: self.bytes,
        }
    }

    /// Makes it durable and moves it to where `place` says. It may replace a blob, which has the same bytes.
    pub(crate) fn keep(mut self, place: impl FnOnce(&Blob) -> PathBuf) -> Result<Blob> {
        if self.file.is_none() {
            self.file = Some(self.drafts.new_file()?);
        }
        let blob = self.name();
        let to = place(&blob);
        if let Some((path, file)) = &self.file {
            file.sync_all().map_err(Error::io("write", path))?;
            move_into_place(path, &to)?;
        }
        self.file = None;
        Ok(blob)
    }

    /// Writes what is left, and gives the file, for reading it again. It goes with the draft.
    pub(crate) fn written(mut self, rest: &[Bytes]) -> Result<(Self, File)> {
        self.take(rest)?;
        let (path, file) = match &self.file {
            Some((path, file)) => (path, file),
            None => return Err(Error::Stopped),
        };
        let again = file.try_clone().map_err(Error::io("read", path))?;
        Ok((self, again))
    }
}

impl Sink for Draft {
    fn take(&mut self, pieces: &[Bytes]) -> Result<()> {
        let length = pieces.iter().map(Bytes::len).sum();
        self.drafts.make_sure_of(length)?;
        if self.file.is_none() {
            self.file = Some(self.drafts.new_file()?);
        }
        if let Some((path, file)) = &mut self.file {
            write_all(file, pieces).map_err(Error::io("write", &*path))?;
        }
        self.add(pieces);
        Ok(())
    }
}

impl Draft {
    /// Counts and hashes bytes that are written elsewhere.
    pub(crate) fn add(&mut self, pieces: &[Bytes]) {
        for piece in pieces {
            self.hash.add(piece);
            self.bytes += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some((path, _)) = &self.file else {
            return;
        };
        if let Err(error) = fs::remove_file(path) {
            tracing::warn!(%error, path = %path.display(), "a draft could not be removed; the next start removes it");
        }
    }
}

/// Writes all pieces with as few calls as possible.
pub(crate) fn write_all(file: &mut File, pieces: &[Bytes]) -> io::Result<()> {
    let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = &mut slices[..];
    // Empty slices in front would make a write of nothing look like a full disk.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Renames, and makes the new name as durable as the bytes are.
pub(crate) fn move_into_place(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    if let Err(error) = fs::rename(from, to) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(Error::io("make", to)(error));
        }
        make_folder(folder)?;
        fs::rename(from, to).map_err(Error::io("make", to))?;
    }
    sync_folder(folder)
}

/// Makes a folder that nobody else can look into, and those above it, durably.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_folder(above)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("make the folder", path)(error))
        }
        _ => path.parent().map_or(Ok(()), sync_folder),
    }
}

pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(Error::io("write the folder", path))
}
