//! Publishers and listeners in one loop: what is measured of a gateway.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};

use super::frames::write_text;
use super::publishers::Publishers;
use super::stamp::{Epoch, MESSAGE_BYTES};
use super::swarm::{Opening, Swarm};
use super::tls;
use crate::poll::Poll;
use crate::samples::Latencies;
use crate::usage::Tree;

/// Connections that publish while throughput is measured; also the largest window.
pub(crate) const PUBLISHERS: usize = 16;
/// The longest time without any delivery while some are due.
const STALL: Duration = Duration::from_secs(20);
/// How long it sleeps at most where nothing may be due.
const NAP: Duration = Duration::from_millis(10);
/// Sockets have keys below it.
const FIRST_PUBLISHER_KEY: u64 = 1 << 32;

/// A swarm that listens to one server, and publishers.
pub(crate) struct Fan {
    poll: Poll,
    swarm: Swarm,
    /// Only while there is something to publish: servers end connections on which nothing is asked for some seconds.
    publishers: Option<Publishers>,
    address: SocketAddr,
    server: Vec<Tree>,
    epoch: Epoch,
    /// The size of every message.
    message_bytes: usize,
    /// How long this thread sleeps at most while messages are due.
    nap: Duration,
    ready: Vec<u64>,
}

/// Makes the request that publishes a message.
pub(crate) type Publish<'a> = &'a dyn Fn(&str) -> Vec<u8>;

/// Messages pushed as fast as the window allows.
#[derive(Debug)]
pub(crate) struct Throughput {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) seconds: f64,
    /// What the server used.
    pub(crate) cpu: Duration,
    /// What this thread used.
    pub(crate) load_cpu: Duration,
}

impl Fan {
    pub(crate) fn new(address: SocketAddr, server: Vec<Tree>) -> Result<Self> {
        let epoch = Epoch::now();
        Ok(Self {
            poll: Poll::new()?,
            swarm: Swarm::new(epoch),
            publishers: None,
            address,
            server,
            epoch,
            message_bytes: MESSAGE_BYTES,
            // A thread that sleeps must be woken by whoever sends, which on a virtual machine costs the server as much
            // as the rest of its write; and the slower the server, the more often it would have to.
            nap: Duration::ZERO,
            ready: Vec::new(),
        })
    }

    pub(crate) fn open(&mut self, targets: &[String]) -> Result<Opening> {
        self.swarm.open(&mut self.poll, self.address, targets)
    }

    /// The same under TLS, where `address` listens for it.
    pub(crate) fn open_secure(
        &mut self,
        address: SocketAddr,
        targets: &[String],
    ) -> Result<Opening> {
        self.swarm.secure = Some(tls::config()?);
        self.swarm.open(&mut self.poll, address, targets)
    }

    /// From now on it sleeps while there is nothing to read: for loads that share their core with the server.
    pub(crate) fn share_core(&mut self) {
        self.nap = NAP;
    }

    /// From now on messages have this size.
    pub(crate) fn say_bytes(&mut self, bytes: usize) {
        self.message_bytes = bytes;
    }

    /// From now on sockets do not look at what they hear but only count it, and everything that they hear must be
    /// messages of the present size.
    pub(crate) fn only_count(&mut self) {
        let mut frame = Vec::new();
        write_text(&vec![b'.'; self.message_bytes], &mut frame);
        self.swarm.frame_bytes = Some(frame.len());
    }

    /// Sends a message on every socket, and waits until each of them has heard something.
    pub(crate) fn begin(&mut self, message: &dyn Fn(usize) -> String) -> Result<()> {
        let due = self.swarm.delivered + self.swarm.len() as u64;
        self.swarm.say(message)?;
        self.settle(due)
    }

    /// From now on only objects that carry a stamp count as messages.
    pub(crate) fn hear_objects(&mut self) {
        self.swarm.hears_objects = true;
    }

    fn cpu(&self) -> Result<Duration> {
        self.server.iter().map(Tree::cpu).sum()
    }

