//! The sockets: most stay, some come and go, one does not read. Each holds every message against the number that must
//! come next.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::sockopt::set_socket_linger;
use slab::Slab;

use super::inbound::{Frame, Inbound, Inflater, Way};
use super::ledger::{Channel, Ear, Tally, message, read};
use super::talk::{Reservation, Said};
use crate::poll::Poll;
use crate::samples::Latencies;
use crate::ws::accept;
use crate::ws::frames::{client_text, pong};
use crate::ws::stamp::{Epoch, MESSAGE_BYTES};
use crate::ws::swarm::{SWITCHED, connect, head_end};

/// Handshakes under way at once.
const OPENING_AT_ONCE: usize = 64;
/// Of so many sockets one keeps the ages of what it hears.
const TIMED: usize = 16;
/// What the kernel keeps for the one that does not read.
const STALLED_RECEIVE_BYTES: usize = 8 << 10;
/// How long it does not.
const STALLED_FOR: Duration = Duration::from_secs(25);
const READ_BYTES: usize = 64 << 10;
const HEAD_BYTES_MAX: usize = 4 << 10;
/// Source addresses to go round.
const SOURCES: u64 = 100;
/// A client's close frame with status 1000, masked with zeroes.
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];

/// Why a socket is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Stays,
    Comes,
    Stalls,
}

/// All sockets.
pub(crate) struct Crowd {
    poll: Poll,
    members: Slab<Member>,
    said: Arc<Said>,
    address: SocketAddr,
    epoch: Epoch,
    opening: usize,
    /// Those that come and go, the longest here first.
    visitors: VecDeque<usize>,
    /// The one that does not read, and when it will.
    stalled: Option<(usize, Instant)>,
    pub(crate) outcome: Outcome,
    ready: Vec<u64>,
    buffer: Vec<u8>,
    inflater: Inflater,
    begun: u64,
}

/// What has come of it so far.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) opened: u64,
    pub(crate) left: u64,
    /// Ended by the server, though they had not asked for it.
    pub(crate) dropped: u64,
    /// Messages that nobody has said to this socket.
    pub(crate) foreign: u64,
    pub(crate) slow_readers: u64,
    /// Messages that came compressed, and those that came as events.
    pub(crate) deflated: u64,
    pub(crate) events: u64,
    /// What sockets said to the app, what came back, and what did not before they left.
    pub(crate) asked: u64,
    pub(crate) echoed: u64,
    pub(crate) unanswered: u64,
    pub(crate) ages: Latencies,
}

struct Member {
    stream: TcpStream,
    role: Role,
    way: Way,
    tag: usize,
    /// What it has said to the app and not heard back yet.
    asked: Option<u64>,
    stage: Stage,
}

enum Stage {
    Opening(Vec<u8>),
    Open(Listener),
    /// It has said goodbye.
    Leaving(Listener),
}

struct Listener {
    inbound: Inbound,
    everyone: Ear,
    tag: Ear,
}

/// How a socket goes on after what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// The server has said goodbye, or the connection is at its end.
    Ended,
}

