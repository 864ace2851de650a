//! A file in one request: multipart, streamed to where it is kept; or its announcement, whose pieces follow.

use bytes::Bytes;
use pilvi_blobs::Staging;
use pilvi_core::complete;
use pilvi_model::{Blob, ContentType, Error, FileName, Result, UploadNote};
use pilvi_store::backend::{BlobEra, NewFile, Written};
use pilvi_web::{Inflow, Refusal};
use serde_json::Value;

use super::NOTE_BYTES_MAX;
use super::multipart::{Event, Fault, Head, Multipart};
use crate::Eds;
use crate::caller::Caller;

/// A file name that comes as a part of its own.
const NAME_BYTES_MAX: usize = 4 << 10;
/// A part that nobody asked for.
const OTHER_BYTES_MAX: usize = 64 << 10;

/// What has arrived of a multipart upload.
#[derive(Default)]
struct Arrived {
    note: Option<UploadNote>,
    /// The part `filename`.
    file_name: Option<String>,
    /// The part `file`.
    file: Option<(Head, Blob)>,
}

impl Eds {
    /// Announces a file whose pieces will follow.
    pub(crate) async fn announce_file(&self, caller: &Caller, note: &Value) -> Result<Written> {
        let note = UploadNote::from_json(note)?;
        let file = self.new_file(note, None, None);
        self.note_files(caller.backend.id).await?;
        let author = caller.author(self);
        let written = caller.backend.create_file(file, author).await?;
        Ok(self.published(caller, written))
    }

    /// Takes in a file that comes as a multipart body.
    pub(crate) async fn take_file(
        &self,
        caller: &Caller,
        mut multipart: Multipart,
        mut inflow: Inflow,
    ) -> Result<Written, Refusal> {
        let asker = caller.asker.clone();
        let era = caller.backend.check_upload(asker, None).await?;
        let _place = self.0.uploads.enter(caller.account).await?;
        let (store, backend) = (&self.0.store, caller.backend.id);
        store.check_room_beside(backend, inflow.length().unwrap_or(0))?;
        let arrived = match self.receive(caller, &mut multipart, &mut inflow).await {
            Ok(arrived) => arrived,
            Err((refusal, blob)) => {
                self.note_stray(caller, blob).await;
                return Err(refusal);
            }
        };
        let Some((head, blob)) = arrived.file else {
            let message = "the multipart body needs a part named `file` with the bytes of the file";
            return Err(Error::bad_request(message).into());
        };
        // A client need not have said how much it would send.
        if let Err(full) = store.check_room_beside(backend, blob.bytes) {
            self.note_stray(caller, Some(blob)).await;
            return Err(full.into());
        }
        store.add_bytes_beside(backend, blob.bytes);
        let said = arrived.file_name.or(head.file_name);
        let note = arrived.note.unwrap_or_default();
        let file = self.new_file(note, said, head.content_type.as_deref());
        Ok(self.keep_file(caller, file, blob, era).await?)
    }

    /// Writes down a file whose bytes are stored. It runs to its end although the client goes: those bytes would be
    /// nobody's otherwise.
    async fn keep_file(
        &self,
        caller: &Caller,
        file: NewFile,
        blob: Blob,
        era: BlobEra,
    ) -> Result<Written> {
        let (eds, caller) = (self.clone(), caller.clone());
        let work = async move {
            eds.note_files(caller.backend.id).await?;
            let author = caller.author(&eds);
            let written = caller.backend.create_whole_file(file, blob, era, author);
            match written.await {
                Ok(written) => Ok(eds.took_in(&caller, written)),
                Err(error) => {
                    eds.note_stray(&caller, Some(blob)).await;
                    Err(error)
                }
            }
        };
        complete(&self.0.people.tasks, "keep a file", work).await
    }

    /// Stored bytes that become no file are removed in time, if this can be written down; else when somebody compares
    /// what is kept with what is known.
    async fn note_stray(&self, caller: &Caller, blob: Option<Blob>) {
        let Some(blob) = blob else {
            return;
        };
        let noted = caller.backend.note_blobs(vec![blob], self.now()).await;
        if let Err(error) = noted {
            tracing::warn!(%error, backend = %caller.backend.id, "bytes that became no file were not noted");
        }
    }

    fn new_file(
        &self,
        note: UploadNote,
        said_name: Option<String>,
        said_type: Option<&str>,
    ) -> NewFile {
        let name = note.file_name.or(said_name);
        let name = FileName::clean(name.as_deref().unwrap_or_default());
        let content_type = said_type.and_then(ContentType::parse);
        let said = content_type.as_ref().map(ContentType::as_str);
        NewFile {
            id: self.new_id(),
            content_type: ContentType::of(said.or(note.content_type.as_deref()), &name),
            name,
            target: note.target,
        }
    }

