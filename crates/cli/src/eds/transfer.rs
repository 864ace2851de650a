//! `pilvi eds export` and `pilvi eds import`: all of a data backend as a file, and back.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use pilvi_backup::export::{Export as Looked, ExportBounds, inspect};
use pilvi_base::secret::{Sha256, hex};
use serde_json::{Value, json};

use super::files::Patience;
use super::target::Backend;
use crate::backup::{Draft, receive};
use crate::bytes::in_words;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::progress::Progress;
use crate::session::{Session, array, text};
use crate::url::segment;

/// What is sent in one request.
const PIECE_BYTES: usize = 4 << 20;
const READ_BYTES: usize = 256 << 10;
/// How often the server is asked how far it has come: at first, and at most.
const LOOK_AFTER: Duration = Duration::from_millis(50);
const LOOK_AFTER_MAX: Duration = Duration::from_secs(2);

#[derive(Args, Clone, Debug)]
pub(super) struct Export {
    /// The file to write, which must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Import {
    /// An export, as `pilvi eds export` writes it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Lose everything that is in the data backend now
    #[arg(long)]
    replace: bool,
    /// Do not ask before that
    #[arg(long, requires = "replace")]
    yes: bool,
}

impl Export {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let path = session.place.folder.join(&self.file);
        if path.exists() {
            return Err(Failure::usage(
                format!("{} is there already", self.file.display()),
                "name a file that is not there yet",
            ));
        }
        let draft = Draft::new(&path)?;
        let body = backend.open("export").await?;
        let progress = Progress::of_bytes(session.screen, "exporting", None);
        receive(body, &draft, &progress).await?;
        drop(progress);
        let looked = look_through(&draft.path).map_err(|error| match error {
            pilvi_backup::Error::CutShort => Failure::new(
                Code::Unreachable,
                "the export broke off before its end",
                "try again; nothing was kept of this one",
            ),
            other => Failure::failed(
                other.to_string(),
                "try again; if it stays so, the server's log tells its operator why",
            ),
        })?;
        let bytes = draft.keep_as(&path)?;
        let manifest = &looked.manifest;
        for what in &manifest.left_out {
            session.screen.note(&format!("Not in it: {what}."))?;
        }
        let counts = &manifest.counts;
        let shown = json!({
            "file": self.file.display().to_string(),
            "bytes": bytes,
            "counts": counts,
            "createdAt": manifest.created_at,
            "leftOut": manifest.left_out,
        });
        let line = format!(
            "Exported {} objects and the bytes of {} files into {}, {}. Whoever has the file can read all of it.",
            counts.objects_in_all(),
            counts.blobs,
            self.file.display(),
            in_words(bytes)
        );
        session.done(&shown, &line)
    }
}

fn look_through(path: &Path) -> pilvi_backup::Result<Looked> {
    let file = File::open(path).map_err(pilvi_backup::Error::Unreadable)?;
    let reader = BufReader::with_capacity(READ_BYTES, file);
    inspect(reader, ExportBounds::default(), |_| true)
}

impl Import {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let path = session.place.folder.join(&self.file);
        let looked = self.look_into(&path)?;
        if self.replace {
            session.confirm_removal(
                &backend.instance.id,
                "What is in it now is replaced by the export",
                self.yes,
            )?;
        }
        let mut source = Source::open(&path, &self.file)?;
        let sha256 = source.sum()?;
        let announced = json!({"bytes": source.bytes, "sha256": sha256});
        // The same archive is found again, wherever an earlier call was stopped.
        let import = backend.post("imports", &announced).await?;
        let id = text(&import, "id");
        let again = "run the same command again; it goes on where it was";
        let stay = |failure: Failure| failure.on(Code::Unreachable, again);
        let received = import["received"].as_u64().unwrap_or(0);
        let progress = Progress::of_bytes(session.screen, "sending", Some(source.bytes));
        let sent = send(backend, &id, &mut source, received, &progress).await;
        drop(progress);
        sent.map_err(stay)?;
        let started = backend
            .post(
                &format!("{}/start", one(&id)),
                &json!({"replace": self.replace}),
            )
            .await;
        let started = match started {
            Ok(started) => started,
            Err(failure) if failure.code == Code::Unreachable => find(backend, &id).await?,
            Err(failure) => {
                return Err(failure.on(
                    Code::Refused,
                    "use --replace to lose what is in it, or create a new one with `pilvi eds create` and import there",
                ));
            }
        };
        let ended = wait(session, backend, &id, started).await.map_err(stay)?;
        if ended["state"] != "done" {
            return Err(Failure::failed(
                format!("nothing was imported: {}", text(&ended, "error")),
                "change what is wrong with the export, or take another one",
            ));
        }
        for warning in array(&ended["warnings"]) {
            session.screen.note(warning.as_str().unwrap_or_default())?;
        }
        let counts = &looked.manifest.counts;
        let line = format!(
            "Imported {} objects and the bytes of {} files into {}.",
            counts.objects_in_all(),
            counts.blobs,
            backend.instance.id
        );
        session.done(&ended, &line)
    }

    /// A file that is no export need not be sent to anybody.
    fn look_into(&self, path: &Path) -> Result<Looked> {
        look_through(path).map_err(|error| {
            Failure::usage(
                format!("{} cannot be imported: {error}", self.file.display()),
                "name a file that `pilvi eds export` wrote",
            )
        })
    }
}

