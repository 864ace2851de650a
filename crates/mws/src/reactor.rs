//! A reactor: one thread that does all reading and writing of its sockets.
//!
//! A socket belongs to one reactor for life, and what a reactor knows of its sockets nobody else touches, so the way of
//! a message takes no lock but that of the [`inbox`]. Each turn looks at what arrived, lets time pass, carries out
//! everything that waits in the inbox, and at the end writes each socket that has something to send once, with all of
//! it. While a turn lasts, the messages of the next one gather: the more there is to do, the more is joined.
//!
//! A turn is a function of the time it is given, so tests need no thread and no patience.

pub(crate) mod backlog;
pub(crate) mod batch;
pub(crate) mod inbox;
pub(crate) mod question;
pub(crate) mod socket;
pub(crate) mod tally;
pub(crate) mod transport;
pub(crate) mod wheel;

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pilvi_model::GatewayId;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use slab::Slab;

use crate::counters::Counters;
use crate::limits::Limits;
use crate::presence::Presence;
use crate::roster::Roster;
use crate::session::{End, Farewell, Session};
use crate::socket_id::SocketId;
use batch::Batch;
use inbox::{Command, Inbox, Joining, Publication};
use socket::{Fate, Newcomer, Place, Socket, Ticket, Turn, first_ping};
use tally::{Gauges, Tally};
use wheel::Wheel;

/// The key of the inbox's bell.
const BELL: u64 = u64::MAX;

/// The events of one turn; what does not fit comes with the next.
const EVENTS: usize = 1024;

/// There is room for so many sockets from the beginning. Room that nobody has used takes no memory, and a list that is
/// moved each time that it has doubled leaves its former places behind.
const SOCKETS_AT_FIRST: usize = 1024;

/// What is read in one go, by all sockets in turn. Clients have little to say.
const READ_BYTES: usize = 16 << 10;

/// What a reactor shares with the rest of the house.
#[derive(Debug)]
pub(crate) struct Station {
    pub(crate) limits: Arc<Limits>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) presence: Presence,
    pub(crate) inbox: Inbox,
    pub(crate) gauges: Gauges,
    /// No socket is to stay, nor the reactor when the last one has ended.
    pub(crate) closing: AtomicBool,
}

/// What the kernel says of a socket.
#[derive(Clone, Copy, Debug)]
struct News {
    key: u32,
    readable: bool,
    writable: bool,
}

#[derive(Debug)]
pub(crate) struct Reactor {
    station: Arc<Station>,
    epoll: OwnedFd,
    sockets: Slab<Socket>,
    /// Only gateways with sockets here.
    rosters: HashMap<GatewayId, Roster>,
    batch: Batch,
    wheel: Wheel,
    /// Sockets that may have more to read.
    unread: Vec<u32>,
    tally: Tally,
    /// What all backlogs hold together.
    waiting_bytes: usize,
    /// How many sockets there have been.
    joined: u32,
    /// The bell has just been rung.
    rung: bool,
    // Buffers that are used again in every turn.
    news: Vec<News>,
    commands: Vec<Command>,
    keys: Vec<u32>,
    bytes: Box<[u8]>,
}

