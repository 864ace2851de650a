//! The keeper of one app: the task that knows what runs, hears what is wanted, and brings the one to the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pilvi_model::app::ProcessName;
use pilvi_model::{AppId, Error, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::Parts;
use super::backoff::Backoff;
use super::launcher::Program;
use super::process::{Event, Gone, Leave, Process};
use super::recipe::Recipe;
use super::rollout::{Deploy, Rollout};
use super::slots::Slot;
use super::wanted::Wanted;
use crate::ProcessStatus;

/// Deploys of one app that wait for their turn.
const DEPLOYS_MAX: usize = 16;

/// Events that wait for the keeper. A process that has one more waits until there is room.
const EVENTS_MAX: usize = 64;

/// How long the end of what was killed is waited for when the server stops.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// A program that runs, and what it was made from.
pub(super) struct Found {
    pub(super) program: Arc<dyn Program>,
    pub(super) recipe: Arc<Recipe>,
}

/// What a keeper is told, and asked.
pub(super) enum Message {
    Deploy {
        release: u32,
        reply: oneshot::Sender<Result<()>>,
    },
    Apply {
        reply: oneshot::Sender<Result<()>>,
    },
    Restart {
        reply: oneshot::Sender<Result<()>>,
    },
    /// The server has started: begin, together with many others. The reply comes once the app has its route.
    Recover {
        reply: oneshot::Sender<()>,
    },
    Status {
        reply: oneshot::Sender<Vec<ProcessStatus>>,
    },
    IsDeploying {
        reply: oneshot::Sender<bool>,
    },
    Find {
        process: ProcessName,
        reply: oneshot::Sender<Option<Found>>,
    },
    Settled {
        reply: oneshot::Sender<()>,
    },
    Remove {
        reply: oneshot::Sender<()>,
    },
}

pub(super) struct Keeper {
    pub(super) app: AppId,
    pub(super) parts: Arc<Parts>,
    mailbox: mpsc::Receiver<Message>,
    events: mpsc::Receiver<Event>,
    pub(super) tell: mpsc::Sender<Event>,
    /// As it was read last; `None` before that.
    pub(super) wanted: Option<Wanted>,
    /// What the processes of the slots are made from; `None` while nothing is to run.
    pub(super) recipe: Option<Arc<Recipe>>,
    pub(super) slots: BTreeMap<ProcessName, Slot>,
    /// Processes on their way out.
    pub(super) leaving: Vec<Process>,
    pub(super) rollout: Option<Rollout>,
    deploys: VecDeque<Deploy>,
    /// All processes are to be replaced once nothing else is under way.
    pub(super) renew: bool,
    /// When to try again to make ready what could not be made ready, and how often that was in vain.
    pub(super) retry_at: Option<Instant>,
    pub(super) retries: Backoff,
    /// The next processes start in turns with those of other apps.
    pub(super) in_turns: bool,
    waiting_for_peace: Vec<oneshot::Sender<()>>,
}

impl Keeper {
    pub(super) fn new(app: AppId, parts: Arc<Parts>, mailbox: mpsc::Receiver<Message>) -> Self {
        let (tell, events) = mpsc::channel(EVENTS_MAX);
        Self {
            app,
            parts,
            mailbox,
            events,
            tell,
            wanted: None,
            recipe: None,
            slots: BTreeMap::new(),
            leaving: Vec::new(),
            rollout: None,
            deploys: VecDeque::new(),
            renew: false,
            retry_at: None,
            retries: Backoff::default(),
            in_turns: false,
            waiting_for_peace: Vec::new(),
        }
    }

    /// Keeps the app until it is removed or the server stops.
    pub(super) async fn keep(mut self) {
        loop {
            let due = self.next_due();
            tokio::select! {
                biased;
                () = self.parts.tasks.stopping() => return self.shut_down().await,
                // The keeper has a sender itself, so there is always a next one.
                Some(event) = self.events.recv() => self.happened(event).await,
                message = self.mailbox.recv() => match message {
                    None => return self.shut_down().await,
                    Some(Message::Remove { reply }) => {
                        self.clear_away().await;
                        // Whoever asked may have gone away.
                        let _ = reply.send(());
                        return;
                    }
                    Some(message) => self.hear(message).await,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.start_due(),
            }
            self.go_on().await;
            self.tell_of_peace();
        }
    }

    /// Carries out a message. Replies to those who have gone away are no matter.
    async fn hear(&mut self, message: Message) {
        match message {
            Message::Deploy { release, reply } => {
                self.in_turns = false;
                self.queue_deploy(Deploy { release, reply }).await;
            }
            Message::Apply { reply } => {
                self.in_turns = false;
                let outcome = self.apply().await;
                let _ = reply.send(outcome);
            }
            Message::Restart { reply } => {
                self.in_turns = false;
                self.renew = true;
                let outcome = self.apply().await;
                let _ = reply.send(outcome);
            }
            Message::Recover { reply } => {
                self.in_turns = true;
                if let Err(error) = self.apply().await {
                    self.report("an app could not be started again", &error);
                }
                let _ = reply.send(());
            }
            Message::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Message::IsDeploying { reply } => {
                let _ = reply.send(self.is_deploying());
            }
            Message::Find { process, reply } => {
                let _ = reply.send(self.find(&process));
            }
            Message::Settled { reply } => self.waiting_for_peace.push(reply),
            Message::Remove { .. } => unreachable!("it ends the keeper, so the loop takes it"),
        }
    }

    async fn queue_deploy(&mut self, deploy: Deploy) {
        if self.deploys.len() >= DEPLOYS_MAX {
            self.refuse(
                deploy,
                "too many deploys of this app are waiting; try again later",
            )
            .await;
            return;
        }
        self.deploys.push_back(deploy);
        // What is being renewed is about to be replaced anyway, unless the deploy fails.
        if self
            .rollout
            .as_ref()
            .is_some_and(|rollout| !rollout.is_deploy())
        {
            self.cancel_rollout("a new release is being deployed").await;
            self.renew = true;
        }
    }

    /// Reads what is wanted and brings counts and routes to it. Processes follow in [`Self::go_on`].
    async fn apply(&mut self) -> Result<()> {
        self.retry_at = None;
        let Some(wanted) = Wanted::read(&self.parts, &self.app).await? else {
            self.forget().await;
            return Ok(());
        };
        let runs = wanted.runs;
        self.wanted = Some(wanted);
        if runs {
            self.renew |= self.differs();
            self.reconcile();
        } else {
            self.stop_all("the app was stopped").await;
        }
        Ok(())
    }

    /// Whether the processes are made from something else than what is wanted.
    pub(super) fn differs(&self) -> bool {
        let (Some(recipe), Some(wanted)) = (&self.recipe, &self.wanted) else {
            return false;
        };
        (Some(recipe.release), recipe.place.memory_bytes)
            != (wanted.release, wanted.size.memory_bytes())
    }

    /// Begins what is to be done next, when nothing is under way.
    async fn go_on(&mut self) {
        if self.rollout.is_some() {
            return;
        }
        if let Some(deploy) = self.deploys.pop_front() {
            return self.begin_deploy(deploy).await;
        }
        let is_missing = self.recipe.is_none() && self.retry_at.is_none();
        if self.renew || is_missing {
            self.renew = false;
            self.begin_renewal();
        }
    }

    async fn happened(&mut self, event: Event) {
        match event {
            Event::Prepared(ticket, recipe) => {
                if self
                    .rollout
                    .as_ref()
                    .is_some_and(|rollout| rollout.ticket == ticket)
                {
                    self.prepared(recipe).await;
                }
            }
            Event::Up(serial) => {
                if let Some(process) = self.find_serial(serial) {
                    process.is_up = true;
                    self.publish();
                } else {
                    self.crew_is_up(serial).await;
                }
            }
            Event::Down(serial) => {
                if let Some(process) = self.find_serial(serial) {
                    process.is_up = false;
                    self.publish();
                } else {
                    self.crew_is_down(serial);
                }
            }
            Event::Gone(serial, gone) => self.is_gone(serial, gone).await,
        }
    }

    async fn is_gone(&mut self, serial: u64, gone: Gone) {
        self.leaving.retain(|process| process.serial != serial);
        if !self.slot_is_empty(serial, &gone) {
            self.crew_is_gone(serial, gone).await;
        }
    }

    /// Ends everything, what is under way too.
    async fn stop_all(&mut self, why: &str) {
        self.renew = false;
        self.retry_at = None;
        self.cancel_rollout(why).await;
        self.recipe = None;
        self.reconcile();
    }

    fn is_deploying(&self) -> bool {
        let under_way = self.rollout.as_ref().is_some_and(Rollout::is_deploy);
        under_way || !self.deploys.is_empty()
    }

    fn tell_of_peace(&mut self) {
        let in_peace = self.rollout.is_none()
            && self.deploys.is_empty()
            && !self.renew
            && self.retry_at.is_none()
            && self.leaving.is_empty()
            && self
                .slots
                .values()
                .all(|slot| slot.process.is_none() || slot.is_up());
        if in_peace {
            for waiting in self.waiting_for_peace.drain(..) {
                let _ = waiting.send(());
            }
        }
    }

    /// The app is gone, or about to be.
    async fn forget(&mut self) {
        self.wanted = None;
        self.parts.edge.withdraw(self.app.as_str());
        while let Some(deploy) = self.deploys.pop_front() {
            self.refuse(deploy, "the app is being removed").await;
        }
        self.stop_all("the app is being removed").await;
    }

    /// Kills everything and takes the app from the router.
    async fn clear_away(&mut self) {
        self.forget().await;
        for process in &self.leaving {
            process.leave(Leave::AtOnce);
        }
        self.until_all_have_gone().await;
    }

    /// The server stops: requests get a little time, and processes too.
    async fn shut_down(mut self) {
        self.mailbox.close();
        // Their callers learn that the server stops when the replies are dropped; the releases stay pending, and are
        // given up when the server starts again.
        self.deploys.clear();
        let crew = self.rollout.take().map(|rollout| rollout.crew);
        let slots = std::mem::take(&mut self.slots);
        // To visitors an app whose server stops is one that starts again soon.
        self.publish();
        let settings = &self.parts.settings;
        let (drain, grace) = (settings.shutdown_drain, settings.shutdown_grace);
        let processes = slots.into_values().filter_map(|slot| slot.process);
        for process in processes.chain(crew.into_iter().flat_map(BTreeMap::into_values)) {
            process.leave(Leave::Politely { drain, grace });
            self.leaving.push(process);
        }
        if timeout(drain + grace, self.until_all_have_gone())
            .await
            .is_err()
        {
            for process in &self.leaving {
                process.leave(Leave::AtOnce);
            }
            // What cannot be killed now is killed when the launcher goes.
            let _ = timeout(LAST_PATIENCE, self.until_all_have_gone()).await;
        }
    }

    async fn until_all_have_gone(&mut self) {
        while !self.leaving.is_empty() {
            if let Some(Event::Gone(serial, _)) = self.events.recv().await {
                self.leaving.retain(|process| process.serial != serial);
            }
        }
    }

    /// For the operator.
    pub(super) fn report(&self, what: &str, error: &Error) {
        tracing::error!(app = %self.app, error = error as &dyn std::error::Error, "{what}");
    }
}
