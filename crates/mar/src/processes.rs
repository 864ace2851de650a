//! What runs apps, as the rules see it.

use futures_util::future::BoxFuture;
use pilvi_model::app::ProcessName;
use pilvi_model::{AppId, Result, Timestamp};

/// Runs the processes of all apps and tells the router about them.
///
/// What is wanted is in the store; a call only says that it changed. Calls about one app are carried out one after the
/// other, in the order they came.
pub trait Processes: Send + Sync + 'static {
    /// Starts a pending release beside the current one, waits until it can serve, makes it current
    /// ([`pilvi_store::Store::activate_release`]), switches the router, and stops the old processes. When the new ones
    /// cannot serve, the release is marked failed, the old ones go on, and the error says why in words for people. The
    /// release of a stopped app becomes current without a process.
    fn deploy<'a>(
        &'a self,
        app: &'a AppId,
        release: u32,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<()>>;

    /// Brings what runs, and the router, to what the store says: counts, size, domains, certificate, whether the app
    /// is to run at all. Returns once that has begun.
    fn apply<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<()>>;

    /// Replaces every process by a new one, web processes without a gap. Returns once that has begun.
    fn restart<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<()>>;

    /// The processes that there are, by type and number.
    fn status<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<Vec<ProcessStatus>>>;

    /// Whether a deploy is under way.
    fn is_deploying<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<bool>>;

    /// Runs a command by the shell inside a process, with its environment, bounded in time and output.
    /// [`pilvi_model::Kind::NotFound`]: there is no such process, or it does not run.
    fn exec<'a>(
        &'a self,
        app: &'a AppId,
        process: &'a ProcessName,
        command: &'a str,
    ) -> BoxFuture<'a, Result<Executed>>;

    /// Kills everything of an app and takes it from the router. Returns when nothing is left; harmless when nothing
    /// was there.
    fn remove<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<()>>;
}

/// Hears how a deploy goes.
pub trait Progress: Send + Sync {
    /// It goes on: called from time to time while processes start.
    fn tick(&self);
}

/// Nobody listens.
impl Progress for () {
    fn tick(&self) {}
}

/// One process, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStatus {
    pub name: ProcessName,
    pub state: ProcessState,
    /// The number of the release that it runs.
    pub release: u32,
    pub started_at: Option<Timestamp>,
    /// Of the last run, when it is not running.
    pub exit_code: Option<i32>,
    pub memory_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    Starting,
    Running,
    Stopping,
    /// It ended by itself and waits to be started again.
    Crashed,
}

impl ProcessState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Crashed => "crashed",
        }
    }
}

/// What a command left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    pub stdout: String,
    pub stderr: String,
    pub exit_code: i32,
}
