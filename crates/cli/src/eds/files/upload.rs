//! A file on its way into a data backend.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use pilvi_base::secret::Sha256;
use serde_json::{Map, Value, json};

use super::{Patience, find, hex, one, size};
use crate::eds::collection::Collection;
use crate::eds::target::Backend;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::progress::Progress;
use crate::session::{Session, text};

/// What is sent in one request.
const PIECE_BYTES: usize = 4 << 20;

#[derive(Args, Clone, Debug)]
pub(super) struct Upload {
    /// The file to send
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Let this property of an object name it
    #[arg(long = "for", num_args = 3, value_names = ["TYPE", "ID", "PROPERTY"])]
    target: Option<Vec<String>>,
    /// Give it this name [default: its own]
    #[arg(long, conflicts_with = "resume")]
    name: Option<String>,
    /// Say what kind of file it is, such as image/png [default: as its name suggests]
    #[arg(long, value_name = "TYPE", conflicts_with = "resume")]
    content_type: Option<String>,
    /// Go on with an upload that was interrupted, by the id that it was given
    #[arg(long, value_name = "ID", conflicts_with = "target")]
    resume: Option<String>,
}

impl Upload {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let path = session.place.folder.join(&self.file);
        let mut source = Source::open(&path)?;
        let (id, received) = match &self.resume {
            Some(id) => {
                let file = find(backend, id).await?;
                (id.clone(), source.fitting(&file)?)
            }
            None => {
                let file = backend.post("files", &self.note(&path)).await?;
                (text(&file, "id"), 0)
            }
        };
        let shown = self.file.display();
        let resume = format!("pilvi eds files upload {shown} --resume {id}");
        if source.bytes > PIECE_BYTES as u64 && session.screen.is_watched() {
            session
                .screen
                .note(&format!("After an interruption go on with: {resume}"))?;
        }
        let progress = Progress::of_bytes(session.screen, "Uploading", Some(source.bytes));
        let sent = send(backend, &id, &mut source, received, &progress).await;
        drop(progress);
        let file = sent
            .map_err(|failure| failure.on(Code::Unreachable, format!("go on with `{resume}`")))?;
        let digest = hex(source.hash.finish());
        if file["sha256"].as_str().is_some_and(|kept| kept != digest) {
            return Err(Failure::failed(
                format!(
                    "{shown} was changed while it was sent, and what arrived is neither the old nor the new file"
                ),
                format!("remove it with `pilvi eds files remove {id}` and send it again"),
            ));
        }
        let line = format!(
            "Uploaded {} ({}) as {id}.",
            text(&file, "fileName"),
            size(&file)
        );
        session.done(&file, &line)
    }

    /// What is said of a file before its bytes come.
    fn note(&self, path: &Path) -> Value {
        let own = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let mut file = Map::new();
        file.insert("fileName".into(), self.name.clone().or(own).into());
        if let Some(kind) = &self.content_type {
            file.insert("contentType".into(), kind.as_str().into());
        }
        let mut note = json!({ "file": file });
        if let Some([object_type, id, property]) = self.target.as_deref() {
            let Ok(collection) = object_type.parse::<Collection>();
            note["targetFileProperty"] =
                json!({"id": id, "objectType": collection.name, "propertyName": property});
        }
        note
    }
}

/// Sends what is not there yet, piece by piece. Gives what the server says of the file then.
async fn send(
    backend: &Backend,
    id: &str,
    source: &mut Source,
    received: u64,
    progress: &Progress,
) -> Result<Value> {
    source.skip_to(received)?;
    progress.add(received);
    let mut patience = Patience::default();
    let mut place = received;
    loop {
        let piece = source.piece(place)?;
        let end = place + piece.len() as u64;
        let range = format!("{place}-{end}/{}", source.bytes);
        let resource = format!("{}/chunk", one(id));
        match backend.piece(&resource, &range, piece).await {
            Ok(file) => {
                patience.recover();
                progress.add(end - place);
                place = end;
                if file["status"] == "complete" {
                    return Ok(file);
                }
                if place >= source.bytes {
                    return Err(Failure::failed(
                        "the server has all of the file and does not call it complete",
                        format!("see `pilvi eds files show {id}`"),
                    ));
                }
            }
            Err(failure) => {
                patience.after(failure).await?;
                // The piece may have arrived although the answer did not.
                match find(backend, id).await {
                    Ok(file) if file["status"] == "complete" => {
                        source.skip_to(source.bytes)?;
                        return Ok(file);
                    }
                    Ok(file) => {
                        let now = source.fitting(&file)?;
                        source.skip_to(now)?;
                        progress.add(now.saturating_sub(place));
                        place = now;
                    }
                    Err(failure) => patience.after(failure).await?,
                }
            }
        }
    }
}

