//! The seam between what runs and how it is run: a launcher starts a program somewhere and hands it over.
//!
//! Sandboxes of this machine are one launcher ([`super::Sandboxes`]); others, such as one of another machine or of a
//! container engine, come in behind the same two traits.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use pilvi_model::AppId;
use pilvi_model::app::StackName;
use tokio::net::TcpStream;

/// A program to start.
#[derive(Debug)]
pub struct Order {
    pub app: AppId,
    /// Unique among all that run at the same time: `web.1-17`.
    pub name: String,
    /// What the program sees as its host: `web.1`.
    pub hostname: String,
    pub place: Place,
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// Where a program runs and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The user that the app's programs are on the host.
    pub uid: u32,
    pub stack: StackName,
    /// The unpacked slug, which stays as it is: the program sees it as its own `/app`.
    pub slug: PathBuf,
    pub memory_bytes: u64,
}

/// Another program to run beside one that runs already.
#[derive(Debug)]
pub struct Errand {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The number that a shell would show: the code, or 128 and the signal.
    pub code: i32,
    /// Something in it was killed because its memory was used up.
    pub out_of_memory: bool,
}

/// A signal that a program may handle.
pub const SIGTERM: i32 = 15;
/// What a shell shows for a program that was killed by SIGKILL.
pub const KILLED: i32 = 128 + 9;

/// Starts programs.
pub trait Launcher: Send + Sync + 'static {
    fn launch(&self, order: Order) -> BoxFuture<'_, io::Result<Arc<dyn Program>>>;
}

/// A program that was started. It ends when it is killed, not when the handle is dropped.
pub trait Program: Send + Sync + 'static {
    /// Resolves when it has ended, however often it is asked.
    fn ended(&self) -> BoxFuture<'_, Ended>;

    /// Sends a signal to the program itself; harmless when it has ended.
    fn signal(&self, signal: i32) -> BoxFuture<'_, io::Result<()>>;

    /// Kills it and all of its children; resolves when nothing is left of it. Harmless when it has ended.
    fn kill(&self) -> BoxFuture<'_, ()>;

    /// A connection to a port that it listens on, whichever of its own addresses that is.
    fn dial(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>>;

    /// Starts another program in the same place.
    fn run(&self, errand: Errand) -> BoxFuture<'_, io::Result<Box<dyn Running>>>;

    /// `None`: it cannot be told.
    fn memory_bytes(&self) -> Option<u64>;
}

/// An errand that runs.
pub trait Running: Send + Sync + 'static {
    fn ended(&self) -> BoxFuture<'_, Ended>;

    fn kill(&self) -> BoxFuture<'_, ()>;
}
