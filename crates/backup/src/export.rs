//! Exports: everything in one data backend as files that anybody can read, and write.
//!
//! An export is a tar of plain files like a backup, with texts in it instead of a database. It is described in
//! `docs/export-format.md`. Its manifest comes last, lists all other files with length and SHA-256, and says how many
//! entries of each kind there are; the bytes of uploaded files are named by their SHA-256 and are counted only. Nobody
//! signs it: whoever brings one in owns the backend that it becomes.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use pilvi_base::secret::{Sha256, hex};
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder};

use crate::error::{Error, Result};
use crate::is_plain_path;
use crate::manifest::FileRecord;
use crate::read::{ERROR, MANIFEST, REASON_BYTES_MAX, plain_file, small, unreadable};
use crate::write::{Measured, header};

/// What the manifest calls the format.
pub const EXPORT_FORMAT: &str = "pilvi-export";
/// The version that is written, and the newest that is read.
pub const EXPORT_VERSION: u32 = 1;

/// Where things stand in an export.
pub const BACKEND: &str = "backend.json";
pub const SCHEMA: &str = "schema.json";
pub const USERS: &str = "users.ndjson";
pub const USERGROUPS: &str = "usergroups.ndjson";
pub const MEMBERS: &str = "members.ndjson";
pub const FILES: &str = "files.ndjson";
pub const WEBHOOKS: &str = "webhooks.json";
/// Below this there is one file of objects for each type.
pub const OBJECTS: &str = "objects";
/// Below this are the bytes of uploaded files.
pub const BLOBS: &str = "files";

/// Larger than the manifest of an export with a thousand types.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
const PIECE_BYTES: usize = 256 << 10;
/// A type's name is used as it is up to this length, so that the path stays within what an archive may hold.
const NAME_BYTES_MAX: usize = 80;

/// What an export says about itself.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportManifest {
    pub format: String,
    pub version: u32,
    /// The version of Pilvi that wrote it; others may write what they like.
    #[serde(default)]
    pub pilvi: String,
    /// The moment whose state it shows.
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub backend: ExportedBackend,
    pub counts: ExportCounts,
    /// Without the bytes of uploaded files and the manifest itself.
    pub files: Vec<FileRecord>,
    /// What the backend has and the export does not, in words.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// From where an export comes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct ExportedBackend {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub name: String,
}

/// How much there is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportCounts {
    /// Objects by type, `users`, `usergroups` and `files` among them.
    pub objects: BTreeMap<String, u64>,
    #[serde(default)]
    pub members: u64,
    #[serde(default)]
    pub blobs: u64,
    #[serde(default)]
    pub blob_bytes: u64,
}

impl ExportCounts {
    pub fn objects_in_all(&self) -> u64 {
        self.objects.values().sum()
    }
}

/// The path of the objects of a type, whose name is without `objects.`.
pub fn objects_path(name: &str) -> String {
    match name.len() {
        0..=NAME_BYTES_MAX => format!("{OBJECTS}/{name}.ndjson"),
        _ => {
            let mut sum = Sha256::default();
            sum.add(name.as_bytes());
            let head: String = name.chars().take(60).collect();
            format!("{OBJECTS}/{head}-{}.ndjson", &hex(&sum.finish())[..8])
        }
    }
}

/// An export on its way.
pub struct ExportWriter<W: Write> {
    tar: Builder<W>,
    files: Vec<FileRecord>,
    blobs: u64,
    blob_bytes: u64,
}

impl<W: Write> ExportWriter<W> {
    pub fn new(output: W) -> Self {
        Self {
            tar: Builder::new(output),
            files: Vec::new(),
            blobs: 0,
            blob_bytes: 0,
        }
    }

    /// Adds a file of the disk.
    pub fn file(&mut self, path: &str, source: &Path) -> Result<()> {
        let file = File::open(source).map_err(Error::io("open", source))?;
        let metadata = file.metadata().map_err(Error::io("inspect", source))?;
        self.add(path, metadata.len(), file)
    }

