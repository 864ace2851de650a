//! The processes that are wanted of an app, each through all of its runs, and what the router and the owner are told of
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;

use pilvi_edge::{Absence, Route};
use pilvi_model::app::ProcessName;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::formation;
use super::keeper::{Found, Keeper};
use super::process::{Gone, Leave, Process, Turn};
use super::recipe::Recipe;
use super::wanted::Wanted;
use crate::{ProcessState, ProcessStatus};

/// After so many ends in a row a process is said to have crashed. After the first one it is started again at once, and
/// requests wait for that.
const CRASHES: u32 = 2;

/// One process that is wanted, through all of its runs.
pub(super) struct Slot {
    /// `None` while it waits to be started again.
    pub(super) process: Option<Process>,
    backoff: Backoff,
    restart_at: Option<Instant>,
    last_exit_code: Option<i32>,
    /// The release of its runs.
    release: u32,
}

impl Slot {
    pub(super) fn of(process: Process) -> Self {
        Self {
            release: process.recipe.release,
            process: Some(process),
            backoff: Backoff::default(),
            restart_at: None,
            last_exit_code: None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.is_up)
    }
}

impl Keeper {
    /// The process in a slot that has this serial number.
    pub(super) fn find_serial(&mut self, serial: u64) -> Option<&mut Process> {
        let mut processes = self
            .slots
            .values_mut()
            .filter_map(|slot| slot.process.as_mut());
        processes.find(|process| process.serial == serial)
    }

    /// A process has ended by itself: it is started again, sooner or later. False: no slot has it.
    pub(super) fn slot_is_empty(&mut self, serial: u64, gone: &Gone) -> bool {
        let has_it = |slot: &&mut Slot| {
            slot.process
                .as_ref()
                .is_some_and(|process| process.serial == serial)
        };
        let Some(slot) = self.slots.values_mut().find(has_it) else {
            return false;
        };
        let wait = slot.backoff.wait(gone.was_up, &self.parts.settings.pace);
        slot.process = None;
        slot.last_exit_code = gone.exit_code;
        slot.restart_at = Some(Instant::now() + wait);
        self.start_due();
        self.publish();
        true
    }

