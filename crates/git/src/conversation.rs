//! One git process and its client, whichever door the client came through.
//!
//! The door holds two ends: what goes into git, and what comes out of it. Dropping the first is the end of the client's
//! words; dropping the second says that the client is gone. Both are bounded, so that a slow side slows the other.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{Fuse, FusedFuture};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use crate::command::{ask, git, not_started};
use crate::git::{Expected, Place, Shared};

/// The door's ends of the lines to a git process.
pub(crate) struct Conversation {
    pub(crate) input: mpsc::Sender<Bytes>,
    pub(crate) output: mpsc::Receiver<Piece>,
}

/// What comes out of git.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Output(Bytes),
    /// Words for people.
    Complaint(Bytes),
    /// The last piece: how git ended.
    Exit(u8),
}

/// What goes with the process and ends with it.
pub(crate) struct Work {
    pub(crate) shared: Arc<Shared>,
    pub(crate) app: String,
    pub(crate) _place: Place,
    /// Only for a push.
    pub(crate) reception: Option<Expected>,
}

/// Pieces that wait in each direction.
const PIECES_MAX: usize = 4;

/// The largest piece.
const PIECE_MAX: usize = 32 << 10;

/// How long git may take to end once it was asked to.
const TERMINATION: Duration = Duration::from_secs(3);

/// A push that was cut off early is read on for its client's sake, who looks for the reason only after the last byte.
/// It is not read for ever, and not while nothing comes.
const DISCARDED_MAX: usize = 8 << 30;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
const DISCARD_TIMEOUT_ALL: Duration = Duration::from_secs(15 * 60);

/// What git's exit code is when it was ended by a signal.
const KILLED: u8 = 128;

impl Conversation {
    pub(crate) fn start(mut command: Command, work: Work) -> io::Result<Self> {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own helpers and the hook end together with it.
            .process_group(0)
            .spawn()
            .map_err(not_started)?;
        let (input, from_client) = mpsc::channel(PIECES_MAX);
        let (to_client, output) = mpsc::channel(PIECES_MAX);
        let tasks = work.shared.tasks.clone();
        tasks.spawn("git process", converse(child, work, from_client, to_client));
        Ok(Self { input, output })
    }
}

async fn converse(
    mut child: Child,
    work: Work,
    from_client: mpsc::Receiver<Bytes>,
    to_client: mpsc::Sender<Piece>,
) {
    let Some(stdin) = child.stdin.take() else {
        return;
    };
    let group = Group::of(&child);
    let moved = Moved::default();
    let is_cut_off = AtomicBool::new(false);
    let mut feeding = pin!(feed(stdin, from_client, &moved, &is_cut_off).fuse());
    let status = {
        let mut serving = pin!(serve(&mut child, feeding.as_mut(), &to_client, &moved));
        tokio::select! {
            status = &mut serving => status,
            () = lost(&work, &to_client, &moved) => part(&work, &group, serving).await,
        }
    };
    group.forget();
    let code = match status {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()),
        Err(_) => None,
    };
    if code == Some(0) {
        work.finish().await;
    }
    drop(work);
    hear_out(feeding, &is_cut_off).await;
    let _ = to_client.send(Piece::Exit(code.unwrap_or(KILLED))).await;
}

/// Carries bytes both ways until git ends.
async fn serve(
    child: &mut Child,
    mut feeding: Pin<&mut Fuse<impl Future<Output = ()>>>,
    to_client: &mpsc::Sender<Piece>,
    moved: &Moved,
) -> io::Result<ExitStatus> {
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let ended = async {
        tokio::join!(
            pump(stdout, to_client, Piece::Output, moved),
            pump(stderr, to_client, Piece::Complaint, moved),
        );
        child.wait().await
    };
    let mut ended = pin!(ended);
    loop {
        tokio::select! {
            status = &mut ended => return status,
            // Once over, it stays pending.
            () = &mut feeding => {}
        }
    }
}

