//! An import is carried out: checked, built where nobody sees it, and put in its place.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use pilvi_backup::export::{BACKEND, Export, Lies, MEMBERS, OBJECTS, SCHEMA, WEBHOOKS, inspect};
use pilvi_base::Secret;
use pilvi_base::secret::{Sha256, hex, random_hex};
use pilvi_model::{BackendId, Blob, Digest, Error, ObjectType, Result};
use pilvi_store::Backend;
use pilvi_store::backend::{Author, Parcel, Replaced, StoredWebhook};
use serde_json::Value;

use super::export::path_of;
use super::imports::Import;
use super::order::ordered;
use super::{blocking, bounds, lines, of_the_archive, of_the_disk};
use crate::Eds;
use crate::types::exchange;
use crate::webhooks::from_export;

/// A text of an export that is in memory as a whole.
const TEXT_BYTES_MAX: u64 = 32 << 20;
/// What is written in one go.
const PARCELS_AT_ONCE: usize = 200;
const BYTES_AT_ONCE: usize = 2 << 20;
const PIECE_BYTES: usize = 256 << 10;
/// More types than a backend can have.
const TYPES_MAX: usize = 100_000;

/// An archive that was looked through.
struct Brought {
    path: PathBuf,
    export: Arc<Export>,
}

/// What else there is to do when the file is in its place.
#[derive(Default)]
struct Built {
    warnings: Vec<String>,
    /// The bytes that its files are made of.
    blobs: HashSet<Blob>,
    has_webhooks: bool,
}

impl Eds {
    /// Comes to what somebody should know about it, in sentences.
    pub(super) async fn carry_out_import(
        &self,
        import: &Arc<Import>,
        replaced: Replaced,
        author: Author,
    ) -> Result<Vec<String>> {
        let brought = check(import).await?;
        let hidden: BackendId = self.0.ids.next(self.now());
        import
            .write_down(self.now(), |note| note.built_in = Some(hidden.to_string()))
            .await?;
        self.0.store.create_backend(hidden).await?;
        self.0.store.limit_backend_as(hidden, import.backend);
        let built = self
            .build_and_place(import, &brought, hidden, replaced, author)
            .await;
        // Of one that is in its place only the limit is left. What else stays behind goes when the server starts again.
        let _ = self.0.store.delete_backend(hidden).await;
        built
    }

    async fn build_and_place(
        &self,
        import: &Arc<Import>,
        brought: &Brought,
        hidden: BackendId,
        replaced: Replaced,
        author: Author,
    ) -> Result<Vec<String>> {
        let store = &self.0.store;
        let backend = store.backend(hidden);
        let mut built = self.build(import, brought, &backend, author).await?;
        // What is still in the log beside the file counts as well.
        backend.close().await?;
        let beside = built.blobs.iter().map(|blob| blob.bytes).sum();
        store.check_room_beside(hidden, beside)?;
        store.note_bytes_beside(hidden, beside);
        self.store_blobs(import, brought, &built.blobs).await?;
        backend
            .note_import(import.id.to_string(), self.now())
            .await?;
        // Before there is anything: after a crash in between somebody looks and finds nothing.
        if !built.blobs.is_empty() {
            self.note_files(import.backend).await?;
        }
        if built.has_webhooks {
            store.note_webhooks_of(import.backend).await?;
        }
        go_on(import)?;
        // From here on nobody removes bytes: what the old file knows nothing of is named by the new one.
        let _alone = self.0.collecting.alone().await;
        import.has_come("placing", 0, 1);
        self.store_blobs(import, brought, &built.blobs).await?;
        store.put_in_place(import.backend, hidden, replaced).await?;
        store.note_bytes_beside(import.backend, beside);
        self.after_import(import.backend).await?;
        Ok(std::mem::take(&mut built.warnings))
    }

    /// What wants to hear of a backend that has become another.
    pub(super) async fn after_import(&self, backend: BackendId) -> Result<()> {
        self.0.variants.wake(backend);
        Ok(())
    }