    /// Adds bytes.
    pub fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        self.add(path, bytes.len() as u64, bytes)
    }

    fn add(&mut self, path: &str, bytes: u64, source: impl Read) -> Result<()> {
        let sum = self.put(path, bytes, source)?;
        self.files.push(FileRecord {
            path: path.to_owned(),
            bytes,
            sha256: hex(&sum),
            sealed: false,
        });
        Ok(())
    }

    /// Adds the bytes that have this SHA-256.
    pub fn blob(&mut self, digest: &str, bytes: u64, source: impl Read) -> Result<()> {
        let sum = self.put(&format!("{BLOBS}/{digest}"), bytes, source)?;
        if hex(&sum) != digest {
            return Err(Error::Damaged(format!(
                "the stored file {digest} has other bytes than it was given"
            )));
        }
        self.blobs += 1;
        self.blob_bytes += bytes;
        Ok(())
    }

    fn put(&mut self, path: &str, bytes: u64, source: impl Read) -> Result<[u8; 32]> {
        debug_assert!(is_plain_path(path), "`{path}` could not be read again");
        let mut measured = Measured::new(source.take(bytes), bytes);
        self.tar
            .append_data(&mut header(bytes), path, &mut measured)
            .map_err(Error::Unwritable)?;
        Ok(measured.sum())
    }

    /// Ends the export with its manifest, of which only the counts of objects and members and what is said in words is
    /// taken.
    pub fn finish(mut self, mut manifest: ExportManifest) -> Result<ExportManifest> {
        manifest.files = std::mem::take(&mut self.files);
        manifest.counts.blobs = self.blobs;
        manifest.counts.blob_bytes = self.blob_bytes;
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| Error::Unwritable(error.into()))?;
        self.last(MANIFEST, &text)?;
        let mut output = self.tar.into_inner().map_err(Error::Unwritable)?;
        output.flush().map_err(Error::Unwritable)?;
        Ok(manifest)
    }

    /// Ends the export with the reason why it is none.
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

/// Where an entry lies in an export that is a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lies {
    pub at: u64,
    pub bytes: u64,
}

/// An export that was looked through from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Export {
    pub manifest: ExportManifest,
    texts: HashMap<String, Lies>,
    /// By their digests.
    blobs: HashMap<[u8; 32], Lies>,
}

impl Export {
    /// One of the files that the manifest lists.
    pub fn text(&self, path: &str) -> Option<Lies> {
        self.texts.get(path).copied()
    }

    /// The bytes with this SHA-256.
    pub fn blob(&self, digest: &[u8; 32]) -> Option<Lies> {
        self.blobs.get(digest).copied()
    }

    pub fn blobs(&self) -> impl Iterator<Item = (&[u8; 32], Lies)> {
        self.blobs.iter().map(|(digest, lies)| (digest, *lies))
    }
}

/// How much may be in an export.
#[derive(Clone, Copy, Debug)]
pub struct ExportBounds {
    pub bytes: u64,
    pub entries: u64,
}

impl Default for ExportBounds {
    fn default() -> Self {
        Self {
            bytes: 1 << 42,
            entries: 4_000_000,
        }
    }
}