impl Reactor {
    pub(crate) fn new(station: Arc<Station>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // Watched for edges, so that nobody needs to read it.
        let edges = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &station.inbox, EventData::new_u64(BELL), edges)?;
        Ok(Self {
            epoll,
            sockets: Slab::with_capacity(SOCKETS_AT_FIRST),
            rosters: HashMap::new(),
            batch: Batch::new(),
            wheel: wheel_for(&station.limits, Instant::now()),
            unread: Vec::new(),
            tally: Tally::default(),
            waiting_bytes: 0,
            joined: 0,
            rung: false,
            news: Vec::new(),
            commands: Vec::new(),
            keys: Vec::new(),
            bytes: vec![0; READ_BYTES].into_boxed_slice(),
            station,
        })
    }

    pub(crate) fn station(&self) -> &Arc<Station> {
        &self.station
    }

    /// Turns until it is told to close and the last socket has ended.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut next = Instant::now();
        while !self.is_done() {
            let wait = self.wait_at(Instant::now());
            self.look(wait)?;
            if std::mem::take(&mut self.rung) {
                // Whoever rang may be about to say more, and on a busy core it was stopped in the middle to let us run.
                // What it adds now leaves in the same writes.
                std::thread::yield_now();
            }
            self.gather(next);
            let begun = Instant::now();
            self.turn(begun);
            let ended = Instant::now();
            next = ended + breath(ended.saturating_duration_since(begun));
        }
        Ok(())
    }

    /// Lets the messages of the next turn gather: until `latest`, or until some have come and no more follow.
    fn gather(&self, latest: Instant) {
        const GLANCE: Duration = Duration::from_micros(50);
        let mut waiting = self.station.inbox.len();
        loop {
            let left = latest.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(GLANCE));
            let before = std::mem::replace(&mut waiting, self.station.inbox.len());
            if before > 0 && before == waiting {
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.is_closing() && self.sockets.is_empty() && self.station.inbox.close_if_empty()
    }

    fn is_closing(&self) -> bool {
        self.station.closing.load(Ordering::SeqCst)
    }

    /// How long nothing need be done unless something comes in. `None`: for ever.
    fn wait_at(&self, now: Instant) -> Option<Duration> {
        if !self.unread.is_empty() || !self.station.inbox.fall_asleep() {
            return Some(Duration::ZERO);
        }
        self.wheel.next(now)
    }

    /// Waits for news of sockets or the inbox.
    pub(crate) fn look(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let wait = wait.map(|wait| Timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        let mut events = [MaybeUninit::<Event>::uninit(); EVENTS];
        let events = match epoll::wait(&self.epoll, &mut events, wait.as_ref()) {
            Ok((events, _)) => &*events,
            Err(rustix::io::Errno::INTR) => &[],
            Err(error) => return Err(error.into()),
        };
        let rung = &mut self.rung;
        let news = events.iter().copied().filter_map(|Event { flags, data }| {
            let Ok(key) = u32::try_from(data.u64()) else {
                *rung = true;
                return None;
            };
            Some(News {
                key,
                readable: flags.intersects(!EventFlags::OUT),
                writable: flags.contains(EventFlags::OUT),
            })
        });
        self.news.clear();
        self.news.extend(news);
        Ok(())
    }

    /// Does everything there is to do at `now`. Sockets are taken out only at the end, so that no key changes its owner
    /// while somebody refers to it.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.read(now);
        self.heed_time(now);
        self.carry_out(now);
        self.flush(now);
        let Station {
            counters, gauges, ..
        } = &*self.station;
        self.tally.report(counters, gauges);
        gauges
            .waiting_bytes
            .store(self.waiting_bytes, Ordering::Relaxed);
    }

    fn read(&mut self, now: Instant) {
        for key in std::mem::take(&mut self.unread) {
            let socket = self.sockets.get(key as usize);
            if socket.is_some_and(|socket| socket.unread) {
                self.read_socket(key, now);
            }
        }
        let mut news = std::mem::take(&mut self.news);
        for News {
            key,
            readable,
            writable,
        } in news.drain(..)
        {
            if writable && self.sockets[key as usize].unblock() {
                self.look_again(key);
            }
            if readable {
                self.read_socket(key, now);
            }
        }
        self.news = news;
    }

    fn read_socket(&mut self, key: u32, now: Instant) {
        let socket = &mut self.sockets[key as usize];
        socket.read(&mut self.bytes, now, &self.station.limits);
        if socket.unread {
            self.unread.push(key);
        }
        self.batch.stir(key);
        self.unlist_if_ending(key);
    }

    fn heed_time(&mut self, now: Instant) {
        let mut keys = std::mem::take(&mut self.keys);
        while let Some(tick) = self.wheel.pass(now, &mut keys) {
            for key in &keys {
                let Some(socket) = self.sockets.get_mut(*key as usize) else {
                    continue;
                };
                // An entry from before the deadline came closer, or before the key served another socket.
                if socket.alarm != tick {
                    continue;
                }
                socket.alarm = 0;
                socket.elapse(now, &self.station.limits, &mut self.tally);
                self.look_again(*key);
            }
        }
        self.keys = keys;
    }

    fn carry_out(&mut self, now: Instant) {
        let mut commands = std::mem::take(&mut self.commands);
        self.station.inbox.take(&mut commands);
        for command in commands.drain(..) {
            match command {
                Command::Publish(publication) => self.publish(&publication),
                Command::Join(joining) => self.join(*joining, now),
                Command::End {
                    gateway,
                    id,
                    farewell,
                    answer,
                } => {
                    let roster = self.rosters.get(&gateway);
                    let socket = roster.and_then(|roster| roster.socket(id));
                    if let Some(key) = socket {
                        self.end(key, &farewell, now);
                    }
                    // Who asked may have gone.
                    let _ = answer.send(socket.is_some());
                }
                Command::EndAll(gateway, farewell) => self.end_all_of(gateway, &farewell, now),
                Command::Resume { gateway, id } => self.resume(gateway, id),
                Command::Ask(gateway, question) => {
                    let retagged = question.retags();
                    question.answer(self.rosters.get_mut(&gateway), &self.station.limits);
                    if let Some(id) = retagged {
                        self.pass_on_tags(gateway, id);
                    }
                }
                Command::Watch(gateway, plan) => {
                    if let Some(roster) = self.rosters.get_mut(&gateway) {
                        roster.watch(gateway, plan.as_ref(), &self.station.presence);
                    }
                }
                Command::Close => self.close(now),
            }
        }
        // After a burst the list would keep its size for ever.
        commands.shrink_to(EVENTS);
        self.commands = commands;
    }

    fn publish(&mut self, publication: &Publication) {
        if let Some(roster) = self.rosters.get(&publication.gateway) {
            self.batch.begin(Arc::clone(&publication.message));
            roster.route(&publication.to, |socket| self.batch.give(socket));
        }
    }

    /// Takes in a socket. It is in its roster before the answer to its handshake leaves: who has seen the answer gets
    /// every message that is accepted after it.
    fn join(&mut self, joining: Joining, now: Instant) {
        let Joining {
            newcomer,
            presence,
            replay,
        } = joining;
        let Newcomer {
            transport,
            head,
            read_ahead,
            seat,
            ticket,
            permit,
        } = newcomer;
        let limits = &self.station.limits;
        let dialect = seat.format().dialect();
        let first_ping = first_ping(dialect.ping_every(limits), self.joined);
        self.joined = self.joined.wrapping_add(1);
        let mut session = Session::new(dialect, limits, now, first_ping);
        let (ticket, claim, inbound) = match ticket {
            Ok(Ticket {
                gateway,
                connected,
                claim,
                inbound,
            }) => (Ok((gateway, connected)), claim, inbound),
            Err(farewell) => (Err(farewell), None, None),
        };
        if let Some(inbound) = &inbound {
            inbound.line().belongs_to(&self.station);
            if inbound.listens() {
                session = session.with_messages_of(limits.event_message_bytes_max);
            }
        }
        if seat.format().is_compressed() {
            session = session.with_compression();
        }
        let mut socket = Socket::new(transport, head, seat, permit, session, claim);
        socket.inbound = inbound;
        let key = narrow(self.sockets.vacant_key());
        let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(key.into());
        if let Err(error) = epoll::add(&self.epoll, socket.transport(), data, events) {
            tracing::error!(%error, "a web socket could not be watched and is closed");
            return;
        }
        socket.receive(&read_ahead, now, limits);
        match ticket {
            Err(farewell) => socket.leave(&farewell, now, limits),
            Ok(_) if self.is_closing() => socket.leave(&Farewell::GOING_AWAY, now, limits),
            Ok((gateway, connected)) if socket.is_open() => {
                let roster = self.rosters.entry(gateway).or_default();
                roster.watch(gateway, presence.as_ref(), &self.station.presence);
                let entry = roster.insert(&connected, key);
                self.tally.deliveries += replay.len();
                socket.replay(replay);
                socket.place = Some(Place { gateway, entry });
            }
            // What came behind the handshake was its end.
            Ok(_) => {}
        }
        if socket.unread {
            self.unread.push(key);
        }
        self.waiting_bytes += socket.waiting_bytes();
        self.sockets.insert(socket);
        self.batch.stir(key);
    }

    /// Ends a socket once what waits for it has been sent. It is out of its gateway at once.
    fn end(&mut self, key: u32, farewell: &Farewell, now: Instant) {
        let socket = &mut self.sockets[key as usize];
        socket.confirm(&mut self.tally);
        socket.leave(farewell, now, &self.station.limits);
        self.look_again(key);
    }

    /// Reads a socket again that was not to be read.
    fn resume(&mut self, gateway: GatewayId, id: SocketId) {
        let roster = self.rosters.get(&gateway);
        let Some(key) = roster.and_then(|roster| roster.socket(id)) else {
            return;
        };
        self.sockets[key as usize].resume();
        self.look_again(key);
    }

    /// Has a socket's app know its tags.
    fn pass_on_tags(&mut self, gateway: GatewayId, id: SocketId) {
        let Some(roster) = self.rosters.get(&gateway) else {
            return;
        };
        if let Some(key) = roster.socket(id)
            && let Some(inbound) = &self.sockets[key as usize].inbound
            && let Some(connected) = roster.find(id)
        {
            inbound.line().set_tags(connected.tags);
        }
    }

    /// Sees to what a socket has to say after something was done to it.
    fn look_again(&mut self, key: u32) {
        if self.sockets[key as usize].unread {
            self.unread.push(key);
        }
        self.batch.stir(key);
        self.unlist_if_ending(key);
    }

    fn end_all_of(&mut self, gateway: GatewayId, farewell: &Farewell, now: Instant) {
        let Some(roster) = self.rosters.get(&gateway) else {
            return;
        };
        let keys: Vec<u32> = roster.sockets().collect();
        for key in keys {
            self.end(key, farewell, now);
        }
    }

    fn close(&mut self, now: Instant) {
        let keys: Vec<u32> = self.sockets.iter().map(|(key, _)| narrow(key)).collect();
        for key in keys {
            self.end(key, &Farewell::GOING_AWAY, now);
        }
    }

    fn unlist_if_ending(&mut self, key: u32) {
        let socket = &mut self.sockets[key as usize];
        if !socket.is_open()
            && let Some(place) = socket.place.take()
        {
            if socket.unread {
                // It is read again for its part of the goodbye.
                self.unread.push(key);
            }
            self.unlist(place);
        }
    }

    fn unlist(&mut self, place: Place) {
        let Some(roster) = self.rosters.get_mut(&place.gateway) else {
            return;
        };
        roster.remove(place.entry);
        if roster.is_empty() {
            self.rosters.remove(&place.gateway);
        }
    }

    /// Writes each socket that has something to send or to say.
    fn flush(&mut self, now: Instant) {
        let slow_before = self.tally.slow_readers;
        for number in 0.. {
            let Some(key) = self.batch.stirred(number) else {
                break;
            };
            self.flush_socket(key, now);
        }
        self.batch.clear();
        let slow = self.tally.slow_readers - slow_before;
        if slow > 0 {
            tracing::info!(sockets = slow, "dropped slow readers");
        }
    }

    fn flush_socket(&mut self, key: u32, now: Instant) {
        let given = self.batch.take(key);
        let socket = &mut self.sockets[key as usize];
        let waited = socket.waiting_bytes();
        let mut turn = Turn {
            batch: &mut self.batch,
            tally: &mut self.tally,
            limits: &self.station.limits,
            now,
        };
        let fate = socket.flush(given, &mut turn);
        self.waiting_bytes = self.waiting_bytes - waited + socket.waiting_bytes();
        match fate {
            Fate::Ends(end) => self.remove(key, end),
            Fate::Stays => {
                self.unlist_if_ending(key);
                self.set_alarm(key);
            }
        }
    }

    /// While a socket is open, its deadline only moves away: how long it may go unread is longer than until its next
    /// ping, when it is looked at in any case.
    fn set_alarm(&mut self, key: u32) {
        let socket = &mut self.sockets[key as usize];
        if socket.alarm != 0 && socket.is_open() {
            return;
        }
        let tick = self.wheel.tick_of(socket.deadline(&self.station.limits));
        if socket.alarm == 0 || tick < socket.alarm {
            socket.alarm = tick;
            self.wheel.set(key, tick);
        }
    }

    fn remove(&mut self, key: u32, end: End) {
        let socket = self.sockets.remove(key as usize);
        self.waiting_bytes -= socket.waiting_bytes();
        self.tally.ended(end);
        if let Some(mut inbound) = socket.inbound {
            inbound.end(end == End::Closed);
        }
        if let Some(place) = socket.place {
            self.unlist(place);
        }
    }
}