    async fn build(
        &self,
        import: &Arc<Import>,
        brought: &Brought,
        backend: &Backend,
        author: Author,
    ) -> Result<Built> {
        let mut built = Built::default();
        let rest = brought.text(BACKEND).await?;
        let others = rest.get("otherTypes").and_then(Value::as_object);
        if let Some(rest) = others {
            backend.put_rest_rights(rest.clone(), author.at).await?;
        }
        let schema = brought.text(SCHEMA).await?;
        if !schema.is_null() {
            let schemas = exchange::read(schema.clone(), &self.0.ids, author.at)?;
            built.warnings.extend(schemas.warnings);
            backend
                .import_collections(schemas.types, author.clone())
                .await?;
        }
        let types = brought.types()?;
        let total = brought.export.manifest.counts.objects_in_all();
        let unknown = self.unknown_password().await?;
        let mut done = 0;
        let names: Vec<ObjectType> = types.keys().cloned().collect();
        for object_type in ordered(&names, &schema) {
            let counted = types[&object_type];
            let Some(lies) = brought.export.text(&path_of(&object_type)) else {
                continue;
            };
            let mut sheet = Lines::open(&brought.path, lies).await?;
            let mut count = 0;
            loop {
                go_on(import)?;
                import.has_come("objects", done, total);
                let (of, unknown) = (object_type.clone(), unknown.clone());
                let (back, batch) = blocking(move || {
                    let batch = sheet.parcels(&of, &unknown)?;
                    Ok((sheet, batch))
                })
                .await?;
                sheet = back;
                if batch.is_empty() {
                    break;
                }
                count += batch.len() as u64;
                done += batch.len() as u64;
                for file in batch.iter().filter_map(|parcel| parcel.file.as_ref()) {
                    brought.check_blob(file.blob)?;
                    built.blobs.insert(file.blob);
                }
                backend.unpack_objects(batch, author.clone()).await?;
            }
            if count != counted {
                return Err(Error::bad_request(format!(
                    "the manifest counts {counted} objects of the type {object_type}, and there are {count}"
                )));
            }
        }
        self.build_members(brought, backend).await?;
        built.has_webhooks = self
            .build_webhooks(import, brought, backend, &mut built.warnings)
            .await?;
        Ok(built)
    }

    async fn build_members(&self, brought: &Brought, backend: &Backend) -> Result<()> {
        let Some(lies) = brought.export.text(MEMBERS) else {
            return Ok(());
        };
        let mut sheet = Lines::open(&brought.path, lies).await?;
        let mut count = 0;
        loop {
            let (back, batch) = blocking(move || {
                let batch = sheet.batch(lines::read_member)?;
                Ok((sheet, batch))
            })
            .await?;
            sheet = back;
            if batch.is_empty() {
                break;
            }
            count += batch.len() as u64;
            backend.unpack_members(batch).await?;
        }
        let counted = brought.export.manifest.counts.members;
        match count == counted {
            true => Ok(()),
            false => Err(Error::bad_request(format!(
                "the manifest counts {counted} members of usergroups, and there are {count}"
            ))),
        }
    }

    /// Webhooks come without their secrets. One that this backend has already, to the same address, keeps those.
    async fn build_webhooks(
        &self,
        import: &Import,
        brought: &Brought,
        backend: &Backend,
        warnings: &mut Vec<String>,
    ) -> Result<bool> {
        let webhooks = brought.text(WEBHOOKS).await?;
        let Value::Array(webhooks) = webhooks else {
            return Ok(false);
        };
        let own: Vec<StoredWebhook> = self.0.store.backend(import.backend).list_webhooks().await?;
        for said in &webhooks {
            let (mut webhook, names) =
                from_export(said, &self.0.keyring, import.backend, self.now())?;
            let same = own
                .iter()
                .find(|own| (own.id, &own.url) == (webhook.id, &webhook.url));
            match same {
                Some(own) => {
                    webhook.sealed_headers.clone_from(&own.sealed_headers);
                    webhook.sealed_signing.clone_from(&own.sealed_signing);
                }
                None => {
                    webhook.enabled = false;
                    let headers = match names.is_empty() {
                        true => String::new(),
                        false => format!("set its headers ({}), ", names.join(", ")),
                    };
                    warnings.push(format!(
                        "The webhook to {} is switched off, because exports hold no secrets: {headers}make a secret \
                         for it if its receiver wants signatures, and enable it.",
                        webhook.url
                    ));
                }
            }
            backend.insert_webhook(webhook).await?;
        }
        Ok(!webhooks.is_empty())
    }

    /// The hash of a password that nobody knows.
    async fn unknown_password(&self) -> Result<String> {
        let nobodys = Secret::new(random_hex::<32>());
        self.0.people.passwords.hash(&nobodys).await
    }

