//! Runs the processes of apps. [`Supervisor`] implements [`crate::Processes`], which is what the rules see.
//!
//! Each app has a keeper (`keeper`): one task that is told by messages that something changed, reads from the store
//! what is wanted, and brings what runs to it. At most one `rollout` is under way per app: new processes start beside
//! the old ones, and only when all web processes among them accept connections do they take over. A `process` is one
//! run of a program, from its start until nothing is left of it; it is started through a [`launcher`].

mod backoff;
mod command;
mod errand;
mod formation;
mod keeper;
pub mod launcher;
mod output;
mod process;
mod recipe;
mod recover;
mod rollout;
mod sandboxes;
mod settings;
mod slots;
mod upstream;
mod wanted;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_edge::Edge;
use pilvi_model::app::ProcessName;
use pilvi_model::{AppId, Error, Result};
use pilvi_store::Store;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use backoff::Pace;
pub use sandboxes::Sandboxes;
pub use settings::Settings;

use crate::folders::Folders;
use crate::journal::Journal;
use crate::settings::{Addresses, Limits};
use crate::{Executed, ProcessStatus, Processes, Progress};
use keeper::{Found, Keeper, Message};
use launcher::Launcher;

/// Messages that wait for one keeper. One more has to wait until there is room.
const MESSAGES_MAX: usize = 64;

/// How often whoever waits for a deploy hears that it goes on.
const TICK: Duration = Duration::from_secs(1);

/// Runs the processes of all apps. Cloning gives another handle on the same ones.
#[derive(Clone)]
pub struct Supervisor {
    parts: Arc<Parts>,
    /// A plain mutex: it is held for finding one keeper.
    keepers: Arc<Mutex<HashMap<AppId, mpsc::Sender<Message>>>>,
}

/// What the supervisor is built from.
pub struct Foundation {
    pub store: Store,
    pub keyring: Keyring,
    pub clock: Clock,
    pub tasks: TaskGroup,
    pub folders: Folders,
    pub edge: Edge,
    pub journal: Journal,
    pub launcher: Arc<dyn Launcher>,
    pub addresses: Addresses,
    pub limits: Limits,
    pub settings: Settings,
}

/// What all keepers share.
struct Parts {
    store: Store,
    keyring: Keyring,
    clock: Clock,
    tasks: TaskGroup,
    folders: Folders,
    edge: Edge,
    journal: Journal,
    launcher: Arc<dyn Launcher>,
    addresses: Addresses,
    limits: Limits,
    settings: Settings,
    serials: AtomicU64,
    /// Turns of those that start after the server has started.
    starts: Arc<Semaphore>,
}

impl Parts {
    fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }
}

impl Supervisor {
    pub fn new(foundation: Foundation) -> Self {
        let settings = foundation.settings;
        let parts = Parts {
            store: foundation.store,
            keyring: foundation.keyring,
            clock: foundation.clock,
            tasks: foundation.tasks,
            folders: foundation.folders,
            edge: foundation.edge,
            journal: foundation.journal,
            launcher: foundation.launcher,
            addresses: foundation.addresses,
            limits: foundation.limits,
            serials: AtomicU64::new(1),
            starts: Arc::new(Semaphore::new(settings.starts_at_a_time.max(1))),
            settings,
        };
        Self {
            parts: Arc::new(parts),
            keepers: Arc::default(),
        }
    }

    /// Resolves when nothing is under way for an app: no rollout, no process that starts or stops.
    pub async fn settled(&self, app: &AppId) -> Result<()> {
        self.ask(app, |reply| Message::Settled { reply }).await
    }

    /// Tells an app's keeper something and waits for its reply.
    async fn ask<T>(
        &self,
        app: &AppId,
        message: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let keeper = self.keeper(app)?;
        keeper.send(message(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    /// The keeper of an app, which is started when there is none.
    fn keeper(&self, app: &AppId) -> Result<mpsc::Sender<Message>> {
        if self.parts.tasks.is_stopping() {
            return Err(stopping());
        }
        let mut keepers = self.keepers();
        if let Some(keeper) = keepers.get(app).filter(|keeper| !keeper.is_closed()) {
            return Ok(keeper.clone());
        }
        let (messages, mailbox) = mpsc::channel(MESSAGES_MAX);
        keepers.insert(app.clone(), messages.clone());
        let keeper = Keeper::new(app.clone(), Arc::clone(&self.parts), mailbox);
        self.parts.tasks.spawn("keeper", keeper.keep());
        Ok(messages)
    }

    fn keepers(&self) -> MutexGuard<'_, HashMap<AppId, mpsc::Sender<Message>>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Processes for Supervisor {
    fn deploy<'a>(
        &'a self,
        app: &'a AppId,
        release: u32,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let deployed = self.ask(app, |reply| Message::Deploy { release, reply });
            tokio::pin!(deployed);
            loop {
                tokio::select! {
                    outcome = &mut deployed => return outcome?,
                    () = tokio::time::sleep(TICK) => progress.tick(),
                }
            }
        })
    }

    fn apply<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.ask(app, |reply| Message::Apply { reply }).await? })
    }

    fn restart<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.ask(app, |reply| Message::Restart { reply }).await? })
    }

    fn status<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<Vec<ProcessStatus>>> {
        Box::pin(self.ask(app, |reply| Message::Status { reply }))
    }

    fn is_deploying<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.ask(app, |reply| Message::IsDeploying { reply }))
    }

    fn exec<'a>(
        &'a self,
        app: &'a AppId,
        process: &'a ProcessName,
        command: &'a str,
    ) -> BoxFuture<'a, Result<Executed>> {
        Box::pin(async move {
            let find = |reply| Message::Find {
                process: process.clone(),
                reply,
            };
            let found = self.ask(app, find).await?;
            let Found { program, recipe } = found.ok_or_else(|| {
                Error::not_found(format!(
                    "{process} does not run; see the app's status for what does"
                ))
            })?;
            errand::run(&self.parts, program.as_ref(), &recipe, process, command).await
        })
    }

    fn remove<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let removed = self.ask(app, |reply| Message::Remove { reply }).await;
            self.keepers().remove(app);
            removed
        })
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}

fn stopping() -> Error {
    Error::unavailable("the server is stopping; try again when it runs again")
}