    /// Takes the parts of a body as they come. A fault comes with the bytes that were stored before it.
    async fn receive(
        &self,
        caller: &Caller,
        multipart: &mut Multipart,
        inflow: &mut Inflow,
    ) -> Result<Arrived, (Refusal, Option<Blob>)> {
        let mut arrived = Arrived::default();
        match self
            .receive_parts(caller, multipart, inflow, &mut arrived)
            .await
        {
            Ok(()) => Ok(arrived),
            Err(refusal) => Err((refusal, arrived.file.map(|(_, blob)| blob))),
        }
    }

    async fn receive_parts(
        &self,
        caller: &Caller,
        multipart: &mut Multipart,
        inflow: &mut Inflow,
        arrived: &mut Arrived,
    ) -> Result<(), Refusal> {
        while let Some(event) = next_event(multipart, inflow).await? {
            let Event::Part(head) = event else {
                continue;
            };
            match head.name.as_deref() {
                Some("object") => {
                    let text = small_part(multipart, inflow, "object", NOTE_BYTES_MAX).await?;
                    let note = note(&text)?;
                    // Nobody uploads a gigabyte to learn that they may not.
                    let asker = caller.asker.clone();
                    caller
                        .backend
                        .check_upload(asker, note.target.clone())
                        .await?;
                    arrived.note = Some(note);
                }
                Some("filename") => {
                    let text = small_part(multipart, inflow, "filename", NAME_BYTES_MAX).await?;
                    let text = String::from_utf8_lossy(&text).into_owned();
                    arrived.file_name = (!text.trim().is_empty()).then_some(text);
                }
                Some("file") if arrived.file.is_some() => {
                    let message = "the multipart body has several parts named `file`; send one file in one request";
                    return Err(Error::bad_request(message).into());
                }
                Some("file") => {
                    let staging = self.0.blobs.stage(caller.backend.id).await?;
                    let blob = self.file_part(multipart, inflow, staging).await?;
                    arrived.file = Some((head, blob));
                }
                _ => {
                    small_part(multipart, inflow, "of an unknown name", OTHER_BYTES_MAX).await?;
                }
            }
        }
        Ok(())
    }

    /// Stores the bytes of a part as they come.
    async fn file_part(
        &self,
        multipart: &mut Multipart,
        inflow: &mut Inflow,
        mut staging: Staging,
    ) -> Result<Blob, Refusal> {
        let mut bytes = 0;
        while let Some(piece) = next_piece(multipart, inflow).await? {
            bytes += piece.len() as u64;
            self.0.uploads.check_size(bytes)?;
            staging.write(piece).await?;
        }
        Ok(staging.finish().await?)
    }
}

/// What is the next event of a body; `None` at its end.
async fn next_event(
    multipart: &mut Multipart,
    inflow: &mut Inflow,
) -> Result<Option<Event>, Refusal> {
    loop {
        if let Some(event) = multipart.next_event().map_err(of_the_body)? {
            return Ok(Some(event));
        }
        match inflow.next().await? {
            Some(bytes) => multipart.feed(bytes),
            None => {
                multipart.finish().map_err(of_the_body)?;
                return Ok(None);
            }
        }
    }
}

/// The next bytes of a part; `None` at its end.
async fn next_piece(
    multipart: &mut Multipart,
    inflow: &mut Inflow,
) -> Result<Option<Bytes>, Refusal> {
    match next_event(multipart, inflow).await? {
        Some(Event::Bytes(bytes)) => Ok(Some(bytes)),
        _ => Ok(None),
    }
}

/// A part that is read into memory.
async fn small_part(
    multipart: &mut Multipart,
    inflow: &mut Inflow,
    name: &str,
    bytes_max: usize,
) -> Result<Vec<u8>, Refusal> {
    let mut all = Vec::new();
    while let Some(piece) = next_piece(multipart, inflow).await? {
        if piece.len() > bytes_max - all.len() {
            let message =
                format!("the part {name} of the multipart body has more than {bytes_max} bytes");
            return Err(Error::too_large(message).into());
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

fn note(text: &[u8]) -> Result<UploadNote, Refusal> {
    let note = pilvi_web::Body::parse(text)?.0;
    match note {
        None => Ok(UploadNote::default()),
        Some(note) => Ok(UploadNote::from_json(&note)?),
    }
}

pub(crate) fn of_the_body(Fault(message): Fault) -> Refusal {
    Error::bad_request(message).into()
}
