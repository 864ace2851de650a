//! `pilvi backup`: what is on a server in one file, and back.
//!
//! Making a backup, and restoring an instance from one, is asked of the server. Looking into a file, and making a new
//! server's folder from one, is done where the file is: see [`Backup::local`], which the binary carries out.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use pilvi_backup::{Bounds, Manifest};
use pilvi_base::secret::random_hex;
use serde_json::{Value, json};

use crate::bytes::in_words;
use crate::connection::Connection;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::file_body::FileBody;
use crate::progress::Progress;
use crate::session::{Session, array, text};
use crate::url::segment;

const PIECE_BYTES: usize = 128 << 10;
/// A server that lays out a large database says nothing for a while.
const SILENCE_MAX: Duration = Duration::from_secs(30 * 60);

/// See the verbs.
#[derive(Args, Clone, Debug)]
pub struct Backup {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Write an instance, or a whole server, into a file; everything goes on meanwhile
    Create(Create),
    /// Make an instance from its backup, or a server's folder from that of a server
    Restore(Restore),
    /// See whether a backup is whole and what is in it, without a server
    Verify(Verify),
}

#[derive(Args, Clone, Debug)]
struct Create {
    /// The instance, or none for the whole server, which takes an operator
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Put the server's keys into the file, which then opens everything: keep it like a password
    #[arg(long, conflicts_with = "instance")]
    include_key: bool,
    /// Where to write it; a file that is there already stays
    file: PathBuf,
}

#[derive(Args, Clone, Debug)]
struct Restore {
    /// The backup
    file: PathBuf,
    /// Call the restored instance this
    #[arg(long)]
    name: Option<String>,
    /// Restore under the old id, with the old security tokens; the id must be free
    #[arg(long, conflicts_with = "to")]
    same_id: bool,
    /// Restore under the old id in the place of the instance that has it now, which is lost
    #[arg(long, conflicts_with_all = ["to", "name"])]
    in_place: bool,
    /// Restore a whole server into this new folder, on this machine; then start it with `pilvi serve --data DIR`
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The key file of the server that was backed up, where the backup does not hold it
    #[arg(long, value_name = "FILE", requires = "to")]
    key: Option<PathBuf>,
    /// Restore without the server's keys: what is sealed is lost, and tokens of accounts and instances change
    #[arg(long, requires = "to", conflicts_with = "key")]
    without_key: bool,
    /// Do not ask before an instance is replaced
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Clone, Debug)]
struct Verify {
    /// The backup
    file: PathBuf,
    /// The key file of the server that was backed up, to see whether the backup is as that server made it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// What needs no server, only the file.
#[derive(Clone, Debug)]
pub enum Local {
    /// Looks into a backup.
    Verify {
        file: PathBuf,
        key: Option<PathBuf>,
        json: bool,
    },
    /// Makes a server's folder.
    Restore {
        file: PathBuf,
        to: PathBuf,
        key: LocalKey,
        json: bool,
    },
}

/// Which keys a restored server gets.
#[derive(Clone, Debug)]
pub enum LocalKey {
    /// Those in the backup.
    Archived,
    /// Those of this file.
    File(PathBuf),
    /// New ones.
    New,
}

impl Backup {
    /// What is to be done without a server, if this is such a verb.
    pub fn local(&self) -> Option<Local> {
        let json = self.connection.wants_json();
        match &self.verb {
            Verb::Verify(verify) => Some(Local::Verify {
                file: verify.file.clone(),
                key: verify.key.clone(),
                json,
            }),
            Verb::Restore(restore) => Some(Local::Restore {
                file: restore.file.clone(),
                to: restore.to.clone()?,
                key: match (&restore.key, restore.without_key) {
                    (Some(file), _) => LocalKey::File(file.clone()),
                    (None, true) => LocalKey::New,
                    (None, false) => LocalKey::Archived,
                },
                json,
            }),
            Verb::Create(_) => None,
        }
    }

    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        match &self.verb {
            Verb::Create(create) => create.carry_out(session).await,
            Verb::Restore(restore) => restore.carry_out(session).await,
            // The binary does it.
            Verb::Verify(_) => Ok(0),
        }
    }
}

