//! The server's side of the hook: decides over a push, and has it deployed while the pusher watches.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::command::{ask, git, see_quarantine};
use crate::git::Shared;
use crate::hook::through_folder;
use crate::rules::{self, Known};
use crate::turns::Turn;
use crate::wire::{self, EXIT, FRAME_MAX, REQUEST_MAX, Request, TEXT};
use crate::{Deploy, Output, Push, Pusher, Rejected, Update};

/// A push whose git process is running.
pub(crate) struct Reception {
    pub(crate) app: String,
    pub(crate) pusher: Pusher,
    pub(crate) peer: IpAddr,
    /// The pusher hung up, or the server stops.
    pub(crate) abandoned: CancellationToken,
    /// A plain mutex: held to put something in or to take it out.
    pub(crate) progress: Mutex<Progress>,
}

/// How far a push has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Held until git has moved the branches, so that the next push sees them moved.
    turn: Option<Turn>,
    /// What was deployed; git moves the branch next.
    pub(crate) deployed: Option<Deploy>,
    /// Whether the hook said yes.
    pub(crate) accepted: bool,
}

impl Reception {
    pub(crate) fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the hook may take to say what it has to say.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a pusher may leave lines unread.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// Pieces of output that wait for the pusher's line.
const PIECES_MAX: usize = 64;

pub(crate) fn bind(folder: &Path) -> io::Result<UnixListener> {
    through_folder(folder, |path| {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        UnixListener::bind(path)
    })
}

/// Answers hooks until the server stops.
pub(crate) async fn listen(shared: Arc<Shared>, listener: UnixListener) {
    let tasks = shared.tasks.clone();
    loop {
        let accepted = tokio::select! {
            () = tasks.stopping() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                tasks.spawn("git push", async move {
                    if let Err(error) = answer(&shared, stream).await {
                        tracing::debug!(%error, "a push ended early");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a git hook could not be answered");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(shared: &Arc<Shared>, stream: UnixStream) -> io::Result<()> {
    // The folder keeps strangers away already; this holds also where it was opened to them by mistake.
    if stream.peer_cred()?.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (mut from_hook, to_hook) = stream.into_split();
    let request = tokio::time::timeout(REQUEST_TIMEOUT, read_request(&mut from_hook)).await??;
    let Some(reception) = shared.take_reception(&request.token) else {
        return Err(io::Error::other(
            "a hook came with a token that is not known",
        ));
    };
    let (output, pieces) = Output::channel(PIECES_MAX);
    let verdict = decide(shared, &reception, request, output);
    carry(verdict, pieces, from_hook, to_hook, &reception.abandoned).await
}

async fn read_request(from_hook: &mut OwnedReadHalf) -> io::Result<Request> {
    let mut text = Vec::new();
    let mut from_hook = from_hook.take(REQUEST_MAX);
    while !text.ends_with(b"\nend\n") {
        if from_hook.read_buf(&mut text).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let text = std::str::from_utf8(&text).map_err(io::Error::other)?;
    wire::decode(text).ok_or_else(|| {
        io::Error::other("a git hook does not speak as this server does; restart the server")
    })
}

/// Runs the decision to its end and carries its output to the hook as it comes. Somebody who does not read any more
/// is taken for gone.
async fn carry(
    verdict: impl Future<Output = Result<(), Rejected>>,
    mut pieces: mpsc::Receiver<Bytes>,
    from_hook: OwnedReadHalf,
    mut to_hook: OwnedWriteHalf,
    abandoned: &CancellationToken,
) -> io::Result<()> {
    let mut verdict = pin!(verdict);
    let mut gone = pin!(ended(from_hook));
    let mut is_open = true;
    let verdict = loop {
        tokio::select! {
            biased;
            Some(piece) = pieces.recv(), if is_open => {
                if write_text(&mut to_hook, &piece).await.is_err() {
                    abandoned.cancel();
                    is_open = false;
                    pieces.close();
                }
            }
            () = &mut gone, if is_open => {
                abandoned.cancel();
                is_open = false;
                pieces.close();
            }
            verdict = &mut verdict => break verdict,
        }
    };
    while let Ok(piece) = pieces.try_recv() {
        write_text(&mut to_hook, &piece).await?;
    }
    let code = match verdict {
        Ok(()) => 0,
        Err(Rejected(reason)) => {
            if !reason.is_empty() {
                write_text(&mut to_hook, format!("{reason}\n").as_bytes()).await?;
            }
            1
        }
    };
    to_hook.write_all(&wire::frame_head(EXIT, 1)).await?;
    to_hook.write_all(&[code]).await
}

/// Resolves when the hook has died. It said all it had to say, so nothing else can come.
async fn ended(mut from_hook: OwnedReadHalf) {
    let _ = from_hook.read(&mut [0]).await;
}

async fn write_text(to_hook: &mut OwnedWriteHalf, text: &[u8]) -> io::Result<()> {
    for part in text.chunks(FRAME_MAX) {
        let writing = async {
            to_hook
                .write_all(&wire::frame_head(TEXT, part.len()))
                .await?;
            to_hook.write_all(part).await
        };
        tokio::time::timeout(READ_TIMEOUT, writing).await??;
    }
    Ok(())
}

/// Applies the rules, waits for the turn, and has the push deployed if there is something to deploy.
async fn decide(
    shared: &Arc<Shared>,
    reception: &Arc<Reception>,
    request: Request,
    output: Output,
) -> Result<(), Rejected> {
    let known = look_up(shared, reception, &request)
        .await
        .map_err(|error| broken(&error))?;
    let ruling = rules::judge(&request.updates, &known)?;
    for note in &ruling.notes {
        output.line(note).await;
    }
    note(reception, &request.updates);
    if let Some(deploy) = ruling.deploy {
        let turn = wait_for_turn(shared, reception, &output).await?;
        // From here on the turn lasts as long as the git process.
        reception.progress().turn = Some(turn);
        check_unmoved(shared, reception, &deploy).await?;
        let push = Push {
            app: reception.app.clone(),
            updates: request.updates,
            deploy: deploy.clone(),
            pusher: reception.pusher.clone(),
            peer: reception.peer,
            quarantine: request.quarantine,
            abandoned: reception.abandoned.clone(),
        };
        shared.deployer.push(push, output).await?;
        reception.progress().deployed = Some(deploy);
    }
    reception.progress().accepted = true;
    Ok(())
}

/// Writes a push into the server's log.
fn note(reception: &Reception, updates: &[Update]) {
    let who = match &reception.pusher {
        Pusher::Person { id, .. } => format!("person {id}"),
        Pusher::Account { id, person } => format!("person {person} for account {id}"),
        Pusher::Instance(id) => format!("instance {id}"),
    };
    let first = updates.first().map_or("", |update| &update.name);
    tracing::info!(
        target: "pilvi::audit",
        app = reception.app,
        who,
        peer = %reception.peer,
        updates = updates.len(),
        first,
        "pushed to an app's repository"
    );
}

/// Rewritten branches that are looked for in one push.
const REWRITTEN_MAX: usize = 16;

/// Finds out what the rules need to know beyond the push itself.
async fn look_up(shared: &Shared, reception: &Reception, request: &Request) -> io::Result<Known> {
    let repository = shared.repositories.path(&reception.app)?;
    let head = ask(git(&repository, &[]), &["symbolic-ref", "--quiet", "HEAD"]).await?;
    let mut known = Known {
        head: head.text().unwrap_or_default(),
        rewritten: Vec::new(),
    };
    let branches = request
        .updates
        .iter()
        .filter(|update| update.name.starts_with("refs/heads/"));
    for update in branches.take(REWRITTEN_MAX) {
        let (Some(old), Some(new)) = (&update.old, &update.new) else {
            continue;
        };
        let mut command = git(&repository, &[]);
        see_quarantine(&mut command, &request.quarantine);
        let question = ["merge-base", "--is-ancestor", old, new];
        if !ask(command, &question).await?.is_success() {
            known.rewritten.push(update.name.clone());
        }
    }
    Ok(known)
}

async fn wait_for_turn(
    shared: &Shared,
    reception: &Reception,
    output: &Output,
) -> Result<Turn, Rejected> {
    let lane = shared.lane(&reception.app);
    if let Some(turn) = lane.try_turn() {
        return Ok(turn);
    }
    output
        .line("Another push of this app is being deployed. This one waits for it to end.")
        .await;
    let turn = tokio::time::timeout(shared.limits.turn_timeout, lane.turn());
    let turn = tokio::select! {
        () = reception.abandoned.cancelled() => return Err(Rejected(String::new())),
        turn = turn => turn,
    };
    match turn {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) => Err(rejected(
            "Too many pushes of this app are waiting already. Push again when they have ended.",
        )),
        Err(_) => Err(rejected(
            "The push before this one takes too long. Push again when it has ended.",
        )),
    }
}

/// Git itself looks again when it moves the branch, but by then the wrong commit would run.
async fn check_unmoved(
    shared: &Shared,
    reception: &Reception,
    deploy: &Deploy,
) -> Result<(), Rejected> {
    let current = async {
        let repository = shared.repositories.path(&reception.app)?;
        let name = format!("refs/heads/{}", deploy.branch);
        let question = ["rev-parse", "--quiet", "--verify", name.as_str()];
        let answer = ask(git(&repository, &[]), &question).await?;
        match answer.is_success() {
            true => answer.text().map(Some),
            false => Ok(None),
        }
    };
    let current = current.await.map_err(|error| broken(&error))?;
    match current == deploy.previous {
        true => Ok(()),
        false => Err(Rejected(format!(
            "Somebody else has pushed {} meanwhile. Fetch their work, then push again.",
            deploy.branch
        ))),
    }
}

fn rejected(reason: &str) -> Rejected {
    Rejected(reason.to_owned())
}

/// The pusher learns that it is not their fault, the operator what happened.
fn broken(error: &io::Error) -> Rejected {
    tracing::error!(%error, "a push could not be looked at");
    rejected("Something went wrong on the server; its log has the details. Push again in a moment.")
}
