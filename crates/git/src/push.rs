//! A push, as whoever deploys it sees it.

use std::net::IpAddr;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Pusher;

/// A push with something to deploy, before any branch has moved.
#[derive(Clone, Debug)]
pub struct Push {
    pub app: String,
    /// All that is pushed, the deployed branch among it.
    pub updates: Vec<Update>,
    /// What is to be built and run.
    pub deploy: Deploy,
    pub pusher: Pusher,
    /// Where the push comes from.
    pub peer: IpAddr,
    /// Where the new objects are until the push is accepted; [`crate::Repositories::archive`] wants it.
    pub quarantine: Quarantine,
    /// Cancelled when nobody waits for the outcome any more: the pusher hung up, or the server is stopping.
    /// [`Deployer::push`] is then expected to give up soon, unless it is past the point where that would do harm.
    pub abandoned: CancellationToken,
}

/// One branch or tag that is pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The full name, such as `refs/heads/master`.
    pub name: String,
    /// `None`: it is new.
    pub old: Option<String>,
    /// `None`: it is deleted.
    pub new: Option<String>,
}

/// The commit to deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deploy {
    /// Its full hash.
    pub commit: String,
    /// `master` or `main`.
    pub branch: String,
    /// What the branch was before.
    pub previous: Option<String>,
}

/// Where pushed objects are kept until the push is accepted.
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    /// The folders, as git's own variables name them; empty for objects that were accepted long ago.
    pub(crate) variables: Vec<(&'static str, PathBuf)>,
}

/// Builds and runs what was pushed.
pub trait Deployer: Send + Sync + 'static {
    /// Deploys a push. Lines that go to `output` reach the pusher while the push waits; an error rejects the push, and
    /// no branch moves. Pushes of one app come one after the other. The future is always run to its end:
    /// [`Push::abandoned`] says when nobody cares for it any more.
    fn push(&self, push: Push, output: Output) -> BoxFuture<'_, Result<(), Rejected>>;
}

/// Why a push is rejected, in whole lines for the pusher. An empty text adds nothing to what was said already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected(pub String);

/// The way to the pusher's terminal. Cloning gives another handle on the same one.
///
/// What is written waits until there is room, and is dropped without a word once the pusher has gone.
#[derive(Clone, Debug)]
pub struct Output {
    pieces: mpsc::Sender<Bytes>,
}

impl Output {
    /// A way, and the end at which its pieces come out, for tests of a [`Deployer`].
    pub fn channel(pieces_max: usize) -> (Self, mpsc::Receiver<Bytes>) {
        let (pieces, receiver) = mpsc::channel(pieces_max);
        (Self { pieces }, receiver)
    }

    /// Writes one line; the line end is added.
    pub async fn line(&self, text: &str) {
        self.write(format!("{text}\n")).await;
    }

    /// Writes text as it is, for lines that grow.
    pub async fn write(&self, text: impl Into<Bytes>) {
        // Without a receiver nobody reads it, which is no fault of the writer.
        let _ = self.pieces.send(text.into()).await;
    }

    /// Whether there is still somebody to read.
    pub fn is_open(&self) -> bool {
        !self.pieces.is_closed()
    }
}