fn one(id: &str) -> String {
    format!("imports/{}", segment(id))
}

async fn find(backend: &Backend, id: &str) -> Result<Value> {
    let next = "it may have been too old; run the same command again";
    let answer = backend.get(&one(id)).await;
    answer.map_err(|failure| failure.on(Code::NotFound, next))
}

/// Sends what is not there yet, piece by piece.
async fn send(
    backend: &Backend,
    id: &str,
    source: &mut Source<'_>,
    received: u64,
    progress: &Progress,
) -> Result<()> {
    progress.add(received);
    let mut patience = Patience::default();
    let mut place = received;
    while place < source.bytes {
        let piece = source.piece(place)?;
        let range = format!("{place}-{}/{}", place + piece.len() as u64, source.bytes);
        let resource = format!("{}/chunk", one(id));
        let now = match backend.piece(&resource, &range, piece).await {
            Ok(import) => {
                patience.recover();
                import
            }
            Err(failure) => {
                patience.after(failure).await?;
                // Some of it may have arrived although the answer did not.
                match find(backend, id).await {
                    Ok(import) => import,
                    Err(failure) => {
                        patience.after(failure).await?;
                        continue;
                    }
                }
            }
        };
        let received = now["received"].as_u64().unwrap_or(place);
        progress.add(received.saturating_sub(place));
        place = received;
    }
    Ok(())
}

/// Waits until the server has done its part.
async fn wait(
    session: &mut Session<'_, '_>,
    backend: &Backend,
    id: &str,
    mut import: Value,
) -> Result<Value> {
    let _progress = Progress::of_waiting(session.screen, "the server imports it");
    let (mut pause, mut patience) = (LOOK_AFTER, Patience::default());
    while import["state"] == "running" {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_AFTER_MAX);
        match find(backend, id).await {
            Ok(found) => {
                patience.recover();
                import = found;
            }
            Err(failure) => patience.after(failure).await?,
        }
    }
    Ok(import)
}

/// A local file that is read from anywhere.
struct Source<'a> {
    file: File,
    bytes: u64,
    shown: &'a Path,
}

impl<'a> Source<'a> {
    fn open(path: &Path, shown: &'a Path) -> Result<Self> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (bytes, file) = opened.map_err(|error| unreadable(shown, &error))?;
        Ok(Self { file, bytes, shown })
    }

    fn sum(&mut self) -> Result<String> {
        let (mut sum, mut piece) = (Sha256::default(), vec![0; READ_BYTES]);
        loop {
            match self.file.read(&mut piece) {
                Ok(0) => return Ok(hex(&sum.finish())),
                Ok(count) => sum.add(&piece[..count]),
                Err(error) => return Err(unreadable(self.shown, &error)),
            }
        }
    }

    fn piece(&mut self, place: u64) -> Result<Bytes> {
        let length = (self.bytes - place).min(PIECE_BYTES as u64);
        let mut piece = vec![0; usize::try_from(length).unwrap_or(PIECE_BYTES)];
        let read = self
            .file
            .seek(SeekFrom::Start(place))
            .and_then(|_| self.file.read_exact(&mut piece));
        read.map_err(|error| unreadable(self.shown, &error))?;
        Ok(piece.into())
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::usage(
        format!("{} cannot be read: {error}", file.display()),
        "name a file that `pilvi eds export` wrote",
    )
}
