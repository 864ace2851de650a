//! How git is called: with our settings and nothing of the machine's.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::Quarantine;

/// Where programs are looked for. The caller's own `PATH` might lead to a git of somebody else.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variable by which processes of ours are told from others after a restart; its value is the repository.
pub(crate) const MARK: &str = "PILVI_REPOSITORY";

/// How long a short question to git may take.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest answer to a short question, in bytes.
const ANSWER_MAX: u64 = 1 << 20;

/// The largest piece of memory that git may ask for at once. An object of a pack says itself how large it is, packs
/// zeros a thousand to one, and is held as a whole unless it is a file: without this, a push of a few megabytes would
/// take all the memory of the machine.
const PIECE_MAX: &str = "256m";

/// Settings that hold for every git process, whatever the repository's own file says.
const SETTINGS: &[(&str, &str)] = &[
    // Whoever owns the data folder, its repositories are ours.
    ("safe.directory", "*"),
    ("init.defaultBranch", "master"),
    // What is pushed is checked before it is kept. Three faults of old tools do no harm, and their owners cannot
    // change history for us.
    ("receive.fsckObjects", "true"),
    ("receive.fsck.zeroPaddedFilemode", "ignore"),
    ("receive.fsck.badTimezone", "ignore"),
    ("receive.fsck.missingSpaceBeforeDate", "ignore"),
    // Whoever may deploy may also rewrite; what is deleted is decided before.
    ("receive.denyNonFastForwards", "false"),
    ("receive.denyDeletes", "false"),
    ("receive.denyDeleteCurrent", "ignore"),
    ("receive.denyCurrentBranch", "ignore"),
    // A push stays one file, which is on disk before a branch names it.
    ("transfer.unpackLimit", "1"),
    ("core.fsync", "committed,loose-object"),
    // Cleaning up happens when we say so, and never in a process that nobody waits for.
    ("receive.autoGc", "false"),
    ("gc.autoDetach", "false"),
    ("maintenance.autoDetach", "false"),
    // Bounds of memory.
    ("core.bigFileThreshold", "32m"),
    ("pack.windowMemory", "64m"),
    ("pack.threads", "2"),
];

/// A git process for the repository in `folder`, not yet started. It dies with its handle.
pub(crate) fn git(repository: &Path, more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program());
    command
        .current_dir(repository)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", repository)
        .env(MARK, repository)
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_DIR", ".")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", "none")
        .env("GIT_ALLOC_LIMIT", PIECE_MAX)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let settings = SETTINGS.iter().chain(more).enumerate();
    for (number, (key, value)) in settings {
        command
            .env(format!("GIT_CONFIG_KEY_{number}"), key)
            .env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    command.env(
        "GIT_CONFIG_COUNT",
        (SETTINGS.len() + more.len()).to_string(),
    );
    command
}

/// Git's own path. A program that is named by its path is started without a copy of this process, which takes longer
/// the more memory the server has; and a push starts git many times.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut places = PATH.split(':').map(|folder| Path::new(folder).join("git"));
        // Without one, the attempt to start it says so.
        places
            .find(|place| place.is_file())
            .unwrap_or_else(|| PathBuf::from("git"))
    })
}

/// Lets git see the objects of a push that is not accepted yet.
pub(crate) fn see_quarantine(command: &mut Command, quarantine: &Quarantine) {
    for (name, folder) in &quarantine.variables {
        command.env(name, folder);
    }
}

/// Asks git something short. What git says on its way to failure becomes the error.
pub(crate) async fn ask<A: AsRef<OsStr>>(command: Command, arguments: &[A]) -> io::Result<Answer> {
    ask_within(QUESTION_TIMEOUT, command, arguments).await
}

/// The same for work that takes longer the more there is.
pub(crate) async fn ask_within<A: AsRef<OsStr>>(
    time: Duration,
    mut command: Command,
    arguments: &[A],
) -> io::Result<Answer> {
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let answering = async {
        let mut child = command.spawn().map_err(not_started)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (stdout, stderr) = tokio::join!(read_bounded(out), read_bounded(err));
        let status = child.wait().await?;
        Ok(Answer(Output {
            status,
            stdout: stdout?,
            stderr: stderr?,
        }))
    };
    tokio::time::timeout(time, answering)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "git took too long"))?
}

/// What git said.
pub(crate) struct Answer(Output);

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        self.0.status.success()
    }

    /// Its standard output without the line end, or why it failed.
    pub(crate) fn text(self) -> io::Result<String> {
        if !self.is_success() {
            return Err(failure(&self.0.stderr));
        }
        String::from_utf8(self.0.stdout)
            .map(|text| text.trim_end().to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "git did not answer in UTF-8"))
    }
}

/// The error of a git process, in its own last words.
pub(crate) fn failure(stderr: &[u8]) -> io::Error {
    let said = String::from_utf8_lossy(stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    io::Error::other(format!(
        "git failed: {}",
        last.unwrap_or("it did not say why")
    ))
}

/// Git could not even be started.
pub(crate) fn not_started(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::NotFound,
            "git is not installed on the server, or the repository is missing; as root, run apt-get install git",
        ),
        _ => error,
    }
}

async fn read_bounded(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        stream.take(ANSWER_MAX).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// A pack with one commit that claims to have so many bytes.
    fn pack_of_a_commit(length: u64) -> Vec<u8> {
        const COMMIT: u8 = 1;
        let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
        let mut byte = COMMIT << 4 | (length & 15) as u8;
        let mut left = length >> 4;
        while left > 0 {
            pack.push(byte | 0x80);
            byte = (left & 0x7f) as u8;
            left >>= 7;
        }
        pack.push(byte);
        pack
    }

    #[tokio::test]
    async fn a_small_pack_cannot_take_all_memory() {
        let folder = tempfile::tempdir().unwrap();
        ask(git(folder.path(), &[]), &["init", "--quiet", "--bare", "."])
            .await
            .unwrap()
            .text()
            .unwrap();
        let mut unpacking = git(folder.path(), &[])
            .args(["index-pack", "--stdin", "--strict"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = unpacking.stdin.take().unwrap();
        stdin.write_all(&pack_of_a_commit(1 << 30)).await.unwrap();
        drop(stdin);
        let output = unpacking.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(said.contains("over limit"), "{said}");
    }
}