    /// Publishes for `length` with at most `window` messages not yet delivered to all their `receivers`, then waits
    /// until everything has arrived. What counts is what arrived within `length`.
    pub(crate) fn flood(
        &mut self,
        publish: Publish<'_>,
        receivers: usize,
        window: u64,
        length: Duration,
    ) -> Result<Throughput> {
        self.connect(PUBLISHERS)?;
        let receivers = receivers as u64;
        let delivered_before = self.swarm.delivered;
        let cpu_before = self.cpu()?;
        let load_cpu_before = own_cpu();
        let start = Instant::now();
        let mut published = 0;
        while start.elapsed() < length {
            let delivered = self.swarm.delivered - delivered_before;
            // Where nobody listens, a message is through when its publisher has the answer.
            let complete = match delivered.checked_div(receivers) {
                Some(complete) => complete,
                None => published - self.publishers.as_ref().map_or(0, Publishers::busy),
            };
            // A server may deliver before it answers the publisher; the connection is free a moment later.
            while published < complete + window && self.publish(publish)? {
                published += 1;
            }
            self.step(self.nap)?;
        }
        let throughput = Throughput {
            published,
            delivered: self.swarm.delivered - delivered_before,
            seconds: start.elapsed().as_secs_f64(),
            cpu: self.cpu()? - cpu_before,
            load_cpu: own_cpu().saturating_sub(load_cpu_before),
        };
        self.settle(delivered_before + published * receivers)?;
        Ok(throughput)
    }

    /// Publishes one message every `pause` for `length` and takes the ages on arrival.
    pub(crate) fn trickle(
        &mut self,
        publish: Publish<'_>,
        receivers: usize,
        pause: Duration,
        length: Duration,
    ) -> Result<Latencies> {
        self.connect(1)?;
        let delivered_before = self.swarm.delivered;
        self.swarm.latencies = Some(Latencies::default());
        let start = Instant::now();
        let mut next = start;
        let mut published = 0;
        while start.elapsed() < length {
            if Instant::now() >= next && self.publish(publish)? {
                published += 1;
                next += pause;
            }
            self.step(self.nap)?;
        }
        self.settle(delivered_before + published * receivers as u64)?;
        let Some(latencies) = self.swarm.latencies.take() else {
            bail!("the latencies were taken by somebody else");
        };
        Ok(latencies)
    }

    /// The server's CPU time over a time in which nobody publishes.
    pub(crate) fn rest(&mut self, length: Duration) -> Result<Duration> {
        let cpu_before = self.cpu()?;
        let start = Instant::now();
        while start.elapsed() < length {
            self.step(NAP)?;
        }
        Ok(self.cpu()? - cpu_before)
    }

    fn connect(&mut self, publishers: usize) -> Result<()> {
        let publishers =
            Publishers::connect(&self.poll, self.address, publishers, FIRST_PUBLISHER_KEY)?;
        self.publishers = Some(publishers);
        Ok(())
    }

    /// Sends a message, if a publisher is free.
    fn publish(&mut self, publish: Publish<'_>) -> Result<bool> {
        let (epoch, bytes) = (self.epoch, self.message_bytes);
        match &mut self.publishers {
            Some(publishers) => publishers.send(|| publish(&epoch.message_of(bytes))),
            None => Ok(false),
        }
    }

    /// Waits until so many messages have arrived in all and every publisher has its answer.
    pub(crate) fn settle(&mut self, delivered: u64) -> Result<()> {
        let mut last = (self.swarm.delivered, Instant::now());
        while self.swarm.delivered < delivered || !self.publishers_are_idle() {
            self.step(self.nap)?;
            if self.swarm.delivered > last.0 {
                last = (self.swarm.delivered, Instant::now());
            }
            if last.1.elapsed() > STALL {
                bail!(
                    "{} messages never arrived",
                    delivered - self.swarm.delivered
                );
            }
        }
        if self.swarm.delivered > delivered {
            bail!(
                "{} messages arrived that nobody sent",
                self.swarm.delivered - delivered
            );
        }
        self.publishers = None;
        Ok(())
    }

    fn publishers_are_idle(&self) -> bool {
        self.publishers.as_ref().is_none_or(Publishers::all_idle)
    }

    fn step(&mut self, nap: Duration) -> Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        self.poll.wait(Some(nap), &mut ready)?;
        for key in &ready {
            match &mut self.publishers {
                // Whoever is gone has left the poll with its descriptor.
                Some(publishers) if *key >= FIRST_PUBLISHER_KEY => publishers.receive(*key)?,
                _ => self.swarm.receive(usize::try_from(*key)?)?,
            }
        }
        self.ready = ready;
        if self.swarm.lost > 0 {
            bail!("the server ended {} sockets", self.swarm.lost);
        }
        Ok(())
    }
}

/// What this thread has used so far.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