impl Create {
    async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let file = session.place.folder.join(&self.file);
        if file.exists() {
            return Err(Failure::usage(
                format!("{} is there already", self.file.display()),
                "name a file that is not there yet",
            ));
        }
        if self.include_key {
            session.screen.note(
                "The file will hold the server's keys: whoever has it can read every secret in it. Keep it like a \
                 password.",
            )?;
        }
        let resource = match &self.instance {
            Some(id) => format!("instances/{}/backup", segment(id)),
            None if self.include_key => "server/backup?include_key=true".to_owned(),
            None => "server/backup".to_owned(),
        };
        let draft = Draft::new(&file)?;
        let manifest = fetch(session, &resource, &draft).await.map_err(|failure| {
            failure
                .on(
                    Code::Forbidden,
                    "name one of your instances with --instance ID; a whole server takes the token of an operator",
                )
                .on(
                    Code::NotFound,
                    "see `pilvi instances list` for the instances that there are",
                )
        })?;
        let bytes = draft.keep_as(&file)?;
        for what in &manifest.left_out {
            session.screen.note(&format!("Not in it: {what}."))?;
        }
        let shown = json!({
            "file": file.display().to_string(),
            "bytes": bytes,
            "files": manifest.files.len(),
            "createdAt": manifest.created_at,
            "leftOut": manifest.left_out,
        });
        let name = self.file.display();
        session.done(
            &shown,
            &format!(
                "Wrote {} into {name}: {} files, {}. It was compared with its checksums; `pilvi backup verify {name}` \
                 looks into its databases, too.",
                manifest.title(),
                manifest.files.len(),
                in_words(bytes)
            ),
        )
    }
}

/// Writes an answer into a file while it comes, and then compares it with what it says about itself.
async fn fetch(session: &mut Session<'_, '_>, resource: &str, draft: &Draft) -> Result<Manifest> {
    let body = session.client.open(&session.platform, resource).await?;
    let progress = Progress::of_bytes(session.screen, "backing up", None);
    receive(body, draft, &progress).await?;
    drop(progress);
    let opened = File::open(&draft.path).map_err(|error| unwritable(&error))?;
    let checked = pilvi_backup::check(
        BufReader::with_capacity(PIECE_BYTES, opened),
        Bounds::default(),
    );
    match checked {
        Ok(unpacked) => Ok(unpacked.manifest),
        Err(pilvi_backup::Error::CutShort) => Err(broken_off("the backup ended before its end")),
        Err(error) => Err(Failure::failed(
            error.to_string(),
            "try again; if it stays so, the server's log tells its operator why",
        )),
    }
}

/// Writes an answer into a file while it comes; it is on disk then.
pub(crate) async fn receive(mut body: Incoming, draft: &Draft, progress: &Progress) -> Result<()> {
    let mut file = &draft.file;
    loop {
        let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
        let frame = frame.map_err(|_| broken_off("the server sent nothing for half an hour"))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| broken_off(&error.to_string()))?;
        if let Ok(bytes) = frame.into_data() {
            file.write_all(&bytes).map_err(|error| unwritable(&error))?;
            progress.add(bytes.len() as u64);
        }
    }
    file.sync_all().map_err(|error| unwritable(&error))
}

fn broken_off(why: &str) -> Failure {
    Failure::new(
        Code::Unreachable,
        format!("the archive broke off: {why}"),
        "try again; nothing was kept of this one",
    )
}

/// A file that is not whole yet, and goes unless it is kept. It is locked, so that what a command that was killed left
/// behind can be told from it.
pub(crate) struct Draft {
    pub(crate) path: PathBuf,
    file: File,
}

impl Draft {
    /// Only its owner may read it: it holds everything.
    pub(crate) fn new(file: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        clear_drafts(file, &name);
        let path = file.with_file_name(format!(".{name}.{}.part", random_hex::<4>()));
        let opened = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let opened = opened.map_err(|error| unwritable(&error))?;
        // Where files cannot be locked, nothing is cleared away either.
        let _ = opened.try_lock();
        Ok(Self { path, file: opened })
    }

    /// Gives the file its name, which nothing has; returns its length.
    pub(crate) fn keep_as(&self, file: &Path) -> Result<u64> {
        let kept = || {
            let length = fs::metadata(&self.path)?.len();
            fs::hard_link(&self.path, file).or_else(|error| match error.kind() {
                // Not every file system has hard links.
                io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied => {
                    fs::rename(&self.path, file)
                }
                _ => Err(error),
            })?;
            Ok(length)
        };
        kept().map_err(|error: io::Error| unwritable(&error))
    }
}