/// A local file that is read from anywhere and hashed from its start.
struct Source {
    file: File,
    path: PathBuf,
    bytes: u64,
    hash: Sha256,
    hashed: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        let opened = File::open(path).and_then(|file| {
            let data = file.metadata()?;
            match data.is_file() {
                true => Ok((file, data.len())),
                false => Err(io::Error::other("it is no file")),
            }
        });
        let (file, bytes) = opened.map_err(|error| unreadable(path, &error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            bytes,
            hash: Sha256::default(),
            hashed: 0,
        })
    }

    /// How much of this file the server has, which must be an upload of it.
    fn fitting(&self, file: &Value) -> Result<u64> {
        if file["status"] == "complete" {
            return Err(Failure::new(
                Code::Refused,
                format!("{} is complete already", text(file, "id")),
                "send it anew, without --resume",
            ));
        }
        let received = file["received"].as_u64().unwrap_or(0);
        let total = file["total"].as_u64().filter(|_| received > 0);
        if received > self.bytes || total.is_some_and(|total| total != self.bytes) {
            return Err(Failure::new(
                Code::Refused,
                format!(
                    "{} began with a file of another size than {}",
                    text(file, "id"),
                    self.path.display()
                ),
                "name the file that the upload was begun with, or send this one without --resume",
            ));
        }
        match received {
            // All of it is there and not one file yet: that follows when the last piece is sent again.
            all if all == self.bytes => Ok(last_piece(all)),
            some => Ok(some),
        }
    }

    /// The bytes at this place.
    fn piece(&mut self, place: u64) -> Result<Bytes> {
        let left = self.bytes.saturating_sub(place);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let mut piece = vec![0; length];
        let read = self
            .file
            .seek(SeekFrom::Start(place))
            .and_then(|_| self.file.read_exact(&mut piece));
        read.map_err(|error| unreadable(&self.path, &error))?;
        if place == self.hashed {
            self.hash.add(&piece);
            self.hashed += length as u64;
        }
        Ok(piece.into())
    }

    /// Hashes what lies before this place.
    fn skip_to(&mut self, place: u64) -> Result<()> {
        while self.hashed < place {
            let from = self.hashed;
            let length = usize::try_from(place - from)
                .unwrap_or(usize::MAX)
                .min(PIECE_BYTES);
            let mut piece = vec![0; length];
            let read = self
                .file
                .seek(SeekFrom::Start(from))
                .and_then(|_| self.file.read_exact(&mut piece));
            read.map_err(|error| unreadable(&self.path, &error))?;
            self.hash.add(&piece);
            self.hashed += length as u64;
        }
        Ok(())
    }
}

/// Where the last piece of so many bytes begins.
fn last_piece(bytes: u64) -> u64 {
    let piece = PIECE_BYTES as u64;
    bytes.saturating_sub(1) / piece * piece
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let next = "see whether it is there, is a file, and may be read";
    Failure::usage(format!("{} cannot be read: {error}", path.display()), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_begins_where_it_was_sent_from() {
        let piece = PIECE_BYTES as u64;
        for (bytes, place) in [
            (0, 0),
            (1, 0),
            (piece, 0),
            (piece + 1, piece),
            (2 * piece, piece),
            (2 * piece + 7, 2 * piece),
        ] {
            assert_eq!(last_piece(bytes), place, "{bytes}");
        }
    }
}
