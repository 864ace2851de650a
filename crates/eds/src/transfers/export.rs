//! A backend on its way out.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use axum::body::Body;
use pilvi_backup::Staging;
use pilvi_backup::export::{
    BACKEND, EXPORT_FORMAT, EXPORT_VERSION, ExportCounts, ExportManifest, ExportWriter,
    ExportedBackend, FILES, MEMBERS, SCHEMA, USERGROUPS, USERS, WEBHOOKS, objects_path,
};
use pilvi_core::Act;
use pilvi_model::{Digest, Error, Kind, ObjectType, Provider, Result};
use pilvi_store::Backend;
use pilvi_store::backend::StoredWebhook;
use pilvi_web::pieces::{Outlet, inlet, outlet};
use serde_json::{Value, json};

use super::{Transfers, blocking, lines, of_the_archive, of_the_disk};
use crate::Eds;
use crate::caller::Caller;
use crate::types::exchange;
use crate::webhooks::Headers;

impl Eds {
    /// Everything in the backend as an archive, which is written while it is sent. `act` is written down when it is
    /// complete.
    pub(crate) async fn export(&self, caller: &Caller, act: Option<Act>) -> Result<(String, Body)> {
        caller.require_admin()?;
        let transfers = self.transfers()?;
        let room = transfers.room(caller.backend.id).await?;
        transfers.check_room(self.0.store.backend_bytes(caller.backend.id).await?)?;
        let (outlet, body) = outlet();
        let (eds, backend) = (self.clone(), caller.backend.clone());
        let name = format!("pilvi-{}.tar", backend.id);
        let task = async move {
            let _room = room;
            let mut archive = Archive(Some(ExportWriter::new(outlet)));
            let outcome = eds.write_export(&backend, &mut archive).await;
            match archive.end(outcome).await {
                Ok(()) => {
                    if let Some(act) = act {
                        eds.0.audit.note(act).await;
                    }
                }
                Err(error) => tracing::error!(
                    backend = %backend.id,
                    error = &error as &dyn std::error::Error,
                    "an export was given up"
                ),
            }
        };
        self.0.people.tasks.spawn("write an export", task);
        Ok((name, body))
    }

    pub(super) fn transfers(&self) -> Result<&Transfers> {
        self.0
            .transfers
            .as_ref()
            .ok_or_else(|| Error::unavailable("this server exports and imports no backends"))
    }

    async fn write_export(
        &self,
        backend: &Backend,
        archive: &mut Archive,
    ) -> Result<ExportManifest> {
        let staging = Staging::new(&self.transfers()?.folder).map_err(of_the_disk)?;
        let created_at = self.now().to_millis_text();
        let copied = staging.path().join("backend.db");
        self.0
            .store
            .copy_backend(backend.id, copied.clone())
            .await?;
        let copy = self.0.store.backend_at(backend.id, copied);
        let outcome = self.write_copy(&copy, staging.path(), archive).await;
        copy.close().await?;
        let (counts, left_out) = outcome?;
        let id = backend.id.to_string();
        let instance = self.0.directory.find(Provider::Eds, &id).await?;
        Ok(ExportManifest {
            format: EXPORT_FORMAT.to_owned(),
            version: EXPORT_VERSION,
            pilvi: env!("CARGO_PKG_VERSION").to_owned(),
            created_at,
            backend: ExportedBackend {
                id,
                name: instance.map(|found| found.name.clone()).unwrap_or_default(),
            },
            counts,
            files: Vec::new(),
            left_out,
        })
    }

    /// Writes all of a copy, the bytes of files first: one that is deleted in this moment is no part of the export, and
    /// then must not be named in it either.
    async fn write_copy(
        &self,
        copy: &Backend,
        folder: &Path,
        archive: &mut Archive,
    ) -> Result<(ExportCounts, Vec<String>)> {
        let gone = self.write_blobs(copy, archive).await?;
        let rest = copy.rest_rights().await?;
        archive.text(BACKEND, &json!({"otherTypes": rest})).await?;
        let schema = exchange::write(&copy.list_collections().await?);
        archive.text(SCHEMA, &schema).await?;
        let mut counts = ExportCounts::default();
        let mut objects = BTreeMap::new();
        for (object_type, there) in copy.count_by_type().await? {
            let path = path_of(&object_type);
            let mut sheet = Sheet::new(folder).await?;
            let count = self
                .write_objects(copy, &object_type, &gone, &mut sheet)
                .await?;
            sheet.send(&path, archive).await?;
            if count > 0 || object_type != ObjectType::files() {
                objects.insert(object_type.to_string(), count);
            }
            if object_type == ObjectType::files() {
                counts.blobs = there - count;
            }
        }
        let unfinished = std::mem::take(&mut counts.blobs);
        counts.objects = objects;
        counts.members = self.write_members(copy, folder, archive).await?;
        let mut left_out = vec!["the sessions of users, who sign in again".to_owned()];
        if unfinished > 0 {
            left_out.push(format!("{unfinished} files whose upload is not complete"));
        }
        let webhooks = copy.list_webhooks().await?;
        if !webhooks.is_empty() {
            left_out.push("the header values and secrets of webhooks".to_owned());
        }
        let webhooks: Vec<Value> = webhooks
            .iter()
            .map(|webhook| self.show_webhook(copy, webhook))
            .collect();
        archive.text(WEBHOOKS, &json!(webhooks)).await?;
        Ok((counts, left_out))
    }

