//! Imports: announced, brought in pieces, started, looked at, and forgotten after a while.
//!
//! Each has a folder with the archive as far as it came and a note of what it is, so that a client goes on after its
//! network was gone, or after the server was. One at a time brings a piece or is carried out.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_RANGE;
use pilvi_base::secret::replace;
use pilvi_model::{BackendId, ContentRange, Error, ObjectId, Provider, Result, Timestamp};
use pilvi_store::backend::Replaced;
use pilvi_web::{Inflow, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{blocking, make_private, of_the_disk};
use crate::Eds;
use crate::caller::Caller;

/// The largest archive that is taken in.
pub(crate) const BYTES_MAX: u64 = 1 << 40;
/// Imports of one backend that are not forgotten yet.
const KEPT_EACH: usize = 4;
/// How long one is kept after anything happened to it.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How often it is looked which are too old.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
const NOTE: &str = "import.json";
const ARCHIVE: &str = "archive.tar";
/// So many bytes are gathered before they are written.
const PIECE_BYTES: usize = 1 << 20;

/// What an import has come to.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Stage {
    /// The archive is on its way, or there and not started.
    Receiving,
    Running,
    /// It is what the backend is now.
    Done,
    /// Nothing was changed.
    Failed,
}

/// What is written down of an import.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Note {
    pub(super) backend: String,
    pub(super) bytes: u64,
    /// Of the whole archive, if its client said so.
    pub(super) sha256: Option<String>,
    pub(super) stage: Stage,
    pub(super) replace: bool,
    /// The backend that nobody sees, in whose file it is built.
    pub(super) built_in: Option<String>,
    pub(super) error: Option<String>,
    pub(super) warnings: Vec<String>,
    pub(super) created_at: u64,
    pub(super) touched_at: u64,
}

/// How far one that runs has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub step: &'static str,
    pub done: u64,
    pub of: u64,
}

/// One import.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) id: ObjectId,
    pub(crate) backend: BackendId,
    pub(super) folder: PathBuf,
    /// A plain mutex: held for a look or a change, never across an await.
    state: Mutex<State>,
    /// Whoever brings a piece, or carries it out.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct State {
    note: Note,
    received: u64,
    progress: Progress,
    /// Its client wants it no more.
    is_given_up: bool,
}

/// What is shown of an import.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub id: ObjectId,
    pub stage: Stage,
    pub bytes: u64,
    pub received: u64,
    pub replace: bool,
    pub progress: Option<Progress>,
    pub error: Option<String>,
    pub warnings: Vec<String>,
    pub created_at: Timestamp,
}

/// All imports of the server.
#[derive(Debug)]
pub(crate) struct Imports {
    folder: PathBuf,
    /// A plain mutex: held for a look-up.
    all: Mutex<HashMap<ObjectId, Arc<Import>>>,
}

impl Imports {
    /// Finds those that an earlier run left. What cannot be read is of no use and goes.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        make_private(&folder)?;
        let mut all = HashMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            match Import::found(&path) {
                Some(import) => drop(all.insert(import.id, Arc::new(import))),
                None => fs::remove_dir_all(&path)?,
            }
        }
        Ok(Self {
            folder,
            all: Mutex::new(all),
        })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ObjectId, Arc<Import>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, backend: BackendId, id: ObjectId) -> Option<Arc<Import>> {
        let all = self.all();
        all.get(&id)
            .filter(|import| import.backend == backend)
            .cloned()
    }

    /// The imports of a backend, newest first.
    fn of(&self, backend: BackendId) -> Vec<Arc<Import>> {
        let mut found: Vec<Arc<Import>> = self
            .all()
            .values()
            .filter(|import| import.backend == backend)
            .cloned()
            .collect();
        found.sort_by_key(|import| std::cmp::Reverse(import.id));
        found
    }

    fn everything(&self) -> Vec<Arc<Import>> {
        self.all().values().cloned().collect()
    }

    /// Forgets an import, with its folder.
    fn forget(&self, import: &Import) -> Result<()> {
        self.all().remove(&import.id);
        match fs::remove_dir_all(&import.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(of_the_disk(error)),
            _ => Ok(()),
        }
    }
}