impl Crowd {
    pub(crate) fn new(address: SocketAddr, said: Arc<Said>, epoch: Epoch) -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            members: Slab::new(),
            said,
            address,
            epoch,
            opening: 0,
            visitors: VecDeque::new(),
            stalled: None,
            outcome: Outcome::default(),
            ready: Vec::new(),
            buffer: vec![0; READ_BYTES],
            inflater: Inflater::new(),
            begun: 0,
        })
    }

    /// Open sockets and those on their way.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn is_opening(&self) -> bool {
        self.opening > 0
    }

    pub(crate) fn may_open(&self) -> bool {
        self.opening < OPENING_AT_ONCE
    }

    /// Opens a socket for a reservation.
    pub(crate) fn open(&mut self, reservation: &Reservation, role: Role) -> Result<()> {
        let room = (role == Role::Stalls).then_some(STALLED_RECEIVE_BYTES);
        let source = u8::try_from(1 + self.begun % SOURCES)?;
        let way = way(self.begun, role);
        self.begun += 1;
        let mut stream = connect(self.address, source, room).context("could not connect")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        stream.write_all(&match way {
            Way::Plain => accept::request(&reservation.target),
            Way::Deflated => accept::compressed_request(&reservation.target),
            Way::EventStream => accept::event_stream_request(&reservation.target),
        })?;
        let entry = self.members.vacant_entry();
        self.poll.add(&stream, entry.key() as u64)?;
        entry.insert(Member {
            stream,
            role,
            way,
            tag: reservation.tag,
            asked: None,
            stage: Stage::Opening(Vec::new()),
        });
        self.opening += 1;
        Ok(())
    }

    pub(crate) fn has_stalled(&self) -> bool {
        let mut members = self.members.iter();
        members.any(|(_, member)| member.role == Role::Stalls)
    }

    /// Has the one leave that came first of those that come and go. Every other one says goodbye before, if it can.
    pub(crate) fn dismiss(&mut self) -> Result<()> {
        let Some(key) = self.visitors.pop_front() else {
            return Ok(());
        };
        self.outcome.left += 1;
        let member = &mut self.members[key];
        self.outcome.unanswered += u64::from(member.asked.is_some());
        if self.outcome.left.is_multiple_of(2) || member.way == Way::EventStream {
            self.forget(key);
            return Ok(());
        }
        let stage = std::mem::replace(&mut member.stage, Stage::Opening(Vec::new()));
        if let Stage::Open(listener) = stage {
            member.stage = Stage::Leaving(listener);
        }
        member
            .stream
            .write_all(&CLOSE)
            .context("no goodbye was taken")
    }

    /// Waits for news, and takes them.
    pub(crate) fn step(&mut self, wait: Duration) -> Result<()> {
        if let Some((key, until)) = self.stalled
            && Instant::now() >= until
        {
            self.stalled = None;
            self.poll.add(&self.members[key].stream, key as u64)?;
        }
        let mut ready = std::mem::take(&mut self.ready);
        self.poll.wait(Some(wait), &mut ready)?;
        for key in &ready {
            let key = usize::try_from(*key)?;
            // It may have gone a moment ago.
            if self.members.contains(key) && self.receive(key)? == Fate::Ended {
                self.end(key);
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn receive(&mut self, key: usize) -> Result<Fate> {
        let member = &mut self.members[key];
        let count = match member.stream.read(&mut self.buffer) {
            Ok(0) => return Ok(Fate::Ended),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Fate::Stays),
            Err(_) => return Ok(Fate::Ended),
        };
        let mut bytes = &self.buffer[..count];
        let mut rest = Vec::new();
        if let Stage::Opening(head) = &mut member.stage {
            head.extend_from_slice(bytes);
            let consent = match member.way {
                Way::Plain | Way::Deflated => SWITCHED,
                Way::EventStream => "HTTP/1.1 200 ",
            };
            let Some(end) = head_end(head, consent)? else {
                if head.len() > HEAD_BYTES_MAX {
                    bail!("the answer to a handshake does not end");
                }
                return Ok(Fate::Stays);
            };
            rest.extend_from_slice(&head[end..]);
            bytes = &rest;
            member.stage = Stage::Open(Listener::new(&self.said, member));
            self.opening -= 1;
            self.outcome.opened += 1;
            match member.role {
                Role::Stays => {}
                Role::Comes => {
                    self.visitors.push_back(key);
                    if member.way != Way::EventStream {
                        self.outcome.asked += 1;
                        let number = self.outcome.asked;
                        let text = message(self.epoch, Channel::App, number, MESSAGE_BYTES);
                        member.stream.write_all(&client_text(text.as_bytes()))?;
                        member.asked = Some(number);
                    }
                }
                Role::Stalls => {
                    self.poll.remove(&member.stream)?;
                    self.stalled = Some((key, Instant::now() + STALLED_FOR));
                }
            }
        }
        let (Stage::Open(listener) | Stage::Leaving(listener)) = &mut member.stage else {
            return Ok(Fate::Stays);
        };
        let timed = key.is_multiple_of(TIMED) && member.role == Role::Stays;
        let now = Instant::now();
        let (outcome, inflater, epoch) = (&mut self.outcome, &mut self.inflater, self.epoch);
        let mut answer = None;
        let mut fate = Fate::Stays;
        let Listener {
            inbound,
            everyone,
            tag,
        } = listener;
        let asked = &mut member.asked;
        let mut hear = |outcome: &mut Outcome, text: &[u8]| {
            let Some((channel, number)) = read(text) else {
                outcome.foreign += 1;
                return;
            };
            let ear = match channel {
                Channel::Everyone => &mut *everyone,
                Channel::Tag => &mut *tag,
                Channel::App if asked.take() == Some(number) => {
                    outcome.echoed += 1;
                    return;
                }
                Channel::App => {
                    outcome.foreign += 1;
                    return;
                }
            };
            outcome.tally += ear.hear(number);
            if timed && let Some(age) = epoch.age(text, now) {
                outcome.ages.add(age);
            }
        };
        let is_stream = member.way == Way::EventStream;
        inbound.feed(bytes, &mut |frame| match frame {
            Frame::Text(text) => {
                outcome.events += u64::from(is_stream);
                hear(outcome, text);
            }
            Frame::Deflated(text) => {
                outcome.deflated += 1;
                match inflater.text(text) {
                    Ok(text) => hear(outcome, text),
                    Err(_) => outcome.foreign += 1,
                }
            }
            Frame::Ping(payload) => answer = Some(pong(payload)),
            Frame::Close => fate = Fate::Ended,
        })?;
        if let Some(answer) = answer {
            // If there is no room for it the server gives the socket up, which is counted.
            let _ = member.stream.write(&answer);
        }
        Ok(fate)
    }

    /// Takes note of an end that the server has made.
    fn end(&mut self, key: usize) {
        let member = &self.members[key];
        match (&member.stage, member.role) {
            (Stage::Leaving(_), _) => {}
            (Stage::Opening(_), _) => {
                self.opening -= 1;
                self.outcome.dropped += 1;
            }
            (Stage::Open(_), Role::Stalls) => self.outcome.slow_readers += 1,
            (Stage::Open(_), Role::Stays | Role::Comes) => {
                self.outcome.dropped += 1;
                self.visitors.retain(|other| *other != key);
            }
        }
        self.forget(key);
    }

    fn forget(&mut self, key: usize) {
        let member = self.members.remove(key);
        // Resets the connection, so that thousands of them do not stay behind in TIME_WAIT.
        let _ = set_socket_linger(&member.stream, Some(Duration::ZERO));
    }

    /// How many messages are still due to the sockets that read.
    pub(crate) fn due(&self) -> u64 {
        let everyone = self.said.everyone.load(Ordering::SeqCst);
        let due = self.members.iter().map(|(_, member)| match &member.stage {
            Stage::Open(listener) if member.role != Role::Stalls => {
                let tag = self.said.tags[member.tag].load(Ordering::SeqCst);
                let misses = listener.everyone.misses(everyone) + listener.tag.misses(tag);
                misses + u64::from(member.asked.is_some())
            }
            _ => 0,
        });
        due.sum()
    }

    /// Has all sockets go, and says how many there were.
    pub(crate) fn disperse(&mut self) -> usize {
        let count = self.members.len();
        for member in self.members.drain() {
            let _ = set_socket_linger(&member.stream, Some(Duration::ZERO));
            let _ = member.stream.shutdown(Shutdown::Both);
        }
        self.visitors.clear();
        self.stalled = None;
        self.opening = 0;
        count
    }
}

impl Listener {
    /// What is counted only now has not been said yet, so it must be heard.
    fn new(said: &Said, member: &Member) -> Self {
        let tag = match member.role {
            Role::Stalls => &said.stalled,
            Role::Stays | Role::Comes => &said.tags[member.tag],
        };
        let next = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::SeqCst) + 1;
        Self {
            inbound: Inbound::of(member.way),
            everyone: Ear::from(next(&said.everyone)),
            tag: Ear::from(next(tag)),
        }
    }
}

/// Of four sockets one hears compressed messages and one an event stream. Who does not read is a plain one, so that
/// what waits for it is much.
fn way(number: u64, role: Role) -> Way {
    match (role, number % 4) {
        (Role::Stalls, _) | (_, 0 | 1) => Way::Plain,
        (_, 2) => Way::Deflated,
        _ => Way::EventStream,
    }
}
