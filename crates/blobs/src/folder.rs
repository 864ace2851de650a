//! Blobs in a folder: `<backend>/<2 hex>/<sha256>`, and uploads that are not whole under `<backend>/uploads/`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use pilvi_base::secret::Sha256;
use pilvi_model::{BackendId, Blob, Digest, Timestamp};

use crate::draft::{make_folder, move_into_place, sync_folder};
use crate::error::{Error, Result};
use crate::flow::Sink;
use crate::{Listed, UploadId};

const UPLOADS: &str = "uploads";

#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(crate) fn open(root: PathBuf) -> Result<Self> {
        make_folder(&root)?;
        Ok(Self { root })
    }

    fn backend_path(&self, backend: BackendId) -> PathBuf {
        self.root.join(backend.to_string())
    }

    pub(crate) fn blob_path(&self, backend: BackendId, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.backend_path(backend).join(&name[..2]).join(name)
    }

    fn upload_path(&self, backend: BackendId, upload: UploadId) -> PathBuf {
        let uploads = self.backend_path(backend).join(UPLOADS);
        uploads.join(upload.to_string())
    }

    pub(crate) fn open_blob(&self, backend: BackendId, digest: &Digest) -> Result<(File, u64)> {
        let path = self.blob_path(backend, digest);
        let file = File::open(&path).map_err(|error| missing(error, "open", &path))?;
        let metadata = file.metadata().map_err(Error::io("look at", &path))?;
        Ok((file, metadata.len()))
    }

    pub(crate) fn size(&self, backend: BackendId, digest: &Digest) -> Result<Option<u64>> {
        let path = self.blob_path(backend, digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("look at", path)(error)),
        }
    }

    pub(crate) fn delete(&self, backend: BackendId, digest: &Digest) -> Result<()> {
        remove_file(&self.blob_path(backend, digest))
    }

    pub(crate) fn delete_backend(&self, backend: BackendId) -> Result<()> {
        let path = self.backend_path(backend);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("delete", path)(error))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn backends(&self) -> Result<Vec<BackendId>> {
        let names = names_in(&self.root)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The folders that hold the blobs of a backend.
    pub(crate) fn shelves(&self, backend: BackendId) -> Result<Vec<PathBuf>> {
        let path = self.backend_path(backend);
        let mut names = names_in(&path)?;
        names.retain(|name| name.len() == 2);
        names.sort();
        Ok(names.into_iter().map(|name| path.join(name)).collect())
    }

    /// The blobs of one shelf.
    pub(crate) fn list(shelf: &Path) -> Result<Vec<Listed>> {
        let mut names = names_in(shelf)?;
        names.sort();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let Ok(digest) = name.parse() else {
                continue;
            };
            let path = shelf.join(name);
            match fs::metadata(&path) {
                Ok(metadata) => found.push(Listed {
                    blob: Blob {
                        digest,
                        bytes: metadata.len(),
                    },
                    written_at: metadata
                        .modified()
                        .map_or_else(|_| Timestamp::from_millis(0), Timestamp::from),
                }),
                // Deleted since its name was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("look at", path)(error)),
            }
        }
        Ok(found)
    }

    /// Gives a blob a second name, or makes a copy of it where that cannot be.
    pub(crate) fn lay_out(&self, backend: BackendId, digest: &Digest, to: &Path) -> Result<()> {
        let path = self.blob_path(backend, digest);
        match fs::hard_link(&path, to) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(missing(error, "open", &path));
            }
            // Another disk, or one that knows no second names, or has no more of them.
            Err(_) => {}
        }
        let mut from = File::open(&path).map_err(|error| missing(error, "open", &path))?;
        let made = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to);
        let mut made = made.map_err(Error::io("make", to))?;
        io::copy(&mut from, &mut made).map_err(Error::io("copy", &path))?;
        Ok(())
    }

    /// Moves a file to where a blob of its bytes is. `false`: its bytes are others. It stays where it is when it is on
    /// another disk.
    pub(crate) fn take_in(&self, backend: BackendId, from: &Path, blob: &Blob) -> Result<Taken> {
        let opened = File::open(from);
        let mut file = opened.map_err(|error| missing(error, "open", from))?;
        if hash(&mut file, from)? != *blob {
            return Ok(Taken::Other);
        }
        file.sync_all().map_err(Error::io("write", from))?;
        match move_into_place(from, &self.blob_path(backend, &blob.digest)) {
            Ok(()) => Ok(Taken::Moved),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::CrossesDevices => {
                Ok(Taken::Elsewhere)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives all blobs of one backend to another one, too.
    pub(crate) fn share(&self, from: BackendId, with: BackendId) -> Result<()> {
        for shelf in self.shelves(from)? {
            let mut new = None;
            for Listed { blob, .. } in Self::list(&shelf)? {
                let to = self.blob_path(with, &blob.digest);
                let folder = to.parent().unwrap_or(&self.root).to_owned();
                make_folder(&folder)?;
                match fs::hard_link(self.blob_path(from, &blob.digest), &to) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(Error::io("make", to)(error));
                    }
                    _ => new = Some(folder),
                }
            }
            if let Some(folder) = new {
                sync_folder(&folder)?;
            }
        }
        Ok(())
    }

    /// The sink of one chunk. Whatever was sent after `start` before and was not acknowledged is written over.
    pub(crate) fn part(&self, backend: BackendId, upload: UploadId, start: u64) -> Result<Part> {
        let path = self.upload_path(backend, upload);
        if whole_marker(&path).exists() {
            return Err(Error::Whole);
        }
        let folder = path.parent().unwrap_or(&self.root);
        make_folder(folder)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let there = file.metadata().map_err(Error::io("look at", &path))?.len();
        if start > there {
            return Err(Error::Gap { there });
        }
        if start == 0 {
            sync_folder(folder)?;
        }
        Ok(Part {
            path,
            file,
            at: start,
        })
    }

    /// Makes the first `bytes` bytes of an upload a blob. Asked again after a crash it gives the same answer.
    pub(crate) fn join(&self, backend: BackendId, upload: UploadId, bytes: u64) -> Result<Blob> {
        let path = self.upload_path(backend, upload);
        let marker = whole_marker(&path);
        let blob = match read_marker(&marker)? {
            Some(blob) => blob,
            None => {
                let blob = seal(&path, bytes)?;
                let text = format!("{} {}\n", blob.digest, blob.bytes);
                pilvi_base::secret::replace(&marker, text.as_bytes())
                    .map_err(Error::io("write", &marker))?;
                blob
            }
        };
        match move_into_place(&path, &self.blob_path(backend, &blob.digest)) {
            Ok(()) => Ok(blob),
            Err(_) if self.size(backend, &blob.digest)? == Some(blob.bytes) => Ok(blob),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn drop_upload(&self, backend: BackendId, upload: UploadId) -> Result<()> {
        let path = self.upload_path(backend, upload);
        remove_file(&path)?;
        remove_file(&whole_marker(&path))
    }

    /// How many bytes of an upload are there, acknowledged or not.
    pub(crate) fn upload_size(&self, backend: BackendId, upload: UploadId) -> Result<u64> {
        let path = self.upload_path(backend, upload);
        if let Some(blob) = read_marker(&whole_marker(&path))? {
            return Ok(blob.bytes);
        }
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Error::io("look at", path)(error)),
        }
    }

    pub(crate) fn uploads(&self, backend: BackendId) -> Result<Vec<UploadId>> {
        let names = names_in(&self.backend_path(backend).join(UPLOADS))?;
        let mut uploads: Vec<UploadId> = names
            .iter()
            .filter_map(|name| name.split('.').next()?.parse().ok())
            .collect();
        uploads.sort();
        uploads.dedup();
        Ok(uploads)
    }
}