fn unwritable(error: &io::Error) -> Failure {
    let next = match error.kind() {
        io::ErrorKind::StorageFull => "make room on its disk, or name a file elsewhere",
        _ => "name a file in a folder that you can write to",
    };
    Failure::failed(format!("the file could not be written: {error}"), next)
}

/// Removes what earlier commands for the same file left behind when they were killed. One that cannot be removed does
/// no harm.
fn clear_drafts(file: &Path, name: &str) {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new(".")))
        .into_iter()
        .flatten();
    for entry in entries.flatten() {
        let found = entry.file_name();
        let middle = found.to_str().and_then(|found| {
            let rest = found.strip_prefix('.')?.strip_prefix(name)?;
            rest.strip_prefix('.')?.strip_suffix(".part")
        });
        let is_draft = middle.is_some_and(|middle| {
            middle.len() == 8 && middle.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        if is_draft && File::open(entry.path()).is_ok_and(|left| left.try_lock().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It has its name by now, or is of no use.
        let _ = fs::remove_file(&self.path);
    }
}

impl Restore {
    async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let path = session.place.folder.join(&self.file);
        let manifest = self.look_into(&path)?;
        let pilvi_backup::Kind::Instance(record) = &manifest.kind else {
            return Err(Failure::usage(
                format!("{} is the backup of a whole server", self.file.display()),
                "restore it into a new folder on the server's machine, with --to DIR",
            ));
        };
        if self.in_place {
            session.confirm_removal(
                &record.id,
                "What is in it now is replaced by the backup",
                self.yes,
            )?;
        }
        let account = session.account().await?;
        let resource = self.resource(&account.id, &record.id);
        let file = File::open(&path).map_err(|error| unreadable(&self.file, &error))?;
        let length = file
            .metadata()
            .map_err(|error| unreadable(&self.file, &error))?
            .len();
        let progress = Progress::of_bytes(session.screen, "restoring", Some(length));
        let body = FileBody { file, progress };
        let answer = session
            .client
            .bring(&session.platform, &resource, length, body.boxed_unsync())
            .await
            .map_err(|failure| {
                failure.on(
                    Code::Refused,
                    "leave --same-id out to restore a copy, or use --in-place to replace what is there",
                )
            })?;
        self.tell(session, &answer)
    }

    fn tell(&self, session: &mut Session<'_, '_>, answer: &Value) -> Outcome {
        for what in array(&answer["restored"]["missing"]) {
            session.screen.note(what.as_str().unwrap_or_default())?;
        }
        let line = format!(
            "Restored {} from the backup of {}, made at {}.",
            text(answer, "id"),
            text(&answer["restored"], "origin"),
            text(&answer["restored"], "madeAt"),
        );
        session.done(answer, &line)
    }

    /// A file that is no backup need not be sent to anybody.
    fn look_into(&self, path: &Path) -> Result<Manifest> {
        let file = File::open(path).map_err(|error| unreadable(&self.file, &error))?;
        let reader = BufReader::with_capacity(PIECE_BYTES, file);
        match pilvi_backup::check(reader, Bounds::default()) {
            Ok(unpacked) => Ok(unpacked.manifest),
            Err(error) => Err(Failure::usage(
                format!("{} cannot be restored: {error}", self.file.display()),
                "name a file that `pilvi backup create` wrote",
            )),
        }
    }

    fn resource(&self, account: &str, id: &str) -> String {
        let mut query = Vec::new();
        if let Some(name) = &self.name {
            query.push(format!("name={}", segment(name)));
        }
        if self.same_id || self.in_place {
            query.push(format!("id={}", segment(id)));
        }
        if self.in_place {
            query.push("replace=true".to_owned());
        }
        let mut resource = format!("accounts/{}/instances/restore", segment(account));
        if !query.is_empty() {
            resource.push('?');
            resource.push_str(&query.join("&"));
        }
        resource
    }
}

fn unreadable(file: &Path, error: &io::Error) -> Failure {
    Failure::usage(
        format!("{} cannot be read: {error}", file.display()),
        "name a file that `pilvi backup create` wrote",
    )
}
