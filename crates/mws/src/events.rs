//! What a gateway tells its app (bidirectional gateways): that a socket connects, what it says, and that it is gone.
//!
//! Each event is a POST to the gateway's URL, signed as webhooks are. Before a socket joins, the app is asked whether
//! it may ([`Events::admit`]); what it says waits in its [`line`], from which a courier posts one after the other, in
//! order, and carries out what the app answers. Sockets do not wait for each other, and nothing about one is skipped in
//! silence: what cannot be told ends its socket. How much may be under way and wait is bounded for each socket, each
//! gateway and the server, in [`desk`].

mod admit;
pub(crate) mod answer;
mod body;
mod courier;
mod desk;
pub(crate) mod line;
mod post;
pub(crate) mod secret;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_core::Egress;
use pilvi_model::{GatewayId, Timestamp};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::broker::Local;
use crate::counters::Counters;
use crate::hub::Hub;
use crate::limits::Limits;
use crate::register::Register;
use crate::settings::plan::Plans;
use desk::{Desk, Hall};
use line::{Facts, Line};

pub(crate) use admit::{Arriving, Caller};

/// How long those wait at least who wait for room that others have.
const ROOM_ASKED_EVERY: Duration = Duration::from_millis(50);

/// How long what is still to be told when the server stops may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How a socket is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    WebSocket,
    EventStream,
}

/// Cloning gives another handle.
#[derive(Clone)]
pub(crate) struct Events {
    shared: Arc<Shared>,
}

/// What events need of the rest of the house.
pub(crate) struct House {
    pub(crate) register: Register,
    pub(crate) plans: Plans,
    pub(crate) hub: Hub,
    pub(crate) broker: Local,
    pub(crate) clock: Clock,
    pub(crate) limits: Arc<Limits>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tasks: TaskGroup,
}

struct Shared {
    house: House,
    /// Couriers are called by reactors, which are no tasks.
    runtime: Handle,
    /// Opens the gateways' secrets. Until there is one nothing is signed.
    keyring: OnceLock<Keyring>,
    /// The way out. Until there is one nothing is told.
    egress: OnceLock<Egress>,
    hall: Arc<Hall>,
    /// Of gateways with sockets that tell something.
    desks: Mutex<HashMap<GatewayId, Weak<Desk>>>,
    /// Lines whose sockets wait for room that others have.
    thirsty: Mutex<Vec<Weak<Line>>>,
    thirst: Notify,
}

impl Events {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn start(house: House) -> Self {
        let limits = &house.limits;
        let hall = Hall::new(
            limits.event_posts_max,
            limits.event_long_posts_max,
            limits.event_bytes_max,
        );
        let events = Self {
            shared: Arc::new(Shared {
                house,
                runtime: Handle::current(),
                keyring: OnceLock::new(),
                egress: OnceLock::new(),
                hall: Arc::new(hall),
                desks: Mutex::default(),
                thirsty: Mutex::default(),
                thirst: Notify::new(),
            }),
        };
        let tasks = events.house().tasks.clone();
        tasks.spawn("mws room", events.clone().share_out_room());
        events
    }

    /// Opens the gateways' secrets with this. Only the first one counts.
    pub(crate) fn sign_with(&self, keyring: Keyring) {
        let _ = self.shared.keyring.set(keyring);
    }

    /// Posts events this way. Only the first one counts.
    pub(crate) fn open(&self, egress: Egress) {
        let _ = self.shared.egress.set(egress);
    }

    fn house(&self) -> &House {
        &self.shared.house
    }

    fn limits(&self) -> &Limits {
        &self.house().limits
    }

    fn now(&self) -> Timestamp {
        self.house().clock.now().into()
    }

    fn count_stall(&self) {
        self.house().counters.event_stalls.add(1);
    }

    /// A line for a socket that was let in.
    fn line(&self, facts: Facts, tags: Vec<Arc<str>>) -> Arc<Line> {
        let desk = self.desk(facts.gateway);
        Arc::new(Line::new(self.clone(), desk, facts, tags))
    }

    fn desk(&self, gateway: GatewayId) -> Arc<Desk> {
        let mut desks = lock(&self.shared.desks);
        if let Some(desk) = desks.get(&gateway).and_then(Weak::upgrade) {
            return desk;
        }
        // Paid for by who brings a new one.
        desks.retain(|_, desk| desk.strong_count() > 0);
        let limits = self.limits();
        let desk = Desk::new(
            &self.shared.hall,
            limits.event_posts_kept_per_gateway,
            limits.event_posts_per_gateway_max,
            limits.event_bytes_kept_per_gateway,
            limits.event_bytes_per_gateway_max,
        );
        let desk = Arc::new(desk);
        desks.insert(gateway, Arc::downgrade(&desk));
        desk
    }

    /// Has a line emptied.
    fn call_courier(&self, line: Arc<Line>) {
        let events = self.clone();
        let tasks = &self.house().tasks;
        let _inside = self.shared.runtime.enter();
        tasks.spawn("mws courier", async move { events.empty(line).await });
    }

    /// Has a socket's reactor told when others have made room.
    fn await_room(&self, line: &Arc<Line>) {
        lock(&self.shared.thirsty).push(Arc::downgrade(line));
        self.shared.thirst.notify_one();
    }

    /// Tells those who wait for room that there is some. There is nobody to tell most of the time.
    async fn share_out_room(self) {
        let tasks = self.house().tasks.clone();
        loop {
            tokio::select! {
                () = tasks.stopping() => return,
                () = self.shared.thirst.notified() => {}
            }
            tokio::time::sleep(ROOM_ASKED_EVERY).await;
            let waiting = std::mem::take(&mut *lock(&self.shared.thirsty));
            for line in waiting.iter().filter_map(Weak::upgrade) {
                if !line.resume() {
                    self.await_room(&line);
                }
            }
        }
    }

    /// Ends some time after the server was told to stop.
    async fn last_words(&self) {
        self.house().tasks.stopping().await;
        tokio::time::sleep(LAST_WORDS).await;
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
