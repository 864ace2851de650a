//! Who talks to the server besides the sockets.
//!
//! One says numbered messages to everyone, one to the tags in turn, one large ones to whoever does not read, and one
//! keeps a stock of reservations. Each is a thread with a connection of its own that waits for every answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::ledger::{Channel, message};
use crate::http::client::Client;
use crate::peers::pilvi::Instance;
use crate::ws::stamp::{Epoch, MESSAGE_BYTES};

/// The tag of a socket that does not read.
pub(crate) const STALLED: &str = "stalled";
/// What is said to it, so that it is soon too much.
const LARGE_BYTES: usize = 16 << 10;
/// Reservations made ahead.
const STOCK: usize = 64;
/// How long a thread waits before it looks again whether it is to end, or whether there is room.
const NAP: Duration = Duration::from_millis(5);

/// How often each of the three says something, in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) everyone: f64,
    pub(crate) tags: f64,
    pub(crate) stalled: f64,
}

/// What has been said so far: numbers that were sent, answered or not.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) everyone: AtomicU64,
    /// By the number of the tag.
    pub(crate) tags: Vec<AtomicU64>,
    pub(crate) stalled: AtomicU64,
}

/// The right to open a socket.
pub(crate) struct Reservation {
    pub(crate) target: String,
    pub(crate) tag: usize,
}

/// The threads that talk.
pub(crate) struct Talk {
    pub(crate) said: Arc<Said>,
    pub(crate) reservations: Receiver<Reservation>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// What every thread knows.
#[derive(Clone)]
struct Speaker {
    address: SocketAddr,
    gateway: Arc<Instance>,
    said: Arc<Said>,
    stop: Arc<AtomicBool>,
    epoch: Epoch,
}

impl Talk {
    pub(crate) fn start(
        address: SocketAddr,
        gateway: Arc<Instance>,
        tags: usize,
        epoch: Epoch,
    ) -> Result<Self> {
        let said = Arc::new(Said {
            everyone: AtomicU64::new(0),
            tags: (0..tags).map(|_| AtomicU64::new(0)).collect(),
            stalled: AtomicU64::new(0),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let speaker = Speaker {
            address,
            gateway,
            said: Arc::clone(&said),
            stop: Arc::clone(&stop),
            epoch,
        };
        let (stock, reservations) = sync_channel(STOCK);
        let mut talk = Self {
            said,
            reservations,
            stop,
            threads: Vec::new(),
        };
        talk.spawn(speaker, move |speaker| speaker.reserve(&stock))?;
        Ok(talk)
    }

    /// Begins to say messages.
    pub(crate) fn begin(
        &mut self,
        address: SocketAddr,
        gateway: &Arc<Instance>,
        pace: Pace,
        epoch: Epoch,
    ) -> Result<()> {
        let speaker = Speaker {
            address,
            gateway: Arc::clone(gateway),
            said: Arc::clone(&self.said),
            stop: Arc::clone(&self.stop),
            epoch,
        };
        self.spawn(speaker.clone(), move |speaker| {
            speaker.every(pace.everyone, |_| None)
        })?;
        self.spawn(speaker.clone(), move |speaker| {
            speaker.every(pace.tags, |turn| Some(turn % speaker.said.tags.len()))
        })?;
        self.spawn(speaker, move |speaker| speaker.flood_stalled(pace.stalled))
    }

    fn spawn(
        &mut self,
        speaker: Speaker,
        work: impl FnOnce(&Speaker) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let thread = std::thread::Builder::new().spawn(move || work(&speaker));
        self.threads.push(thread.context("no thread is to be had")?);
        Ok(())
    }

    /// Whether somebody has given up.
    pub(crate) fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Has everybody finish the sentence.
    pub(crate) fn end(self) -> Result<Arc<Said>> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread
                .join()
                .map_err(|_| anyhow!("a thread that talks to the server broke down"))??;
        }
        Ok(self.said)
    }
}

impl Speaker {
    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Makes reservations, for the tags in turn.
    fn reserve(&self, stock: &SyncSender<Reservation>) -> Result<()> {
        let mut client = Client::connect(self.address)?;
        for number in 0.. {
            let tag = number % self.said.tags.len();
            let target = self.gateway.reserve(&mut client, Some(&name(tag)))?;
            let mut next = Reservation { target, tag };
            loop {
                if self.stops() {
                    return Ok(());
                }
                match stock.try_send(next) {
                    Ok(()) => break,
                    Err(TrySendError::Full(back)) => next = back,
                    Err(TrySendError::Disconnected(_)) => return Ok(()),
                }
                std::thread::sleep(NAP);
            }
        }
        Ok(())
    }

    /// Says numbered messages so many times a second; `to` says to which tag, if to one.
    fn every(&self, a_second: f64, to: impl Fn(usize) -> Option<usize>) -> Result<()> {
        let mut client = Client::connect(self.address)?;
        self.paced(a_second, |turn| {
            let tag = to(turn);
            let (channel, counter) = match tag {
                None => (Channel::Everyone, &self.said.everyone),
                Some(tag) => (Channel::Tag, &self.said.tags[tag]),
            };
            let tag = tag.map(name);
            self.say(&mut client, counter, channel, tag.as_deref(), MESSAGE_BYTES)
        })
    }

    fn flood_stalled(&self, a_second: f64) -> Result<()> {
        let mut client = Client::connect(self.address)?;
        let counter = &self.said.stalled;
        self.paced(a_second, |_| {
            self.say(
                &mut client,
                counter,
                Channel::Tag,
                Some(STALLED),
                LARGE_BYTES,
            )
        })
    }

    /// Whoever opens a socket after the number was counted hears this message.
    fn say(
        &self,
        client: &mut Client,
        counter: &AtomicU64,
        channel: Channel,
        tag: Option<&str>,
        length: usize,
    ) -> Result<()> {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        let text = message(self.epoch, channel, number, length);
        client.ask(self.gateway.message(&text, tag)).map(drop)
    }

    fn paced(&self, a_second: f64, mut say: impl FnMut(usize) -> Result<()>) -> Result<()> {
        let start = Instant::now();
        let mut turn = 0;
        while !self.stops() {
            let due = start + Duration::from_secs_f64(turn as f64 / a_second);
            match due.checked_duration_since(Instant::now()) {
                Some(wait) => std::thread::sleep(wait.min(NAP)),
                None => {
                    say(turn)?;
                    turn += 1;
                }
            }
        }
        Ok(())
    }
}

fn name(tag: usize) -> String {
    format!("tag-{tag}")
}
