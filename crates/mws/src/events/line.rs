//! What one socket has said and its gateway's app has not been told yet.
//!
//! A line is shared by the socket's reactor, which puts things in, and the courier that takes them out one by one. Its
//! length is bounded: when it is full the reactor reads no more of that socket, whose peer is slowed down by its own
//! network, until there is room again. So nothing is dropped and nothing piles up.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilvi_model::{GatewayId, Timestamp};

use super::desk::Desk;
use super::{Events, Transport};
use crate::deflate::Arrived;
use crate::reactor::Station;
use crate::reactor::inbox::Command;
use crate::socket_id::SocketId;

/// What a waiting message takes beside its bytes.
const OVERHEAD_BYTES: usize = 256;

/// Who a socket is, for the app.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) gateway: GatewayId,
    pub(crate) id: SocketId,
    pub(crate) connected_at: Timestamp,
    /// The tag of the user who came, if it is known.
    pub(crate) user: Option<Arc<str>>,
    pub(crate) transport: Transport,
}

/// How a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) code: u16,
    pub(crate) reason: Box<str>,
    /// Both sides said goodbye.
    pub(crate) clean: bool,
}

impl Ending {
    /// The connection broke off (RFC 6455, 7.1.5).
    pub(crate) fn abnormal() -> Self {
        Self {
            code: 1006,
            reason: Box::default(),
            clean: false,
        }
    }
}

/// What the app is to be told next.
#[derive(Debug)]
pub(crate) enum Entry {
    Message {
        /// Counted from 1 for each socket.
        sequence: u64,
        arrived: Arrived,
        at: Timestamp,
    },
    /// The last one.
    Disconnect { ending: Ending, at: Timestamp },
}

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) facts: Facts,
    events: Events,
    desk: Arc<Desk>,
    /// A plain mutex: held for a push or a pop.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tags: Vec<Arc<str>>,
    waiting: VecDeque<Entry>,
    /// What waits and what the courier has in hand, as it is counted at the desk.
    bytes: usize,
    /// How many messages there have been.
    sequence: u64,
    /// A courier is at it.
    served: bool,
    /// The socket is not read until there is room.
    stalled: bool,
    /// Nothing of it but its end can be told any more.
    given_up: bool,
    /// Nothing follows.
    ended: bool,
    /// Whose socket it is.
    station: Option<Arc<Station>>,
}

impl Line {
    pub(super) fn new(events: Events, desk: Arc<Desk>, facts: Facts, tags: Vec<Arc<str>>) -> Self {
        let state = State {
            tags,
            waiting: VecDeque::new(),
            bytes: 0,
            sequence: 0,
            served: false,
            stalled: false,
            given_up: false,
            ended: false,
            station: None,
        };
        Self {
            facts,
            events,
            desk,
            state: Mutex::new(state),
        }
    }

    /// Says which reactor is to be told that there is room again.
    pub(crate) fn belongs_to(&self, station: &Arc<Station>) {
        self.state().station = Some(Arc::clone(station));
    }

    /// Counts what has arrived of a message that is not complete yet.
    pub(crate) fn grow(&self, bytes: usize) {
        self.desk.add(bytes);
    }

    /// No longer counts it: the message is not to be.
    pub(crate) fn shrink(&self, bytes: usize) {
        self.desk.remove(bytes);
    }

    /// Adds a message, of which `counted` bytes have been counted while it arrived.
    pub(crate) fn push(self: &Arc<Self>, arrived: Arrived, counted: usize) {
        let size = arrived.bytes.len() + OVERHEAD_BYTES;
        self.desk.add(size);
        self.desk.remove(counted);
        let mut state = self.state();
        if state.ended || state.given_up {
            drop(state);
            self.desk.remove(size);
            return;
        }
        state.bytes += size;
        state.sequence += 1;
        let message = Entry::Message {
            sequence: state.sequence,
            arrived,
            at: self.events.now(),
        };
        state.waiting.push_back(message);
        self.call(state);
    }