/// Looks through an export: whether it is one, whole, and as it was when it was written. `seen` hears how many bytes
/// were read so far, and says whether to go on.
pub fn inspect(
    source: impl Read,
    bounds: ExportBounds,
    mut seen: impl FnMut(u64) -> bool,
) -> Result<Export> {
    let mut archive = Archive::new(source);
    let entries = archive.entries().map_err(Error::Unreadable)?.raw(true);
    let mut found = Found::default();
    let mut left = bounds;
    for entry in entries {
        let mut entry = entry.map_err(|error| not_an_export(unreadable(error)))?;
        let path = plain_file(&entry).map_err(not_an_export)?;
        let lies = Lies {
            at: entry.raw_file_position(),
            bytes: entry.size(),
        };
        let too_large = || {
            Error::TooLarge(format!(
                "it may hold {} files with {} bytes together",
                bounds.entries, bounds.bytes
            ))
        };
        left.bytes = left.bytes.checked_sub(lies.bytes).ok_or_else(too_large)?;
        left.entries = left.entries.checked_sub(1).ok_or_else(too_large)?;
        match path.as_str() {
            ERROR => {
                let why = small(&mut entry, REASON_BYTES_MAX)?;
                return Err(Error::GivenUp(String::from_utf8_lossy(&why).into_owned()));
            }
            MANIFEST => {
                let text = small(&mut entry, MANIFEST_BYTES_MAX)?;
                // What follows is not looked at: nobody is led to it.
                return found.compare(parse(&text)?);
            }
            _ => {
                let sum = sum_of(&mut entry, lies, &mut seen)?;
                found.add(&path, lies, sum)?;
            }
        }
    }
    match found.texts.is_empty() && found.blobs.is_empty() {
        true => Err(Error::NotAnExport("it holds no files".to_owned())),
        false => Err(Error::CutShort),
    }
}

/// What the rules that it shares with backups say of a backup.
fn not_an_export(error: Error) -> Error {
    match error {
        Error::NotABackup(why) => Error::NotAnExport(why),
        other => other,
    }
}

fn parse(text: &[u8]) -> Result<ExportManifest> {
    #[derive(Deserialize)]
    struct Version {
        format: String,
        version: u32,
    }
    let not_one = |error: serde_json::Error| Error::NotAnExport(format!("its manifest: {error}"));
    // A newer one may have another shape.
    let Version { format, version } = serde_json::from_slice(text).map_err(not_one)?;
    if format != EXPORT_FORMAT {
        return Err(Error::NotAnExport(format!(
            "its manifest does not say that its format is {EXPORT_FORMAT}"
        )));
    }
    if version > EXPORT_VERSION {
        return Err(Error::TooNew {
            found: version,
            known: EXPORT_VERSION,
        });
    }
    serde_json::from_slice(text).map_err(not_one)
}

fn sum_of(
    entry: &mut impl Read,
    lies: Lies,
    seen: &mut impl FnMut(u64) -> bool,
) -> Result<[u8; 32]> {
    let (mut sum, mut left) = (Sha256::default(), lies.bytes);
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = entry.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        sum.add(&buffer[..count]);
        left = left.saturating_sub(count as u64);
        if !seen(lies.at + lies.bytes - left) {
            return Err(Error::Unreadable(io::ErrorKind::Interrupted.into()));
        }
    }
    match left {
        0 => Ok(sum.finish()),
        _ => Err(Error::CutShort),
    }
}

#[derive(Default)]
struct Found {
    texts: HashMap<String, (Lies, [u8; 32])>,
    blobs: HashMap<[u8; 32], Lies>,
    blob_bytes: u64,
}

