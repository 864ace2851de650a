//! The repositories on disk: one bare repository for each app.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use pilvi_model::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::process::{Child, ChildStdout};

use crate::Quarantine;
use crate::app_name::is_app_name;
use crate::command::{ask, failure, git, not_started, see_quarantine};
use crate::leftovers;

/// All repositories below one folder, as `<app>/repository.git`. Cloning gives another handle.
#[derive(Clone, Debug)]
pub struct Repositories {
    folder: Arc<PathBuf>,
}

/// How the names of repositories begin that are still being made, and already being removed.
pub(crate) const DRAFT: &str = "draft-";
pub(crate) const REMOVED: &str = "removed-";

/// The name of an app's repository in its folder.
pub(crate) const REPOSITORY: &str = "repository.git";

/// What git says about a failure at most.
const COMPLAINT_MAX: u64 = 64 << 10;

impl Repositories {
    /// The repositories below `folder`. What an interrupted push left behind is cleared away.
    pub fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        // Git runs in the repository itself, where a relative path means something else.
        let folder = folder.canonicalize()?;
        leftovers::clear(&folder)?;
        Ok(Self {
            folder: Arc::new(folder),
        })
    }

    /// Makes the app's repository, empty, with `HEAD` on `master`. One that is there stays as it is.
    pub async fn create(&self, app: &str) -> Result<()> {
        self.make(app).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::unavailable(
                "git is not installed on this server; its operator has to install it",
            )
            .caused_by(error),
            _ => Error::internal(error),
        })
    }

    async fn make(&self, app: &str) -> io::Result<()> {
        let repository = self.path(app)?;
        if repository.join("HEAD").is_file() {
            return Ok(());
        }
        let parent = repository.parent().unwrap_or(&self.folder).to_owned();
        tokio::fs::create_dir_all(&parent).await?;
        // Git makes it elsewhere first: a repository that has its name is whole.
        let draft = parent.join(format!(
            "{DRAFT}{}.git",
            pilvi_base::secret::random_hex::<8>()
        ));
        tokio::fs::create_dir(&draft).await?;
        let arguments = ["init", "--quiet", "--bare", "--template=", "."];
        ask(git(&draft, &[]), &arguments).await?.text()?;
        match tokio::fs::rename(&draft, &repository).await {
            // Somebody else was first.
            Err(_) if repository.join("HEAD").is_file() => tokio::fs::remove_dir_all(&draft).await,
            made => made,
        }
    }

    /// Empties the app's repository. What runs goes on running.
    pub async fn reset(&self, app: &str) -> Result<()> {
        self.remove(app).await?;
        self.create(app).await
    }

    /// Removes the app's repository. None there is fine.
    pub async fn remove(&self, app: &str) -> Result<()> {
        let removed = async {
            let repository = self.path(app)?;
            let hidden = repository.with_file_name(format!(
                "{REMOVED}{}.git",
                pilvi_base::secret::random_hex::<8>()
            ));
            // Whoever opens the repository from now on finds none, rather than half of one.
            match tokio::fs::rename(&repository, &hidden).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                renamed => renamed?,
            }
            tokio::fs::remove_dir_all(&hidden).await
        };
        removed.await.map_err(Error::internal)
    }

    /// Gives the repository of one app to another, in the place of what that one has; a push that is under way fails or
    /// lands in the new one. Where there is none to be given, the other is left without.
    pub async fn replace(&self, app: &str, with: &str) -> Result<()> {
        let replaced = async {
            let (to, from) = (self.path(app)?, self.path(with)?);
            match tokio::fs::try_exists(&from).await? {
                false => return self.remove(app).await.map_err(io::Error::other),
                true => self.remove(app).await.map_err(io::Error::other)?,
            }
            tokio::fs::rename(&from, &to).await?;
            tokio::fs::File::open(to.parent().unwrap_or(&to))
                .await?
                .sync_all()
                .await
        };
        replaced.await.map_err(Error::internal)
    }

    /// How many bytes the app's repository takes on disk.
    pub async fn size(&self, app: &str) -> Result<u64> {
        let repository = self.path(app).map_err(Error::internal)?;
        let measured = tokio::task::spawn_blocking(move || size_of(&repository)).await;
        measured.map_err(Error::internal)?.map_err(Error::internal)
    }

    /// The files of a commit as an uncompressed tar, with the rules of `.gitattributes`.
    pub fn archive(&self, app: &str, commit: &str, quarantine: &Quarantine) -> Result<Archive> {
        self.start_archive(app, commit, quarantine)
            .map_err(Error::internal)
    }

    fn start_archive(
        &self,
        app: &str,
        commit: &str,
        quarantine: &Quarantine,
    ) -> io::Result<Archive> {
        if !is_hash(commit) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the commit to archive is no full hash",
            ));
        }
        let mut command = git(&self.path(app)?, &[]);
        see_quarantine(&mut command, quarantine);
        command
            .args(["archive", "--format=tar", commit])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(not_started)?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Archive {
            stdout,
            state: State::Reading(Some(child)),
        })
    }

    /// Where the repository is, there or not.
    pub(crate) fn path(&self, app: &str) -> io::Result<PathBuf> {
        if !is_app_name(app) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this is not the name of an app",
            ));
        }
        Ok(self.folder.join(app).join(REPOSITORY))
    }
}

/// Whether this is the full hash of an object.
pub(crate) fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn size_of(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Files come and go while git works.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => bytes += metadata.len(),
                Err(_) => {}
            }
        }
    }
    Ok(bytes)
}

/// The tar of a commit while git writes it. An end is only reported after git ended well, so that half an archive is
/// an error and never a small project.
pub struct Archive {
    stdout: ChildStdout,
    state: State,
}

enum State {
    Reading(Option<Child>),
    /// All was read; what git thinks of it is still to come.
    Ending(BoxFuture<'static, io::Result<()>>),
    Ended,
}

impl AsyncRead for Archive {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let archive = &mut *self;
            match &mut archive.state {
                State::Reading(child) => {
                    let before = buffer.filled().len();
                    ready!(Pin::new(&mut archive.stdout).poll_read(cx, buffer))?;
                    if buffer.filled().len() > before || buffer.remaining() == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    let child = child.take();
                    archive.state = State::Ending(Box::pin(ended_well(child)));
                }
                State::Ending(ending) => {
                    let outcome = ready!(ending.as_mut().poll(cx));
                    archive.state = State::Ended;
                    return Poll::Ready(outcome);
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
        }
    }
}

async fn ended_well(child: Option<Child>) -> io::Result<()> {
    let Some(mut child) = child else {
        return Ok(());
    };
    let mut complaint = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr
            .take(COMPLAINT_MAX)
            .read_to_end(&mut complaint)
            .await?;
    }
    match child.wait().await?.success() {
        true => Ok(()),
        false => Err(failure(&complaint)),
    }
}