/// What became of a file that was to be a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Moved,
    /// Its bytes are others.
    Other,
    /// It is on another disk and stays there.
    Elsewhere,
}

/// One chunk of an upload on its way to the disk.
pub(crate) struct Part {
    path: PathBuf,
    file: File,
    at: u64,
}

impl Part {
    pub(crate) fn sync(&self) -> Result<u64> {
        self.file
            .sync_data()
            .map_err(Error::io("write", &self.path))?;
        Ok(self.at)
    }
}

impl Sink for Part {
    fn take(&mut self, pieces: &[Bytes]) -> Result<()> {
        for piece in pieces {
            self.file
                .write_all_at(piece, self.at)
                .map_err(Error::io("write", &self.path))?;
            self.at += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        }
        Ok(())
    }
}

/// Cuts off what was never acknowledged, and hashes the rest.
fn seal(path: &Path, bytes: u64) -> Result<Blob> {
    let opened = File::options().read(true).write(true).open(path);
    let mut file = opened.map_err(|error| missing(error, "open", path))?;
    let fail = |step| Error::io(step, path);
    let found = file.metadata().map_err(fail("look at"))?.len();
    if found < bytes {
        return Err(Error::Short {
            found,
            wanted: bytes,
        });
    }
    if found > bytes {
        file.set_len(bytes).map_err(fail("shorten"))?;
    }
    let blob = hash(&mut file, path)?;
    file.sync_all().map_err(fail("write"))?;
    Ok(blob)
}

/// What the bytes of a file are called.
fn hash(file: &mut File, path: &Path) -> Result<Blob> {
    let (mut hash, mut bytes) = (Sha256::default(), 0);
    let mut block = vec![0; 256 << 10];
    loop {
        match file.read(&mut block) {
            Ok(0) => break,
            Ok(read) => {
                hash.add(&block[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
    }
    Ok(Blob {
        digest: Digest::from_bytes(hash.finish()),
        bytes,
    })
}

/// Says what an upload became, so that a crash between that and its row in the database loses nothing.
fn whole_marker(upload: &Path) -> PathBuf {
    upload.with_extension("whole")
}

fn read_marker(path: &Path) -> Result<Option<Blob>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let blob = text.strip_suffix('\n').and_then(|line| {
        let (digest, bytes) = line.split_once(' ')?;
        Some(Blob {
            digest: digest.parse().ok()?,
            bytes: bytes.parse().ok()?,
        })
    });
    Ok(blob)
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("delete", path)(error))
        }
        _ => Ok(()),
    }
}

/// The names in a folder; none when there is no such folder.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

fn missing(error: io::Error, step: &'static str, path: &Path) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::Missing(path.display().to_string()),
        _ => Error::io(step, path)(error),
    }
}