impl Import {
    fn found(folder: &Path) -> Option<Self> {
        let id = folder.file_name()?.to_str()?.parse().ok()?;
        let note: Note = serde_json::from_slice(&fs::read(folder.join(NOTE)).ok()?).ok()?;
        let received = match fs::metadata(folder.join(ARCHIVE)) {
            Ok(archive) => archive.len().min(note.bytes),
            Err(_) => 0,
        };
        Some(Self {
            id,
            backend: note.backend.parse().ok()?,
            folder: folder.to_owned(),
            state: Mutex::new(State {
                note,
                received,
                progress: Progress::default(),
                is_given_up: false,
            }),
            turn: Arc::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn archive(&self) -> PathBuf {
        self.folder.join(ARCHIVE)
    }

    pub(super) fn note(&self) -> Note {
        self.state().note.clone()
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.state().is_given_up
    }

    pub(super) fn has_come(&self, step: &'static str, done: u64, of: u64) {
        self.state().progress = Progress { step, done, of };
    }

    /// Changes what is written down, on the disk first.
    pub(super) async fn write_down(
        self: &Arc<Self>,
        now: Timestamp,
        change: impl FnOnce(&mut Note),
    ) -> Result<()> {
        let mut note = self.note();
        change(&mut note);
        note.touched_at = now.as_millis();
        let import = Arc::clone(self);
        blocking(move || {
            let text = serde_json::to_vec(&note).map_err(Error::internal)?;
            replace(&import.folder.join(NOTE), &text).map_err(of_the_disk)?;
            import.state().note = note;
            Ok(())
        })
        .await
    }

    pub(crate) fn shown(&self) -> Shown {
        let state = self.state();
        let note = &state.note;
        Shown {
            id: self.id,
            stage: note.stage,
            bytes: note.bytes,
            received: state.received,
            replace: note.replace,
            progress: (note.stage == Stage::Running).then_some(state.progress),
            error: note.error.clone(),
            warnings: note.warnings.clone(),
            created_at: Timestamp::from_millis(note.created_at),
        }
    }

    /// Whether nobody has done anything with it for so long.
    fn is_old(&self, now: Timestamp) -> bool {
        let note = &self.state().note;
        note.stage != Stage::Running
            && note.touched_at + u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX)
                < now.as_millis()
    }
}

/// Whether this is the path of a request that brings a piece of an archive.
pub(crate) fn is_chunk(path: &str) -> bool {
    path.strip_prefix("/v1/imports/")
        .and_then(|rest| rest.strip_suffix("/chunk"))
        .is_some_and(|id| !id.contains('/'))
}

impl Eds {
    /// Announces an archive. One that was announced before and is not all there is the same one: its client goes on.
    pub(crate) async fn announce_import(
        &self,
        caller: &Caller,
        body: &Value,
    ) -> Result<(Shown, bool)> {
        caller.require_admin()?;
        let transfers = self.transfers()?;
        let (bytes, sha256) = announced(body)?;
        let known = transfers.imports.of(caller.backend.id);
        let same = known.iter().find(|import| {
            let note = import.note();
            sha256.is_some()
                && note.stage == Stage::Receiving
                && (note.bytes, &note.sha256) == (bytes, &sha256)
        });
        if let Some(same) = same {
            return Ok((same.shown(), false));
        }
        // What is there may be replaced, and does not count.
        if let Some(most) = self.0.store.backend_bytes_max(caller.backend.id)
            && bytes > most
        {
            return Err(Error::over_limit(format!(
                "the archive is larger than the {} MB that the quota of its account leaves for this backend; ask the \
                 server's operator for more",
                most >> 20
            )));
        }
        transfers.check_room(bytes)?;
        let now = self.now();
        for old in known.iter().skip(KEPT_EACH - 1) {
            // One that is being carried out or brought stays.
            match Arc::clone(&old.turn).try_lock_owned() {
                Ok(_turn) => transfers.imports.forget(old)?,
                Err(_) => {
                    return Err(Error::conflict(
                        "this backend is being brought several imports already; wait for one, or remove one",
                    ));
                }
            }
        }
        let id: ObjectId = self.0.ids.next(now);
        let folder = transfers.imports.folder.join(id.to_string());
        let import = Arc::new(Import {
            id,
            backend: caller.backend.id,
            folder: folder.clone(),
            state: Mutex::new(State {
                note: Note {
                    backend: caller.backend.id.to_string(),
                    bytes,
                    sha256,
                    stage: Stage::Receiving,
                    replace: false,
                    built_in: None,
                    error: None,
                    warnings: Vec::new(),
                    created_at: now.as_millis(),
                    touched_at: now.as_millis(),
                },
                received: 0,
                progress: Progress::default(),
                is_given_up: false,
            }),
            turn: Arc::default(),
        });
        blocking(move || make_private(&folder).map_err(of_the_disk)).await?;
        import.write_down(now, |_| {}).await?;
        transfers.imports.all().insert(id, Arc::clone(&import));
        Ok((import.shown(), true))
    }

    pub(crate) fn list_imports(&self, caller: &Caller) -> Result<Vec<Shown>> {
        caller.require_admin()?;
        let all = self.transfers()?.imports.of(caller.backend.id);
        Ok(all.iter().map(|import| import.shown()).collect())
    }

    pub(crate) fn find_import(&self, caller: &Caller, id: &str) -> Result<Arc<Import>> {
        caller.require_admin()?;
        let imports = &self.transfers()?.imports;
        let found = id
            .parse()
            .ok()
            .and_then(|id| imports.find(caller.backend.id, id));
        found.ok_or_else(|| Error::not_found("there is no such import; it may have been too old"))
    }

    /// Takes the next piece of an archive. What comes before the client goes is kept.
    pub(crate) async fn take_import_chunk(
        &self,
        caller: &Caller,
        id: &str,
        headers: &HeaderMap,
        mut inflow: Inflow,
    ) -> Result<Shown, Refusal> {
        let import = self.find_import(caller, id)?;
        let _turn = Arc::clone(&import.turn).try_lock_owned().map_err(|_| {
            Error::conflict(
                "a piece of this import is on its way already, or it is being carried out",
            )
        })?;
        let range = range(headers, &inflow)?;
        let (note, received) = (import.note(), import.state().received);
        if note.stage != Stage::Receiving {
            return Err(Error::conflict(
                "this import has its archive; announce a new one for another",
            )
            .into());
        }
        if range.total() != note.bytes {
            let message = format!("the archive was announced with {} bytes", note.bytes);
            return Err(Error::bad_request(message).into());
        }
        if range.start() > received {
            let message = format!("bytes are missing before this piece; go on at {received}");
            return Err(Error::bad_request(message).into());
        }
        self.transfers()?.check_room(range.length())?;
        let taken = self.take_bytes(&import, range, &mut inflow).await;
        import.write_down(self.now(), |_| {}).await?;
        taken?;
        Ok(import.shown())
    }

    async fn take_bytes(
        &self,
        import: &Arc<Import>,
        range: ContentRange,
        inflow: &mut Inflow,
    ) -> Result<(), Refusal> {
        let (mut at, path) = (range.start(), import.archive());
        let opened = blocking(move || {
            let mut options = File::options();
            options.create(true).write(true).truncate(false);
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path).map_err(of_the_disk)?;
            file.seek(SeekFrom::Start(at)).map_err(of_the_disk)?;
            Ok(file)
        });
        let mut file = opened.await?;
        let mut gathered = Vec::new();
        loop {
            let next = inflow.next().await;
            let is_over = !matches!(next, Ok(Some(_)));
            let fault = match next {
                Ok(Some(piece)) => {
                    add(&mut gathered, piece);
                    None
                }
                Ok(None) => None,
                Err(refusal) => Some(refusal),
            };
            let full = gathered.len() >= PIECE_BYTES || is_over;
            if full && !gathered.is_empty() {
                self.transfers()?.check_room(0)?;
                let bytes = std::mem::take(&mut gathered);
                let length = bytes.len() as u64;
                file = blocking(move || {
                    file.write_all(&bytes).map_err(of_the_disk)?;
                    if is_over {
                        file.sync_data().map_err(of_the_disk)?;
                    }
                    Ok(file)
                })
                .await?;
                at += length;
                let mut state = import.state();
                state.received = state.received.max(at);
            }
            match (fault, is_over) {
                (Some(refusal), _) => return Err(refusal),
                (None, true) if at < range.start() + range.length() => {
                    let message = format!("the piece ended before its end; go on at {at}");
                    return Err(Error::bad_request(message).into());
                }
                (None, true) => return Ok(()),
                (None, false) => {}
            }
        }
    }

    /// Begins to carry an import out.
    pub(crate) async fn start_import(
        &self,
        caller: &Caller,
        id: &str,
        body: &Value,
    ) -> Result<Shown> {
        let import = self.find_import(caller, id)?;
        let replace = match body.get("replace") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(replace)) => *replace,
            Some(_) => return Err(Error::invalid("replace", "must be true or false")),
        };
        let turn = Arc::clone(&import.turn).try_lock_owned().map_err(|_| {
            Error::conflict(
                "a piece of this import is on its way, or it is being carried out already",
            )
        })?;
        let (note, received) = (import.note(), import.state().received);
        if note.stage == Stage::Done {
            return Err(Error::conflict("this import is done"));
        }
        if received < note.bytes {
            let message = format!("the archive is not complete; go on at {received}");
            return Err(Error::conflict(message));
        }
        // Before anything is worked out for nothing; it is looked at again in the end.
        if !replace && !caller.backend.is_empty().await? {
            return Err(Error::conflict(
                "the backend is not empty; say `\"replace\": true` to lose all that is in it, or import into another \
                 backend",
            ));
        }
        let room = self.transfers()?.room(caller.backend.id).await?;
        import
            .write_down(self.now(), |note| {
                note.stage = Stage::Running;
                note.replace = replace;
                note.error = None;
                note.warnings.clear();
            })
            .await?;
        let (eds, author, running) = (self.clone(), caller.author(self), Arc::clone(&import));
        self.0
            .people
            .tasks
            .spawn("carry out an import", async move {
                let _both = (turn, room);
                let replaced = match replace {
                    true => Replaced::Any,
                    false => Replaced::Empty,
                };
                let outcome = eds.carry_out_import(&running, replaced, author).await;
                eds.conclude_import(&running, outcome).await;
            });
        Ok(import.shown())
    }

    async fn conclude_import(&self, import: &Arc<Import>, outcome: Result<Vec<String>>) {
        let backend = import.backend;
        let written = match outcome {
            Ok(warnings) => {
                tracing::info!(%backend, import = %import.id, "an import was carried out");
                let written = import.write_down(self.now(), |note| {
                    note.stage = Stage::Done;
                    note.built_in = None;
                    note.warnings = warnings;
                });
                let written = written.await;
                // It is of no use any more.
                let _ = fs::remove_file(import.archive());
                written
            }
            Err(error) => {
                tracing::warn!(
                    %backend,
                    import = %import.id,
                    error = &error as &dyn std::error::Error,
                    "an import failed, and nothing was changed"
                );
                let why = error.message.clone();
                let fields: Vec<String> = error
                    .fields
                    .iter()
                    .map(|fault| format!("`{}` {}", fault.property, fault.message))
                    .collect();
                let why = match fields.is_empty() {
                    true => why,
                    false => fields.join(", "),
                };
                import
                    .write_down(self.now(), |note| {
                        note.stage = Stage::Failed;
                        note.built_in = None;
                        note.error = Some(why);
                    })
                    .await
            }
        };
        if let Err(error) = written {
            tracing::error!(
                %backend,
                error = &error as &dyn std::error::Error,
                "what became of an import could not be written down; it is found out when the server starts again"
            );
        }
    }

    /// Gives an import up, with what came of its archive.
    pub(crate) async fn remove_import(&self, caller: &Caller, id: &str) -> Result<()> {
        let import = self.find_import(caller, id)?;
        import.state().is_given_up = true;
        let _turn = tokio::time::timeout(Duration::from_secs(10), import.turn.lock())
            .await
            .map_err(|_| {
                Error::unavailable("the import is still being given up; try again in a moment")
            })?;
        let import = Arc::clone(&import);
        let eds = self.clone();
        blocking(move || eds.transfers()?.imports.forget(&import)).await
    }

    /// Finds out what became of imports that ran when the server stopped, and looks after all of them from then on.
    pub(crate) async fn look_after_imports(&self) {
        let Ok(transfers) = self.transfers() else {
            return;
        };
        for import in transfers.imports.everything() {
            if import.note().stage == Stage::Running
                && let Err(error) = self.recover_import(&import).await
            {
                tracing::error!(
                    import = %import.id,
                    error = &error as &dyn std::error::Error,
                    "it could not be found out what became of an import when the server stopped"
                );
            }
        }
        let tasks = &self.0.people.tasks;
        loop {
            for import in transfers.imports.everything() {
                let id = import.backend.to_string();
                let found = self.0.directory.find(Provider::Eds, &id).await;
                let is_orphan = matches!(found, Ok(None));
                if (is_orphan || import.is_old(self.now()))
                    && let Ok(_turn) = import.turn.try_lock()
                    && let Err(error) = transfers.imports.forget(&import)
                {
                    tracing::warn!(import = %import.id, %error, "an old import could not be removed");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    async fn recover_import(&self, import: &Arc<Import>) -> Result<()> {
        let _turn = import.turn.lock().await;
        let note = import.note();
        let backend = self.0.store.backend(import.backend);
        let happened = backend.is_outcome_of(import.id.to_string()).await?;
        if let Some(built_in) = note.built_in.as_ref().and_then(|id| id.parse().ok()) {
            self.0.store.delete_backend(built_in).await?;
        }
        match happened {
            true => {
                self.after_import(import.backend).await?;
                self.conclude_import(import, Ok(note.warnings)).await;
            }
            false => {
                let stopped = Error::unavailable(
                    "the server stopped while this import was carried out, and nothing was changed; start it again",
                );
                self.conclude_import(import, Err(stopped)).await;
            }
        }
        Ok(())
    }
}

fn add(gathered: &mut Vec<u8>, piece: Bytes) {
    match gathered.is_empty() {
        true => *gathered = piece.into(),
        false => gathered.extend_from_slice(&piece),
    }
}

/// How long an archive will be, and its checksum.
fn announced(body: &Value) -> Result<(u64, Option<String>)> {
    let bytes = body.get("bytes").and_then(Value::as_u64);
    let bytes = bytes.filter(|bytes| (1..=BYTES_MAX).contains(bytes));
    let bytes = bytes.ok_or_else(|| {
        Error::invalid(
            "bytes",
            format!("must be the length of the archive, {BYTES_MAX} at most"),
        )
    })?;
    let sha256 = match body.get("sha256") {
        None | Some(Value::Null) => None,
        Some(Value::String(sum)) if sum.parse::<pilvi_model::Digest>().is_ok() => Some(sum.clone()),
        Some(_) => {
            return Err(Error::invalid(
                "sha256",
                "must be the SHA-256 of the archive in 64 lower-case hex characters",
            ));
        }
    };
    Ok((bytes, sha256))
}

fn range(headers: &HeaderMap, inflow: &Inflow) -> Result<ContentRange> {
    let Some(value) = headers.get(CONTENT_RANGE) else {
        return Err(Error::bad_request(
            "a piece of an archive needs the header Content-Range: bytes START-END/TOTAL, such as 0-1023/4096",
        ));
    };
    let length = inflow.length().ok_or_else(|| {
        Error::bad_request("a piece of an archive needs the header Content-Length; send it without chunked encoding")
    })?;
    ContentRange::parse(value.as_bytes(), length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_archive_is_announced_with_its_length() {
        let sum = "ab".repeat(32);
        assert_eq!(announced(&json!({"bytes": 7})).unwrap(), (7, None));
        let both = announced(&json!({"bytes": 7, "sha256": sum})).unwrap();
        assert_eq!(both, (7, Some(sum.clone())));
        for wrong in [
            json!({}),
            json!({"bytes": 0}),
            json!({"bytes": "7"}),
            json!({"bytes": BYTES_MAX + 1}),
            json!({"bytes": 7, "sha256": sum.to_uppercase()}),
            json!({"bytes": 7, "sha256": 1}),
        ] {
            assert!(announced(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_pieces_of_archives_may_be_long() {
        assert!(is_chunk("/v1/imports/51cdbc08989e975ec300772a/chunk"));
        for other in [
            "/v1/imports",
            "/v1/imports/51cdbc08989e975ec300772a",
            "/v1/imports/51cdbc08989e975ec300772a/start",
            "/v1/imports/a/b/chunk",
            "/v1/objects/imports/chunk",
        ] {
            assert!(!is_chunk(other), "{other}");
        }
    }
}