    async fn write_objects(
        &self,
        copy: &Backend,
        object_type: &ObjectType,
        gone: &HashSet<Digest>,
        sheet: &mut Sheet,
    ) -> Result<u64> {
        let (mut after, mut count) = (0, 0);
        loop {
            let packed = copy.pack_objects(object_type.clone(), after).await?;
            let mut text = String::new();
            for parcel in &packed.rows {
                let file = parcel.file.as_ref();
                if file.is_some_and(|file| gone.contains(&file.blob.digest)) {
                    continue;
                }
                text.push_str(&lines::write(parcel));
                text.push('\n');
                count += 1;
            }
            sheet.add(text).await?;
            match packed.next {
                Some(next) => after = next,
                None => return Ok(count),
            }
        }
    }

    async fn write_members(
        &self,
        copy: &Backend,
        folder: &Path,
        archive: &mut Archive,
    ) -> Result<u64> {
        let mut sheet = Sheet::new(folder).await?;
        let (mut after, mut count) = (None, 0);
        loop {
            let packed = copy.pack_members(after).await?;
            let mut text = String::new();
            for member in &packed.rows {
                text.push_str(&lines::write_member(*member));
                text.push('\n');
                count += 1;
            }
            sheet.add(text).await?;
            match packed.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        sheet.send(MEMBERS, archive).await?;
        Ok(count)
    }

    /// Writes the bytes of all files. Says of which there are none any more.
    async fn write_blobs(&self, copy: &Backend, archive: &mut Archive) -> Result<HashSet<Digest>> {
        let (mut after, mut gone) = (None, HashSet::new());
        loop {
            let packed = copy.pack_blobs(after).await?;
            for blob in packed.rows {
                let opened = self.0.blobs.open(copy.id, &blob.digest, 0..u64::MAX).await;
                let stream = match opened {
                    Ok(stream) => stream,
                    Err(error) if error.kind == Kind::NotFound => {
                        gone.insert(blob.digest);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let (inlet, feeding) = inlet(Body::from_stream(stream));
                let writing = archive
                    .with(move |writer| writer.blob(&blob.digest.to_string(), blob.bytes, inlet));
                let (written, ()) = tokio::join!(writing, feeding);
                written?;
            }
            match packed.next {
                Some(next) => after = Some(next),
                None => return Ok(gone),
            }
        }
    }

    /// A webhook without what is secret about it.
    fn show_webhook(&self, copy: &Backend, webhook: &StoredWebhook) -> Value {
        let headers = Headers::unseal(&self.0.keyring, copy.id, webhook).unwrap_or_default();
        let names: Vec<&String> = headers.iter().map(|(name, _)| name).collect();
        let events = webhook.events.as_ref();
        let types = webhook.object_types.as_ref();
        json!({
            "id": webhook.id.to_string(),
            "url": webhook.url,
            "events": events.map(|all| all.iter().map(|event| event.as_str()).collect::<Vec<_>>()),
            "objectTypes": types.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "headerNames": names,
            "payloadAs": webhook.payload_as.as_str(),
            "enabled": webhook.enabled,
        })
    }
}

/// Where the objects of a type stand.
pub(super) fn path_of(object_type: &ObjectType) -> String {
    match object_type.as_str() {
        "users" => USERS.to_owned(),
        "usergroups" => USERGROUPS.to_owned(),
        "files" => FILES.to_owned(),
        custom => objects_path(custom.strip_prefix("objects.").unwrap_or(custom)),
    }
}

/// Lines that are gathered on the disk, because an archive says first how long a file is.
struct Sheet {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Sheet {
    async fn new(folder: &Path) -> Result<Self> {
        let path = folder.join("sheet");
        let made = path.clone();
        let file = blocking(move || File::create(made).map_err(of_the_disk)).await?;
        Ok(Self {
            path,
            file: Some(BufWriter::new(file)),
        })
    }

    async fn add(&mut self, text: String) -> Result<()> {
        let mut file = self.file.take().ok_or_else(abandoned)?;
        let file = blocking(move || {
            file.write_all(text.as_bytes()).map_err(of_the_disk)?;
            Ok(file)
        });
        self.file = Some(file.await?);
        Ok(())
    }

    async fn send(mut self, path: &str, archive: &mut Archive) -> Result<()> {
        let mut file = self.file.take().ok_or_else(abandoned)?;
        let (name, path) = (path.to_owned(), self.path);
        let flushed = blocking(move || file.flush().map_err(of_the_disk));
        flushed.await?;
        archive.with(move |writer| writer.file(&name, &path)).await
    }
}

/// An export that is written on threads that may wait: for the disk, and for a client that is slow.
struct Archive(Option<ExportWriter<Outlet>>);

impl Archive {
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut ExportWriter<Outlet>) -> pilvi_backup::Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut writer = self.0.take().ok_or_else(abandoned)?;
        let (writer, outcome) = blocking(move || {
            let outcome = work(&mut writer);
            Ok((writer, outcome))
        })
        .await?;
        self.0 = Some(writer);
        outcome.map_err(of_the_archive)
    }

    async fn text(&mut self, path: &'static str, content: &Value) -> Result<()> {
        let text = serde_json::to_vec_pretty(content).map_err(Error::internal)?;
        self.with(move |writer| writer.bytes(path, &text)).await
    }

    /// Ends the archive: with its manifest, or with why it is none.
    async fn end(mut self, outcome: Result<ExportManifest>) -> Result<()> {
        let writer = self.0.take().ok_or_else(abandoned)?;
        match outcome {
            Ok(manifest) => {
                blocking(move || writer.finish(manifest).map(drop).map_err(of_the_archive)).await
            }
            Err(error) => {
                let why = error.message.clone();
                blocking(move || writer.give_up(&why).map_err(of_the_archive)).await?;
                Err(error)
            }
        }
    }
}

fn abandoned() -> Error {
    Error::internal("the export was abandoned before")
}