/// How long at most the messages of the next turn may gather after one that took so long. While a turn writes to
/// thousands of sockets, those who publish wait for one of them or all; with a moment to answer them, they fill one
/// turn instead of every second one. A turn after a quiet time waits for nothing.
fn breath(turn: Duration) -> Duration {
    const LONGEST: Duration = Duration::from_millis(1);
    const PART: u32 = 16;
    (turn / PART).min(LONGEST)
}

/// Ticks that are short beside every deadline, yet few in a second.
fn wheel_for(limits: &Limits, now: Instant) -> Wheel {
    const LONGEST: Duration = Duration::from_millis(250);
    const SHORTEST: Duration = Duration::from_millis(1);
    let shortest_deadline = limits
        .close_patience
        .min(limits.ping_every)
        .min(limits.comment_every);
    let tick = (shortest_deadline / 32).clamp(SHORTEST, LONGEST);
    Wheel::new(tick, limits.close_patience.max(limits.ping_every), now)
}

fn narrow(key: usize) -> u32 {
    u32::try_from(key).expect("there are less than four billion sockets")
}

#[cfg(test)]
impl Reactor {
    /// Has the next turn fail, as a mistake of ours would.
    pub(crate) fn break_down(&mut self) {
        self.batch.stir(7);
    }
}

#[cfg(test)]
#[path = "reactor/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "reactor/stream_tests.rs"]
mod stream_tests;

#[cfg(test)]
#[path = "reactor/format_tests.rs"]
mod format_tests;