    /// Stores the bytes of files where they will be looked for, as far as they are not there.
    async fn store_blobs(
        &self,
        import: &Arc<Import>,
        brought: &Brought,
        blobs: &HashSet<Blob>,
    ) -> Result<()> {
        let total = blobs.len() as u64;
        for (done, blob) in blobs.iter().enumerate() {
            go_on(import)?;
            import.has_come("files", done as u64, total);
            if self.0.blobs.exists(import.backend, &blob.digest).await? {
                continue;
            }
            let Some(lies) = brought.export.blob(blob.digest.as_bytes()) else {
                return Err(missing_blob(blob.digest));
            };
            let mut staging = self.0.blobs.stage(import.backend).await?;
            let mut source = Lines::open(&brought.path, lies).await?;
            loop {
                let (back, piece) = blocking(move || {
                    let mut piece = vec![0; PIECE_BYTES];
                    let count = source.reader.read(&mut piece).map_err(of_the_disk)?;
                    piece.truncate(count);
                    Ok((source, piece))
                })
                .await?;
                source = back;
                if piece.is_empty() {
                    break;
                }
                staging.write(piece.into()).await?;
            }
            let stored = staging.finish().await?;
            if stored != *blob {
                return Err(Error::internal("the archive changed while it was imported"));
            }
        }
        Ok(())
    }
}

/// Fails when the client does not want the import any more.
fn go_on(import: &Import) -> Result<()> {
    match import.is_given_up() {
        false => Ok(()),
        true => Err(Error::conflict(
            "the import was removed while it was carried out",
        )),
    }
}

fn missing_blob(digest: Digest) -> Error {
    Error::bad_request(format!(
        "the export names an uploaded file with the SHA-256 {digest}, whose bytes it does not hold"
    ))
}

/// Looks through a whole archive before anything is made of it.
async fn check(import: &Arc<Import>) -> Result<Brought> {
    let checked = Arc::clone(import);
    blocking(move || {
        let (path, note) = (checked.archive(), checked.note());
        if let Some(sha256) = &note.sha256 {
            let sum = sum_of(&path, &checked, note.bytes)?;
            if sum != *sha256 {
                return Err(Error::bad_request(
                    "the archive does not have the SHA-256 that it was announced with; bring it again",
                ));
            }
        }
        let file = File::open(&path).map_err(of_the_disk)?;
        let reader = BufReader::with_capacity(PIECE_BYTES, file.take(note.bytes));
        let seen = |at| {
            checked.has_come("checking", at, note.bytes);
            !checked.is_given_up()
        };
        let export = inspect(reader, bounds(), seen).map_err(of_the_archive)?;
        Ok(Brought {
            path,
            export: Arc::new(export),
        })
    })
    .await
}

fn sum_of(path: &std::path::Path, import: &Import, bytes: u64) -> Result<String> {
    let mut file = File::open(path).map_err(of_the_disk)?.take(bytes);
    let (mut sum, mut piece, mut at) = (Sha256::default(), vec![0; PIECE_BYTES], 0);
    loop {
        go_on(import)?;
        import.has_come("checksum", at, bytes);
        let count = file.read(&mut piece).map_err(of_the_disk)?;
        if count == 0 {
            return Ok(hex(&sum.finish()));
        }
        sum.add(&piece[..count]);
        at += count as u64;
    }
}

impl Brought {
    /// A JSON text of the export; null when there is none.
    async fn text(&self, path: &'static str) -> Result<Value> {
        let Some(lies) = self.export.text(path) else {
            return Ok(Value::Null);
        };
        if lies.bytes > TEXT_BYTES_MAX {
            return Err(Error::too_large(format!(
                "`{path}` has {} bytes, and {TEXT_BYTES_MAX} are the most",
                lies.bytes
            )));
        }
        let mut source = Lines::open(&self.path, lies).await?;
        blocking(move || {
            let mut text = Vec::new();
            source.reader.read_to_end(&mut text).map_err(of_the_disk)?;
            serde_json::from_slice(&text)
                .map_err(|error| Error::bad_request(format!("`{path}` is no JSON: {error}")))
        })
        .await
    }

