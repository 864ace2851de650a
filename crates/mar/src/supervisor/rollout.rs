//! How new processes take over from old ones.
//!
//! First everything is made ready. Then the new web processes start beside the old ones. When all of them accept
//! connections, the release becomes current in the store, the router switches in one step, the new processes of other
//! types start, and the old ones go when their requests have ended. When one of them does not come up, all of them go
//! again, and the old ones go on as if nothing had been.

use std::collections::BTreeMap;
use std::sync::Arc;

use pilvi_model::app::ProcessName;
use pilvi_model::{Error, Kind, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::formation;
use super::keeper::Keeper;
use super::process::{Event, Gone, Process, Why};
use super::recipe::Recipe;
use super::slots::Slot;
use super::wanted::{self, Wanted};
use crate::journal::PLATFORM;

/// A pending release that is to become current.
pub(super) struct Deploy {
    pub(super) release: u32,
    pub(super) reply: oneshot::Sender<Result<()>>,
}

/// New processes that are to take over.
pub(super) struct Rollout {
    pub(super) ticket: u64,
    /// `None`: the release stays, only its processes are replaced.
    deploy: Option<Deploy>,
    /// `None` while it is being made ready.
    recipe: Option<Arc<Recipe>>,
    /// The new web processes.
    pub(super) crew: BTreeMap<ProcessName, Process>,
}

impl Rollout {
    pub(super) fn is_deploy(&self) -> bool {
        self.deploy.is_some()
    }
}

impl Keeper {
    pub(super) async fn begin_deploy(&mut self, deploy: Deploy) {
        match Wanted::read(&self.parts, &self.app).await {
            Ok(Some(wanted)) => {
                self.wanted = Some(wanted);
                self.publish();
            }
            Ok(None) => return self.refuse(deploy, "there is no such app").await,
            Err(error) => {
                self.report("what is wanted of an app could not be read", &error);
                let _ = deploy.reply.send(Err(error));
                return;
            }
        }
        let release = deploy.release;
        self.begin(release, Some(deploy));
    }

    /// Replaces the processes of the current release by new ones, or starts them when there are none.
    pub(super) fn begin_renewal(&mut self) {
        let wanted = self.wanted.as_ref().filter(|wanted| wanted.runs);
        if let Some(release) = wanted.and_then(|wanted| wanted.release) {
            self.begin(release, None);
        }
    }

    /// Makes a release ready in the background.
    fn begin(&mut self, release: u32, deploy: Option<Deploy>) {
        let ticket = self.parts.next_serial();
        self.rollout = Some(Rollout {
            ticket,
            deploy,
            recipe: None,
            crew: BTreeMap::new(),
        });
        let (parts, app, tell) = (Arc::clone(&self.parts), self.app.clone(), self.tell.clone());
        let in_turns = self.in_turns;
        self.parts.tasks.spawn("prepare", async move {
            let _turn = match in_turns {
                true => parts.starts.acquire().await.ok(),
                false => None,
            };
            let prepared = wanted::prepare(&parts, &app, release).await;
            // The keeper is gone when the server stops.
            let _ = tell
                .send(Event::Prepared(ticket, prepared.map(Box::new)))
                .await;
        });
    }

    /// The release is ready: starts its web processes beside those that serve.
    pub(super) async fn prepared(&mut self, prepared: Result<Box<Recipe>>) {
        let recipe = match prepared {
            Ok(recipe) => Arc::<Recipe>::from(recipe),
            Err(error) => {
                if error.kind == Kind::Internal {
                    self.report("a release could not be made ready", &error);
                }
                return self
                    .fail_rollout(&format!("it could not be made ready: {error}"), &[])
                    .await;
            }
        };
        let Some(is_deploy) = self.rollout.as_ref().map(Rollout::is_deploy) else {
            return;
        };
        let names = self.crew_names(&recipe, is_deploy);
        let crew = (names.into_iter())
            .map(|name| (name.clone(), self.start(name, &recipe)))
            .collect();
        if let Some(rollout) = &mut self.rollout {
            rollout.recipe = Some(recipe);
            rollout.crew = crew;
        }
        self.complete_when_ready().await;
    }

    /// The web processes that must be up before they take over. Where nothing serves and nothing is at stake, none
    /// must: processes are started as if they had crashed, and again and again.
    fn crew_names(&self, recipe: &Recipe, is_deploy: bool) -> Vec<ProcessName> {
        let Some(wanted) = self.wanted.as_ref().filter(|wanted| wanted.runs) else {
            return Vec::new();
        };
        let formation = match is_deploy {
            true => formation::after_release(&wanted.formation, &recipe.types),
            false if self.serves() => wanted.formation.clone(),
            false => return Vec::new(),
        };
        let names = formation::processes(&formation, &recipe.types).into_iter();
        names.filter(|name| name.process_type.is_web()).collect()
    }

    pub(super) async fn crew_is_up(&mut self, serial: u64) {
        let Some(rollout) = &mut self.rollout else {
            return;
        };
        if let Some(process) = rollout
            .crew
            .values_mut()
            .find(|process| process.serial == serial)
        {
            process.is_up = true;
            self.complete_when_ready().await;
        }
    }

    /// One that was up has ended while the others start: nothing can take over any more.
    pub(super) fn crew_is_down(&mut self, serial: u64) {
        let crew = self
            .rollout
            .iter_mut()
            .flat_map(|rollout| rollout.crew.values_mut());
        for process in crew.filter(|process| process.serial == serial) {
            process.is_up = false;
        }
    }

    pub(super) async fn crew_is_gone(&mut self, serial: u64, gone: Gone) {
        let Some(rollout) = &mut self.rollout else {
            return;
        };
        let port = self.parts.settings.port;
        let found = rollout
            .crew
            .values()
            .find(|process| process.serial == serial);
        let Some(name) = found.map(|process| process.name.clone()) else {
            return;
        };
        let Some(process) = rollout.crew.remove(&name) else {
            return;
        };
        let reason = match gone.why {
            Why::NotStarted(reason) => format!("{name}: {reason}"),
            Why::NeverBound => format!(
                "{name} did not accept connections on $PORT ({port}) within {} seconds of its start",
                self.parts.settings.boot_timeout.as_secs()
            ),
            Why::Told | Why::Exited => format!(
                "{name} exited with status {} before it accepted connections on $PORT ({port})",
                gone.exit_code.unwrap_or_default()
            ),
        };
        let tail = process.tail.lines();
        self.fail_rollout(&reason, &tail).await;
    }

    async fn complete_when_ready(&mut self) {
        let is_ready = |rollout: &mut Rollout| {
            rollout.recipe.is_some() && rollout.crew.values().all(|process| process.is_up)
        };
        let Some(mut rollout) = self.rollout.take_if(is_ready) else {
            return;
        };
        if let Some(deploy) = rollout.deploy.take() {
            match self.activate(&deploy).await {
                Ok(()) => self.take_over(rollout),
                Err(reason) => {
                    rollout.deploy = Some(deploy);
                    self.rollout = Some(rollout);
                    return self.fail_rollout(&reason, &[]).await;
                }
            }
            self.say(&format!("Release v{} is in service", deploy.release));
            // Whoever asked may have gone away.
            let _ = deploy.reply.send(Ok(()));
        } else {
            self.take_over(rollout);
        }
    }

    /// Makes the release current in the store and reads what is wanted from now on.
    async fn activate(&mut self, deploy: &Deploy) -> Result<(), String> {
        let now = self.parts.clock.now().into();
        let activated = self
            .parts
            .store
            .activate_release(&self.app, deploy.release, now)
            .await;
        match activated {
            Ok(true) => {}
            Ok(false) => return Err("it was given up while its processes started".into()),
            Err(error) => {
                self.report("a release could not be made current", &error);
                return Err(format!(
                    "it could not be written down as the current one: {error}"
                ));
            }
        }
        match Wanted::read(&self.parts, &self.app).await {
            Ok(Some(wanted)) => self.wanted = Some(wanted),
            Ok(None) => return Err("the app is being removed".into()),
            // It is current all the same. The next change is read again.
            Err(error) => {
                self.report("what is wanted of an app could not be read", &error);
                if let (Some(wanted), Some(rollout)) = (&mut self.wanted, &self.rollout)
                    && let Some(recipe) = &rollout.recipe
                {
                    wanted.release = Some(deploy.release);
                    wanted.formation = formation::after_release(&wanted.formation, &recipe.types);
                }
            }
        }
        Ok(())
    }

    /// The new processes are what serves from now on.
    fn take_over(&mut self, rollout: Rollout) {
        let runs = self.wanted.as_ref().is_some_and(|wanted| wanted.runs);
        let old = std::mem::take(&mut self.slots);
        self.recipe = rollout.recipe.filter(|_| runs);
        self.slots = (rollout.crew.into_iter())
            .map(|(name, process)| (name, Slot::of(process)))
            .collect();
        let mut going: Vec<Process> = old.into_values().filter_map(|slot| slot.process).collect();
        going.extend(self.adjust_slots());
        self.in_turns = false;
        self.retries = Backoff::default();
        // A change may have come while these processes started.
        self.renew = self.differs();
        self.publish();
        self.see_off(going);
    }

    /// The new processes go, and whatever served goes on.
    pub(super) async fn fail_rollout(&mut self, reason: &str, tail: &[String]) {
        let Some(rollout) = self.rollout.take() else {
            return;
        };
        self.see_off(rollout.crew.into_values().collect());
        if let Some(deploy) = rollout.deploy {
            let mut text = format!(
                "Release v{} was not put into service: {reason}.",
                deploy.release
            );
            if let Some(recipe) = &self.recipe {
                text.push_str(&format!(" Release v{} goes on.", recipe.release));
            }
            self.say(&text);
            if !tail.is_empty() {
                text.push_str(&format!(" Its last output:\n{}", tail.join("\n")));
            }
            self.refuse(deploy, &text).await;
        } else if self.recipe.is_some() {
            self.say(&format!(
                "The processes were not replaced: {reason}. The old ones go on."
            ));
        } else {
            let wait = self
                .retries
                .wait(std::time::Duration::ZERO, &self.parts.settings.pace);
            self.retry_at = Some(Instant::now() + wait.max(self.parts.settings.pace.first));
            self.say(&format!(
                "The app was not started: {reason}. It will be tried again."
            ));
            self.publish();
        }
    }

    /// Ends what is under way because something else is wanted now.
    pub(super) async fn cancel_rollout(&mut self, why: &str) {
        let Some(rollout) = self.rollout.take() else {
            return;
        };
        self.see_off(rollout.crew.into_values().collect());
        if let Some(deploy) = rollout.deploy {
            let text = format!(
                "Release v{} was not put into service: {why}.",
                deploy.release
            );
            self.refuse(deploy, &text).await;
        }
    }

    /// Gives a pending release up and says why.
    pub(super) async fn refuse(&mut self, deploy: Deploy, why: &str) {
        if let Err(error) = self
            .parts
            .store
            .fail_release(&self.app, deploy.release)
            .await
        {
            self.report("a release could not be marked as failed", &error);
        }
        // Whoever asked may have gone away.
        let _ = deploy.reply.send(Err(Error::new(Kind::Invalid, why)));
    }

    fn say(&self, text: &str) {
        self.parts.journal.say(&self.app, PLATFORM, text);
    }
}