    /// Starts what is due to be started again.
    pub(super) fn start_due(&mut self) {
        let now = Instant::now();
        // What could not be made ready is tried again when nothing else is under way.
        self.retry_at.take_if(|at| *at <= now);
        let Some(recipe) = self.recipe.clone() else {
            return;
        };
        let due: Vec<ProcessName> = (self.slots.iter())
            .filter(|(_, slot)| {
                slot.process.is_none() && slot.restart_at.is_some_and(|at| at <= now)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            let process = self.start(name.clone(), &recipe);
            if let Some(slot) = self.slots.get_mut(&name) {
                slot.process = Some(process);
                slot.restart_at = None;
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let restarts = self.slots.values().filter_map(|slot| slot.restart_at);
        restarts.chain(self.retry_at).min()
    }

    pub(super) fn start(&self, name: ProcessName, recipe: &Arc<Recipe>) -> Process {
        let turn = self.in_turns.then(|| Turn {
            semaphore: Arc::clone(&self.parts.starts),
            lasts: self.parts.settings.start_turn,
        });
        Process::start(&self.parts, name, recipe, turn, &self.tell)
    }

    /// Brings the slots to the formation, then the router to the slots, and then lets go what is not wanted.
    pub(super) fn reconcile(&mut self) {
        let going = self.adjust_slots();
        self.publish();
        self.see_off(going);
    }

    /// Starts what is missing, and returns what is too much.
    pub(super) fn adjust_slots(&mut self) -> Vec<Process> {
        let names = match (&self.recipe, &self.wanted) {
            (Some(recipe), Some(wanted)) if wanted.runs => {
                formation::processes(&wanted.formation, &recipe.types)
            }
            _ => Default::default(),
        };
        let mut going = Vec::new();
        self.slots.retain(|name, slot| {
            let stays = names.contains(name);
            if !stays {
                going.extend(slot.process.take());
            }
            stays
        });
        if let Some(recipe) = self.recipe.clone() {
            for name in names {
                if !self.slots.contains_key(&name) {
                    let process = self.start(name.clone(), &recipe);
                    self.slots.insert(name, Slot::of(process));
                }
            }
        }
        going
    }

    /// Lets processes go that the router does not know any more.
    pub(super) fn see_off(&mut self, going: Vec<Process>) {
        let how = Leave::Politely {
            drain: self.parts.settings.drain_patience,
            grace: self.parts.settings.stop_grace,
        };
        for process in going {
            process.leave(how);
            self.leaving.push(process);
        }
    }

    /// Tells the router which processes accept connections, or why none does.
    pub(super) fn publish(&self) {
        let Some(wanted) = &self.wanted else { return };
        let web = self
            .slots
            .iter()
            .filter(|(name, _)| name.process_type.is_web());
        let upstreams = web
            .filter_map(|(_, slot)| slot.process.as_ref().filter(|process| process.is_up))
            .filter_map(Process::upstream)
            .collect();
        self.parts.edge.publish(Route {
            app: self.app.as_str().to_owned(),
            hosts: wanted.hosts.clone(),
            upstreams,
            absence: self.absence(wanted),
            certificate: wanted.certificate.clone(),
        });
    }

    fn absence(&self, wanted: &Wanted) -> Absence {
        let mut web = self
            .slots
            .iter()
            .filter(|(name, _)| name.process_type.is_web());
        if wanted.release.is_none() {
            Absence::NeverDeployed
        } else if !wanted.runs {
            Absence::Stopped
        } else if formation::web_count(&wanted.formation) == 0 {
            Absence::ScaledToZero
        } else if self.retries.failures() > 0
            || web.any(|(_, slot)| slot.backoff.failures() >= CRASHES)
        {
            Absence::Crashed
        } else {
            Absence::Starting
        }
    }

    /// Whether a web process answers.
    pub(super) fn serves(&self) -> bool {
        self.slots
            .iter()
            .any(|(name, slot)| name.process_type.is_web() && slot.is_up())
    }

    pub(super) fn find(&self, name: &ProcessName) -> Option<Found> {
        let process = self.slots.get(name)?.process.as_ref()?;
        Some(Found {
            program: process.program()?,
            recipe: Arc::clone(&process.recipe),
        })
    }

    /// One row for each name: what serves, else what is about to, else what is on its way out.
    pub(super) fn status(&self) -> Vec<ProcessStatus> {
        let mut rows = BTreeMap::new();
        for process in self
            .leaving
            .iter()
            .filter(|process| process.name.number > 0)
        {
            rows.insert(process.name.clone(), status_of(process));
        }
        for process in self
            .rollout
            .iter()
            .flat_map(|rollout| rollout.crew.values())
        {
            rows.insert(process.name.clone(), status_of(process));
        }
        for (name, slot) in &self.slots {
            let mut row = slot
                .process
                .as_ref()
                .map_or_else(|| crashed(name, slot), status_of);
            row.exit_code = slot
                .last_exit_code
                .filter(|_| row.state != ProcessState::Running);
            rows.insert(name.clone(), row);
        }
        rows.into_values().collect()
    }
}

fn status_of(process: &Process) -> ProcessStatus {
    ProcessStatus {
        name: process.name.clone(),
        state: match (process.is_leaving(), process.is_up) {
            (true, _) => ProcessState::Stopping,
            (false, true) => ProcessState::Running,
            (false, false) => ProcessState::Starting,
        },
        release: process.recipe.release,
        started_at: Some(process.started_at),
        exit_code: None,
        memory_bytes: process.program().and_then(|program| program.memory_bytes()),
    }
}

fn crashed(name: &ProcessName, slot: &Slot) -> ProcessStatus {
    ProcessStatus {
        name: name.clone(),
        state: ProcessState::Crashed,
        release: slot.release,
        started_at: None,
        exit_code: slot.last_exit_code,
        memory_bytes: None,
    }
}