    /// How many objects of which types there are to be. Nothing else may be among the texts.
    fn types(&self) -> Result<BTreeMap<ObjectType, u64>> {
        let manifest = &self.export.manifest;
        if manifest.counts.objects.len() > TYPES_MAX {
            return Err(Error::too_large(format!(
                "an export has at most {TYPES_MAX} types"
            )));
        }
        let mut types = BTreeMap::new();
        for (name, count) in &manifest.counts.objects {
            let object_type: ObjectType = name.parse().map_err(|_| {
                let shown: String = name.chars().take(100).collect();
                Error::bad_request(format!(
                    "the manifest counts objects of the type `{shown}`, which is none"
                ))
            })?;
            types.insert(object_type, *count);
        }
        let known: HashSet<String> = types.keys().map(path_of).collect();
        for record in &manifest.files {
            let path = record.path.as_str();
            let is_known =
                [BACKEND, SCHEMA, MEMBERS, WEBHOOKS].contains(&path) || known.contains(path);
            if !is_known {
                let shown: String = path.chars().take(200).collect();
                return Err(Error::bad_request(format!(
                    "the export holds `{shown}`, of which nothing is known; objects stand in `{OBJECTS}/` below the \
                     name of a type that the manifest counts"
                )));
            }
        }
        for (object_type, count) in &types {
            if *count > 0 && self.export.text(&path_of(object_type)).is_none() {
                return Err(Error::bad_request(format!(
                    "the manifest counts {count} objects of the type {object_type}, and `{}` is missing",
                    path_of(object_type)
                )));
            }
        }
        Ok(types)
    }

    /// Whether the bytes of a file are there as the file says.
    fn check_blob(&self, blob: Blob) -> Result<()> {
        match self.export.blob(blob.digest.as_bytes()) {
            Some(lies) if lies.bytes == blob.bytes => Ok(()),
            Some(lies) => Err(Error::bad_request(format!(
                "the export has {} bytes under the SHA-256 {}, and a file says that it has {}",
                lies.bytes, blob.digest, blob.bytes
            ))),
            None => Err(missing_blob(blob.digest)),
        }
    }
}

/// One entry of an archive, line by line.
struct Lines {
    reader: io::Take<BufReader<File>>,
    number: u64,
}

impl Lines {
    async fn open(path: &std::path::Path, lies: Lies) -> Result<Self> {
        let path = path.to_owned();
        blocking(move || {
            let mut file = File::open(path).map_err(of_the_disk)?;
            file.seek(SeekFrom::Start(lies.at)).map_err(of_the_disk)?;
            let reader = BufReader::with_capacity(PIECE_BYTES, file);
            Ok(Self {
                reader: reader.take(lies.bytes),
                number: 0,
            })
        })
        .await
    }

    fn parcels(&mut self, object_type: &ObjectType, unknown: &str) -> Result<Vec<Parcel>> {
        let path = path_of(object_type);
        self.batch(|line| lines::read(line, object_type, unknown))
            .map_err(|error| in_file(&path, &error))
    }

    /// The next lines, each read by `read`; none at the end.
    fn batch<T>(&mut self, read: impl Fn(&[u8]) -> Result<T>) -> Result<Vec<T>> {
        let (mut batch, mut bytes, mut line) = (Vec::new(), 0, Vec::new());
        while batch.len() < PARCELS_AT_ONCE && bytes < BYTES_AT_ONCE {
            line.clear();
            let most = lines::LINE_BYTES_MAX as u64 + 1;
            let mut bounded = self.reader.by_ref().take(most);
            let count = bounded.read_until(b'\n', &mut line).map_err(of_the_disk)?;
            if count == 0 {
                break;
            }
            self.number += 1;
            let number = self.number;
            if line.len() > lines::LINE_BYTES_MAX {
                return Err(Error::too_large(format!("line {number} is too long")));
            }
            bytes += line.len();
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            batch.push(read(text).map_err(|error| in_line(number, &error))?);
        }
        Ok(batch)
    }
}

fn in_line(number: u64, error: &Error) -> Error {
    let why: Vec<String> = error
        .fields
        .iter()
        .map(|fault| format!("has a `{}` that {}", fault.property, fault.message))
        .collect();
    let why = match why.is_empty() {
        true => error.message.clone(),
        false => why.join(", "),
    };
    Error::bad_request(format!("line {number} {why}"))
}

fn in_file(path: &str, error: &Error) -> Error {
    Error::new(error.kind, format!("`{path}`: {}", error.message))
}
