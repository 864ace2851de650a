//! Processes that only pretend to run.

use std::sync::{Mutex, MutexGuard};

use futures_util::future::BoxFuture;
use pilvi_model::app::ProcessName;
use pilvi_model::{AppId, Error, Result};
use pilvi_store::Store;
use pilvi_store::platform::Wanted;
use tokio::sync::watch;

use crate::{Executed, ProcessState, ProcessStatus, Processes, Progress};

/// Does what the supervisor promises, as far as the rules can see it.
pub(super) struct Stage {
    store: Store,
    acts: Mutex<Vec<String>>,
    broken: Mutex<Option<String>>,
    /// While it is true, deploys, restarts and commands wait.
    held: watch::Sender<bool>,
    deploying: Mutex<usize>,
    crashed: Mutex<bool>,
}

impl Stage {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            acts: Mutex::default(),
            broken: Mutex::default(),
            held: watch::Sender::new(false),
            deploying: Mutex::default(),
            crashed: Mutex::default(),
        }
    }

    /// What was asked for since the last time.
    pub(super) fn acts(&self) -> Vec<String> {
        std::mem::take(&mut self.lock())
    }

    /// Lets every deploy fail from now on.
    pub(super) fn fail(&self, why: Option<&str>) {
        *self.broken.lock().unwrap() = why.map(str::to_owned);
    }

    pub(super) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    pub(super) fn crash(&self) {
        *self.crashed.lock().unwrap() = true;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.acts.lock().unwrap()
    }

    fn note(&self, app: &AppId, act: &str) {
        self.lock().push(format!("{act} {app}"));
    }
}

impl Processes for Stage {
    fn deploy<'a>(
        &'a self,
        app: &'a AppId,
        release: u32,
        progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.lock().push(format!("deploy {app} v{release}"));
            *self.deploying.lock().unwrap() += 1;
            let mut held = self.held.subscribe();
            held.wait_for(|held| !held).await.map_err(Error::internal)?;
            progress.tick();
            *self.deploying.lock().unwrap() -= 1;
            let broken = self.broken.lock().unwrap().clone();
            if let Some(why) = broken {
                self.store.fail_release(app, release).await?;
                return Err(Error::conflict(why));
            }
            let now = super::now();
            assert!(self.store.activate_release(app, release, now).await?);
            Ok(())
        })
    }

    fn apply<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<()>> {
        self.note(app, "apply");
        Box::pin(async { Ok(()) })
    }

    fn restart<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<()>> {
        self.note(app, "restart");
        Box::pin(async {
            let mut held = self.held.subscribe();
            held.wait_for(|held| !held).await.map_err(Error::internal)?;
            Ok(())
        })
    }

    /// One process for each that is wanted; the highest type first, so that somebody else has to sort.
    fn status<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<Vec<ProcessStatus>>> {
        Box::pin(async move {
            let Some(found) = self.store.find_app(app).await? else {
                return Ok(Vec::new());
            };
            let (Wanted::Running, Some(release)) = (found.wanted, found.release) else {
                return Ok(Vec::new());
            };
            let crashed = *self.crashed.lock().unwrap();
            let formation = self.store.formation(app).await?;
            let wanted = formation
                .into_iter()
                .rev()
                .flat_map(|(process_type, count)| {
                    (1..=count).map(move |number| ProcessName {
                        process_type: process_type.clone(),
                        number,
                    })
                });
            let processes = wanted.map(|name| ProcessStatus {
                name,
                release,
                state: match crashed {
                    true => ProcessState::Crashed,
                    false => ProcessState::Running,
                },
                started_at: (!crashed).then(super::now),
                exit_code: crashed.then_some(7),
                memory_bytes: (!crashed).then_some(41_943_040),
            });
            Ok(processes.collect())
        })
    }

    fn is_deploying<'a>(&'a self, _: &'a AppId) -> BoxFuture<'a, Result<bool>> {
        let deploying = *self.deploying.lock().unwrap() > 0;
        Box::pin(async move { Ok(deploying) })
    }

    fn exec<'a>(
        &'a self,
        app: &'a AppId,
        process: &'a ProcessName,
        command: &'a str,
    ) -> BoxFuture<'a, Result<Executed>> {
        Box::pin(async move {
            let processes = self.status(app).await?;
            if !processes.iter().any(|known| known.name == *process) {
                return Err(Error::not_found("there is no such process"));
            }
            let mut held = self.held.subscribe();
            held.wait_for(|held| !held).await.map_err(Error::internal)?;
            Ok(Executed {
                stdout: format!("{process}: {command}\n"),
                stderr: String::new(),
                exit_code: 0,
            })
        })
    }

    fn remove<'a>(&'a self, app: &'a AppId) -> BoxFuture<'a, Result<()>> {
        self.note(app, "remove");
        Box::pin(async { Ok(()) })
    }
}