impl Found {
    fn add(&mut self, path: &str, lies: Lies, sum: [u8; 32]) -> Result<()> {
        let twice = || Error::Damaged(format!("it holds `{path}` twice"));
        if let Some(digest) = path
            .strip_prefix(BLOBS)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            if digest != hex(&sum) {
                return Err(Error::Damaged(format!(
                    "`{path}` does not have the bytes that its name says"
                )));
            }
            self.blob_bytes += lies.bytes;
            return match self.blobs.insert(sum, lies) {
                None => Ok(()),
                Some(_) => Err(twice()),
            };
        }
        match self.texts.insert(path.to_owned(), (lies, sum)) {
            None => Ok(()),
            Some(_) => Err(twice()),
        }
    }

    /// Whether what came is what the manifest lists, no more and no less.
    fn compare(mut self, manifest: ExportManifest) -> Result<Export> {
        let mut texts = HashMap::new();
        for record in &manifest.files {
            let shown = || record.path.chars().take(200).collect::<String>();
            let (lies, sum) = self
                .texts
                .remove(&record.path)
                .ok_or_else(|| Error::Damaged(format!("`{}` is missing", shown())))?;
            if lies.bytes != record.bytes || hex(&sum) != record.sha256 {
                return Err(Error::Damaged(format!(
                    "`{}` is not what it was when the export was made",
                    shown()
                )));
            }
            texts.insert(record.path.clone(), lies);
        }
        if let Some(path) = self.texts.keys().next() {
            return Err(Error::Damaged(format!(
                "it holds `{path}`, of which its manifest knows nothing"
            )));
        }
        let counts = &manifest.counts;
        if (counts.blobs, counts.blob_bytes) != (self.blobs.len() as u64, self.blob_bytes) {
            return Err(Error::Damaged(format!(
                "its manifest counts {} uploaded files with {} bytes, and it holds {} with {}",
                counts.blobs,
                counts.blob_bytes,
                self.blobs.len(),
                self.blob_bytes
            )));
        }
        Ok(Export {
            manifest,
            texts,
            blobs: self.blobs,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use tar::EntryType;

    use super::*;

    const NOTES: &[u8] = b"{\"object\":{}}\n";

    fn manifest() -> ExportManifest {
        ExportManifest {
            format: EXPORT_FORMAT.to_owned(),
            version: EXPORT_VERSION,
            pilvi: "test".to_owned(),
            created_at: "2026-01-01T00:00:00.000Z".to_owned(),
            backend: ExportedBackend::default(),
            counts: ExportCounts {
                objects: BTreeMap::from([("objects.notes".to_owned(), 1)]),
                ..ExportCounts::default()
            },
            files: Vec::new(),
            left_out: Vec::new(),
        }
    }

    fn digest(bytes: &[u8]) -> String {
        hex(&pilvi_base::secret::sha256(bytes))
    }

    fn archive() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = ExportWriter::new(&mut out);
        writer
            .blob(&digest(b"picture"), 7, &b"picture"[..])
            .unwrap();
        writer.bytes(&objects_path("notes"), NOTES).unwrap();
        writer.finish(manifest()).unwrap();
        out
    }

    fn inspect(bytes: &[u8]) -> Result<Export> {
        super::inspect(bytes, ExportBounds::default(), |_| true)
    }

    #[test]
    fn what_was_written_is_found_where_it_lies() {
        let bytes = archive();
        let export = inspect(&bytes).unwrap();
        let mut file = io::Cursor::new(&bytes);
        let mut read = |lies: Lies| {
            file.seek(SeekFrom::Start(lies.at)).unwrap();
            let mut found = vec![0; usize::try_from(lies.bytes).unwrap()];
            file.read_exact(&mut found).unwrap();
            found
        };
        assert_eq!(read(export.text("objects/notes.ndjson").unwrap()), NOTES);
        let sum = pilvi_base::secret::sha256(b"picture");
        assert_eq!(read(export.blob(&sum).unwrap()), b"picture");
        assert_eq!(export.manifest.counts.blobs, 1);
        assert_eq!(export.manifest.counts.blob_bytes, 7);
    }

    #[test]
    fn an_export_that_was_cut_or_changed_is_refused_wherever_that_is() {
        let whole = archive();
        let end = whole.iter().rposition(|byte| *byte == b'}').unwrap();
        for length in 0..=end {
            let refused = inspect(&whole[..length]).unwrap_err();
            assert!(refused.is_about_the_archive(), "{length}: {refused:?}");
        }
        for (what, from, to) in [
            ("a text", &b"{\"object\":{}}"[..], &b"{\"object\":[]}"[..]),
            ("a blob", b"picture", b"Picture"),
            ("a count", b"\"blobs\": 1", b"\"blobs\": 2"),
            ("a checksum", &digest(NOTES).as_bytes()[..8], b"00000000"),
        ] {
            let mut changed = whole.clone();
            let place = changed
                .windows(from.len())
                .position(|window| window == from)
                .unwrap();
            changed[place..place + from.len()].copy_from_slice(to);
            assert!(
                matches!(inspect(&changed), Err(Error::Damaged(_))),
                "{what}"
            );
        }
    }

    #[test]
    fn what_is_no_export_is_refused() {
        let tar = |entries: &[(&str, &[u8])]| {
            let mut builder = Builder::new(Vec::new());
            for (path, bytes) in entries {
                builder
                    .append_data(&mut header(bytes.len() as u64), path, *bytes)
                    .unwrap();
            }
            builder.into_inner().unwrap()
        };
        let text = |manifest: &ExportManifest| serde_json::to_vec(manifest).unwrap();
        let refused = |bytes: &[u8]| inspect(bytes).unwrap_err().to_string();
        assert!(refused(&[7; 2048]).contains("no export"));
        let of_a_backup = br#"{"format":1}"#;
        assert!(refused(&tar(&[("manifest.json", of_a_backup)])).contains("no export"));
        let newer = ExportManifest {
            version: EXPORT_VERSION + 1,
            ..manifest()
        };
        assert!(refused(&tar(&[("manifest.json", &text(&newer))])).contains("newer"));
        let unlisted = tar(&[("a", b"b"), ("manifest.json", &text(&manifest()))]);
        assert!(refused(&unlisted).contains("knows nothing"));
        let twice = tar(&[("a", b"b"), ("a", b"b")]);
        assert!(refused(&twice).contains("twice"));
        let given_up = tar(&[("given-up.txt", b"the disk is full")]);
        assert!(refused(&given_up).contains("the disk is full"));
        let misnamed = tar(&[(&format!("files/{}", digest(b"a")), b"b")]);
        assert!(refused(&misnamed).contains("does not have the bytes"));
    }

    #[test]
    fn nothing_but_plain_files_is_taken() {
        for kind in [EntryType::Symlink, EntryType::Directory, EntryType::Fifo] {
            let mut builder = Builder::new(Vec::new());
            let mut entry = header(0);
            entry.set_entry_type(kind);
            builder.append_data(&mut entry, "a", io::empty()).unwrap();
            let bytes = builder.into_inner().unwrap();
            assert!(
                matches!(inspect(&bytes), Err(Error::NotAnExport(_))),
                "{kind:?}"
            );
        }
        let mut entry = header(1);
        let name = b"../../etc/passwd";
        entry.as_mut_bytes()[..name.len()].copy_from_slice(name);
        entry.set_cksum();
        let mut bytes = entry.as_bytes().to_vec();
        bytes.extend([b'x'; 1]);
        bytes.resize(2048, 0);
        assert!(matches!(inspect(&bytes), Err(Error::NotAnExport(_))));
    }

    #[test]
    fn an_export_is_bounded() {
        let bytes = archive();
        for bounds in [
            ExportBounds {
                bytes: 10,
                entries: 10,
            },
            ExportBounds {
                bytes: 1 << 20,
                entries: 1,
            },
        ] {
            let refused = super::inspect(&*bytes, bounds, |_| true);
            assert!(matches!(refused, Err(Error::TooLarge(_))));
        }
        // A length that nothing follows takes no memory.
        let mut entry = header(1 << 41);
        entry.set_path("users.ndjson").unwrap();
        entry.set_cksum();
        assert!(matches!(
            inspect(entry.as_bytes()),
            Err(Error::CutShort | Error::NotAnExport(_))
        ));
    }

    #[test]
    fn the_path_of_a_type_fits_however_long_its_name_is() {
        assert_eq!(objects_path("todos"), "objects/todos.ndjson");
        let (one, other) = ("a".repeat(100), "a".repeat(99));
        assert!(is_plain_path(&objects_path(&one)));
        assert_ne!(objects_path(&one), objects_path(&other));
        assert!(is_plain_path(&objects_path(&"a".repeat(NAME_BYTES_MAX))));
    }
}