/// Carries the client's words to git. When git stops listening before the client has said everything, the rest is
/// heard and forgotten: the client looks for the reason only after its last word.
async fn feed(
    stdin: ChildStdin,
    mut from_client: mpsc::Receiver<Bytes>,
    moved: &Moved,
    is_cut_off: &AtomicBool,
) {
    let mut stdin = stdin;
    while let Some(piece) = from_client.recv().await {
        if stdin.write_all(&piece).await.is_err() {
            is_cut_off.store(true, Ordering::Relaxed);
            break;
        }
        moved.step();
    }
    drop(stdin);
    let mut discarded = 0;
    while discarded < DISCARDED_MAX {
        match tokio::time::timeout(DISCARD_TIMEOUT, from_client.recv()).await {
            Ok(Some(piece)) => discarded += piece.len(),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Lets a client that was cut off come to its end, after which it reads why.
async fn hear_out(mut feeding: Pin<&mut Fuse<impl Future<Output = ()>>>, is_cut_off: &AtomicBool) {
    // Words that were on their way to git when it ended find out now.
    for patience in [Duration::from_millis(50), DISCARD_TIMEOUT_ALL] {
        if feeding.is_terminated() {
            return;
        }
        let _ = tokio::time::timeout(patience, feeding.as_mut()).await;
        if !is_cut_off.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Carries git's words to the client; when that has gone, to nobody.
async fn pump(
    mut from_git: impl AsyncRead + Unpin,
    to_client: &mpsc::Sender<Piece>,
    wrap: fn(Bytes) -> Piece,
    moved: &Moved,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE_MAX);
        match (&mut from_git)
            .take(PIECE_MAX as u64)
            .read_buf(&mut buffer)
            .await
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let _ = to_client.send(wrap(buffer.split().freeze())).await;
        moved.step();
    }
}

/// Resolves when there is no use in going on: the client is gone, the server stops, or nothing moves.
async fn lost(work: &Work, to_client: &mpsc::Sender<Piece>, moved: &Moved) {
    tokio::select! {
        () = to_client.closed() => {}
        () = work.shared.tasks.stopping() => {}
        () = moved.stalled(work.shared.limits.stall_timeout) => {}
    }
}

/// Lets git end after the client was lost, and makes it end when it does not.
async fn part(
    work: &Work,
    group: &Group,
    mut serving: Pin<&mut impl Future<Output = io::Result<ExitStatus>>>,
) -> io::Result<ExitStatus> {
    let mut farewell = Duration::ZERO;
    if let Some(expected) = &work.reception {
        expected.reception.abandoned.cancel();
        // A push may be at the point where it is done better than undone.
        farewell = work.shared.limits.farewell;
    }
    for (patience, signal) in [(farewell, Signal::TERM), (TERMINATION, Signal::KILL)] {
        if let Ok(served) = tokio::time::timeout(patience, &mut serving).await {
            return served;
        }
        group.signal(signal);
    }
    let served = tokio::time::timeout(TERMINATION, serving).await;
    served.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl Work {
    /// What is to be done after a push that git ended well.
    async fn finish(&self) {
        let Some(expected) = &self.reception else {
            return;
        };
        let (is_accepted, deployed) = {
            let progress = expected.reception.progress();
            (progress.accepted, progress.deployed.clone())
        };
        if let Some(deploy) = deployed
            && let Err(error) = self.point_head(&deploy.branch).await
        {
            tracing::warn!(%error, app = self.app, "HEAD could not be set to the deployed branch");
        }
        if is_accepted {
            self.shared.tidy(&self.app);
        }
    }

    /// A clone then begins with what is deployed.
    async fn point_head(&self, branch: &str) -> io::Result<()> {
        let repository = self.shared.repositories.path(&self.app)?;
        let name = format!("refs/heads/{branch}");
        let head = tokio::fs::read_to_string(repository.join("HEAD")).await?;
        if head.trim_end() == format!("ref: {name}") {
            return Ok(());
        }
        let command = git(&repository, &[]);
        ask(command, &["symbolic-ref", "HEAD", &name])
            .await?
            .text()?;
        Ok(())
    }
}

/// A process group that does not outlive this value.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // None of it may be left, which is what was wanted.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Its number is free for others from now on.
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Counts pieces, so that a standstill shows.
#[derive(Default)]
struct Moved(AtomicU64);

impl Moved {
    fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    async fn stalled(&self, timeout: Duration) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(timeout).await;
            let now = self.0.load(Ordering::Relaxed);
            if now == seen {
                return;
            }
            seen = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that speaks to the end before it listens, as over HTTP, must not wait for a git that has closed its
    /// ears and waits to be heard itself.
    #[tokio::test]
    async fn a_client_that_is_cut_off_says_all_before_it_listens() {
        const SAID: usize = 200_000;
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec <&-; head -c {SAID} /dev/zero")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, from_client) = mpsc::channel(1);
        let (to_client, mut output) = mpsc::channel(1);
        let (moved, is_cut_off) = (Moved::default(), AtomicBool::new(false));
        let stdin = child.stdin.take().unwrap();
        let mut feeding = pin!(feed(stdin, from_client, &moved, &is_cut_off).fuse());
        let serving = async {
            let status = serve(&mut child, feeding.as_mut(), &to_client, &moved).await;
            assert!(status.unwrap().success());
            hear_out(feeding.as_mut(), &is_cut_off).await;
        };
        let client = async {
            for _ in 0..100 {
                let _ = input.send(Bytes::from(vec![0; PIECE_MAX])).await;
            }
            drop(input);
            let mut heard = 0;
            while heard < SAID {
                match output.recv().await {
                    Some(Piece::Output(bytes)) => heard += bytes.len(),
                    other => panic!("{other:?} instead of output"),
                }
            }
        };
        let both = async { tokio::join!(serving, client) };
        let ended = tokio::time::timeout(Duration::from_secs(30), both).await;
        assert!(ended.is_ok(), "both sides wait for each other");
        assert!(is_cut_off.load(Ordering::Relaxed));
    }
}