    /// Adds the last entry.
    pub(crate) fn end(self: &Arc<Self>, ending: Ending) {
        let mut state = self.state();
        if mem::replace(&mut state.ended, true) {
            return;
        }
        state.station = None;
        state.stalled = false;
        let at = self.events.now();
        state.waiting.push_back(Entry::Disconnect { ending, at });
        self.call(state);
    }

    /// Sees to it that somebody takes out what waits.
    fn call(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let served = mem::replace(&mut state.served, true);
        drop(state);
        if !served {
            self.events.call_courier(Arc::clone(self));
        }
    }

    /// Whether the socket may be read. If not, its reactor will be told when it may.
    pub(crate) fn has_room(self: &Arc<Self>) -> bool {
        let limits = self.events.limits();
        let mut state = self.state();
        let own = state.waiting.len() < limits.event_line_messages_max
            && state.bytes < limits.event_line_bytes_max;
        let room = own && self.desk.has_room();
        if !room && !state.stalled {
            state.stalled = true;
            drop(state);
            self.events.count_stall();
            if own {
                // Room comes from other sockets, which do not know of this one.
                self.events.await_room(self);
            }
        }
        room
    }

    /// Whether a message of which a part has arrived may go on arriving.
    pub(crate) fn may_grow(self: &Arc<Self>) -> bool {
        if self.desk.has_room() {
            return true;
        }
        let stalled = mem::replace(&mut self.state().stalled, true);
        if !stalled {
            self.events.count_stall();
            self.events.await_room(self);
        }
        false
    }

    /// Whether there is room for more of all sockets of the gateway.
    pub(crate) fn gateway_has_room(&self) -> bool {
        self.desk.has_room()
    }

    /// Has the socket read again, if it waits for that and there is room. Whether it need not be asked again.
    pub(super) fn resume(&self) -> bool {
        let limits = self.events.limits();
        let mut state = self.state();
        if !state.stalled {
            return true;
        }
        // With some distance to where it stops, so that it does not stop and go for every message.
        let own = state.waiting.len() <= limits.event_line_messages_max / 2
            && state.bytes <= limits.event_line_bytes_max / 2;
        if !own {
            // The courier will ask.
            return true;
        }
        if !self.desk.has_room() {
            return false;
        }
        state.stalled = false;
        if let Some(station) = state.station.clone() {
            drop(state);
            let Facts { gateway, id, .. } = self.facts;
            station.inbox.push(Command::Resume { gateway, id });
        }
        true
    }

    /// Takes out what comes next. `None`: nothing, and the courier is dismissed.
    pub(super) fn next(&self) -> Option<Entry> {
        let mut state = self.state();
        let next = state.waiting.pop_front();
        state.served = next.is_some();
        next
    }

    /// What the courier had in hand is done with.
    pub(super) fn done(self: &Arc<Self>, entry: &Entry) {
        if let Entry::Message { arrived, .. } = entry {
            let size = arrived.bytes.len() + OVERHEAD_BYTES;
            self.state().bytes -= size;
            self.desk.remove(size);
        }
        if !self.resume() {
            self.events.await_room(self);
        }
    }

    /// Drops what waits and takes no more: the socket is given up, and only its end will be told.
    pub(super) fn give_up(&self) -> usize {
        let mut state = self.state();
        state.given_up = true;
        let before = state.waiting.len();
        let mut dropped = 0;
        state.waiting.retain(|entry| match entry {
            Entry::Disconnect { .. } => true,
            Entry::Message { arrived, .. } => {
                dropped += arrived.bytes.len() + OVERHEAD_BYTES;
                false
            }
        });
        state.bytes -= dropped;
        let lost = before - state.waiting.len();
        drop(state);
        self.desk.remove(dropped);
        lost
    }

    pub(crate) fn tags(&self) -> Vec<Arc<str>> {
        self.state().tags.clone()
    }

    /// The socket has other tags now.
    pub(crate) fn set_tags(&self, tags: Vec<Arc<str>>) {
        self.state().tags = tags;
    }

    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.state().bytes);
        self.desk.remove(bytes);
    }
}
