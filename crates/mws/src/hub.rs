//! All gateways and the reactors that hold their sockets: accepts messages, and asks what a reactor knows.
//!
//! A message is accepted under the lock of its gateway, which hands it to every reactor that has sockets of the
//! gateway; so all of them see the messages of a gateway in the same order. Messages wait in line for little room,
//! which bounds what is queued and keeps one gateway's load off the others.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use pilvi_model::{AccountId, Error, GatewayId, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::counters::Counters;
use crate::limits::Limits;
use crate::reactor::inbox::{Command, Inbox, Publication, Section};
use crate::reactor::socket::Newcomer;
use crate::reactor::tally::{Gauges, ReactorCounts};
use crate::reactor::{Reactor, Station};
use crate::roster::{Connected, Receivers};
use crate::session::Farewell;
use crate::socket_id::SocketId;

/// Finds the reactors of a gateway. Cloning gives another handle.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Arc<Limits>,
    stations: Vec<Arc<Station>>,
    /// Only gateways with sockets. Held for reading while one joins, so that a gateway that just became
    /// empty cannot be taken out under it; never held while messages are accepted.
    lanes: RwLock<HashMap<GatewayId, Arc<Lane>>>,
    /// Sockets of accounts that have some.
    accounts: Mutex<HashMap<AccountId, usize>>,
    /// Sockets that have a gateway.
    sockets: AtomicUsize,
    /// Descriptors in use, also by those who are turned away.
    descriptors: AtomicUsize,
}

/// The way of a gateway's messages to the reactors.
#[derive(Debug)]
struct Lane {
    gateway: GatewayId,
    /// Whose it is.
    account: AccountId,
    /// Held while a message is handed to all reactors.
    order: Mutex<()>,
    /// How much may be on the way, in bytes.
    room: Arc<Semaphore>,
    /// Messages that wait for room, and their bytes.
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    /// How many sockets each reactor has.
    on: Box<[AtomicUsize]>,
    sockets: AtomicUsize,
}

/// Whose a gateway is, and how many sockets all gateways of that account may have together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) account: AccountId,
    pub(crate) most: usize,
}

#[cfg(test)]
impl Share {
    /// Of an account that may have as many as it likes.
    pub(crate) fn boundless() -> Self {
        let account = "46738209-a745-4841-8eeb-1ca0672aa6b8";
        Self {
            account: account.parse().unwrap(),
            most: usize::MAX,
        }
    }
}

/// The right to hold one more descriptor; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Berth {
    shared: Arc<Shared>,
}

/// A socket's place on a reactor; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Seat {
    berth: Berth,
    reactor: u32,
    /// None for a socket that is turned away.
    lane: Option<Arc<Lane>>,
}

/// The threads of the reactors.
#[derive(Debug)]
pub(crate) struct Crew {
    hub: Hub,
    threads: Vec<(JoinHandle<()>, oneshot::Receiver<()>)>,
}

impl Hub {
    /// Starts the reactors.
    pub(crate) fn start(limits: Arc<Limits>, counters: &Arc<Counters>) -> io::Result<(Self, Crew)> {
        let (hub, reactors) = Self::with_reactors(limits, counters)?;
        let threads = reactors
            .into_iter()
            .enumerate()
            .map(|(number, reactor)| start_thread(number, reactor));
        let threads = threads.collect::<io::Result<_>>()?;
        let crew = Crew {
            hub: hub.clone(),
            threads,
        };
        Ok((hub, crew))
    }

    /// Makes the reactors, but leaves it to the caller to turn them.
    pub(crate) fn with_reactors(
        limits: Arc<Limits>,
        counters: &Arc<Counters>,
    ) -> io::Result<(Self, Vec<Reactor>)> {
        let mut stations = Vec::new();
        let mut reactors = Vec::new();
        for _ in 0..limits.reactors.max(1) {
            let station = Arc::new(Station {
                limits: Arc::clone(&limits),
                counters: Arc::clone(counters),
                inbox: Inbox::new()?,
                gauges: Gauges::default(),
                closing: AtomicBool::new(false),
            });
            reactors.push(Reactor::new(Arc::clone(&station))?);
            stations.push(station);
        }
        let shared = Shared {
            limits,
            stations,
            lanes: RwLock::default(),
            accounts: Mutex::default(),
            sockets: AtomicUsize::new(0),
            descriptors: AtomicUsize::new(0),
        };
        let hub = Self {
            shared: Arc::new(shared),
        };
        Ok((hub, reactors))
    }

    /// The right to hold one more descriptor, if there are any left.
    pub(crate) fn berth(&self) -> Option<Berth> {
        take_one(&self.shared.descriptors, self.shared.limits.sockets_max).then(|| Berth {
            shared: Arc::clone(&self.shared),
        })
    }

    /// Gives a connection to its reactor.
    pub(crate) fn join(&self, newcomer: Newcomer) {
        let reactor = newcomer.seat.reactor as usize;
        let station = &self.shared.stations[reactor];
        station.inbox.push(Command::Join(Box::new(newcomer)));
    }

    /// Accepts a framed message. It waits while too many are on the way to this gateway's sockets.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::Unavailable`] when there is no room for long.
    pub(crate) async fn publish(
        &self,
        gateway: GatewayId,
        to: Receivers,
        frame: Bytes,
    ) -> Result<()> {
        let Some(lane) = self.lane(gateway) else {
            return Ok(());
        };
        let room = self.room(&lane, to.bytes() + frame.len()).await?;
        let publication = Arc::new(Publication {
            gateway,
            to,
            frame,
            _room: room,
        });
        self.hand_out(&lane, &publication);
        Ok(())
    }

    fn hand_out(&self, lane: &Lane, publication: &Arc<Publication>) {
        let _in_order = lane.order.lock().unwrap_or_else(PoisonError::into_inner);
        for station in self.stations_of(lane) {
            let command = Command::Publish(Arc::clone(publication));
            station.inbox.push(command);
        }
    }

    async fn room(&self, lane: &Lane, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let limits = &self.shared.limits;
        let permits = permits(limits, bytes);
        // Whoever waits does so in line, so nobody gets past them here.
        if let Ok(room) = Arc::clone(&lane.room).try_acquire_many_owned(permits) {
            return Ok(room);
        }
        let _waiting = Waiting::begin(lane, limits, bytes).ok_or_else(flooded)?;
        let room = Arc::clone(&lane.room).acquire_many_owned(permits);
        match tokio::time::timeout(limits.publish_patience, room).await {
            Ok(room) => room.map_err(Error::internal),
            Err(_) => Err(flooded()),
        }
    }

    pub(crate) async fn find(&self, gateway: GatewayId, id: SocketId) -> Result<Option<Connected>> {
        let Some(lane) = self.lane(gateway) else {
            return Ok(None);
        };
        for station in self.stations_of(&lane) {
            let find = |answer| Command::Find {
                gateway,
                id,
                answer,
            };
            let found = ask(station, find).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The sockets of a gateway, a page of them, in an order that stays while they do.
    pub(crate) async fn page(
        &self,
        gateway: GatewayId,
        mut offset: usize,
        limit: usize,
    ) -> Result<Vec<Connected>> {
        let mut page = Vec::new();
        let Some(lane) = self.lane(gateway) else {
            return Ok(page);
        };
        for station in self.stations_of(&lane) {
            let limit = limit - page.len();
            let list = |answer| Command::Page {
                gateway,
                offset,
                limit,
                answer,
            };
            let Section { sockets, total } = ask(station, list).await?;
            page.extend(sockets);
            offset = offset.saturating_sub(total);
        }
        Ok(page)
    }

    /// Ends a socket. It is gone from here at once; its reactor closes it.
    pub(crate) async fn end(
        &self,
        gateway: GatewayId,
        id: SocketId,
        farewell: Farewell,
    ) -> Result<bool> {
        let Some(lane) = self.lane(gateway) else {
            return Ok(false);
        };
        for station in self.stations_of(&lane) {
            let end = |answer| Command::End {
                gateway,
                id,
                farewell,
                answer,
            };
            if ask(station, end).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends every socket of a gateway.
    pub(crate) fn end_all(&self, gateway: GatewayId, farewell: Farewell) {
        for station in &self.shared.stations {
            station.inbox.push(Command::EndAll(gateway, farewell));
        }
    }

    /// Ends every socket, those that still join, and the reactors.
    pub(crate) fn close(&self) {
        for station in &self.shared.stations {
            station.closing.store(true, Ordering::SeqCst);
            station.inbox.push(Command::Close);
        }
    }

    /// How many sockets are connected.
    pub(crate) fn sockets(&self) -> usize {
        self.shared.sockets.load(Ordering::Relaxed)
    }

    /// How many sockets of an account's gateways are connected.
    pub(crate) fn sockets_of_account(&self, account: AccountId) -> usize {
        let accounts = self.shared.accounts();
        accounts.get(&account).copied().unwrap_or(0)
    }

    /// How many sockets of one gateway are connected.
    pub(crate) fn sockets_of(&self, gateway: GatewayId) -> usize {
        let lane = self.lane(gateway);
        lane.map_or(0, |lane| lane.sockets.load(Ordering::Relaxed))
    }

    pub(crate) fn reactors(&self) -> Vec<ReactorCounts> {
        let stations = self.shared.stations.iter();
        stations.map(|station| station.gauges.read()).collect()
    }

    fn lane(&self, gateway: GatewayId) -> Option<Arc<Lane>> {
        let lanes = &self.shared.lanes;
        let known = lanes.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&gateway).cloned()
    }

    /// The reactors that have sockets of a gateway.
    fn stations_of<'a>(&'a self, lane: &'a Lane) -> impl Iterator<Item = &'a Station> {
        let stations = self.shared.stations.iter().zip(&lane.on);
        stations
            .filter(|(_, sockets)| sockets.load(Ordering::SeqCst) > 0)
            .map(|(station, _)| &**station)
    }
}

impl Shared {
    /// Counts one socket more for a gateway and its account, unless one of them has as many as it may.
    fn enter(&self, gateway: GatewayId, share: Share) -> Option<(Arc<Lane>, u32)> {
        if !self.enter_account(share) {
            return None;
        }
        let entered = self.enter_gateway(gateway, share.account);
        if entered.is_none() {
            self.leave_account(share.account);
        }
        entered
    }

    fn enter_account(&self, share: Share) -> bool {
        let mut accounts = self.accounts();
        let held = accounts.entry(share.account).or_default();
        let fits = *held < share.most;
        *held += usize::from(fits);
        if *held == 0 {
            accounts.remove(&share.account);
        }
        fits
    }

    fn leave_account(&self, account: AccountId) {
        let mut accounts = self.accounts();
        if let Some(held) = accounts.get_mut(&account) {
            *held -= 1;
            if *held == 0 {
                accounts.remove(&account);
            }
        }
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<AccountId, usize>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter_gateway(&self, gateway: GatewayId, account: AccountId) -> Option<(Arc<Lane>, u32)> {
        let known = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = known.get(&gateway) {
            return self.enter_lane(lane);
        }
        drop(known);
        let mut known = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let lane = known
            .entry(gateway)
            .or_insert_with(|| Arc::new(Lane::new(gateway, account, self)));
        self.enter_lane(lane)
    }

    fn enter_lane(&self, lane: &Arc<Lane>) -> Option<(Arc<Lane>, u32)> {
        if !take_one(&lane.sockets, self.limits.sockets_per_gateway_max) {
            return None;
        }
        let reactor = self.choose(Some(lane));
        lane.on[reactor as usize].fetch_add(1, Ordering::SeqCst);
        self.sockets.fetch_add(1, Ordering::Relaxed);
        Some((Arc::clone(lane), reactor))
    }

    /// The reactor with the fewest sockets of a gateway, so that all of them share its work; then with the fewest.
    fn choose(&self, lane: Option<&Lane>) -> u32 {
        let load = |(number, station): &(u32, &Arc<Station>)| {
            let of_gateway = lane.map(|lane| lane.on[*number as usize].load(Ordering::Relaxed));
            (of_gateway, station.gauges.sockets.load(Ordering::Relaxed))
        };
        let least = (0..).zip(&self.stations).min_by_key(load);
        let (number, station) = least.expect("there is a reactor");
        station.gauges.sockets.fetch_add(1, Ordering::Relaxed);
        number
    }

    fn leave_lane(&self, lane: &Lane, reactor: u32) {
        lane.on[reactor as usize].fetch_sub(1, Ordering::SeqCst);
        self.sockets.fetch_sub(1, Ordering::Relaxed);
        if lane.sockets.fetch_sub(1, Ordering::SeqCst) > 1 {
            return;
        }
        let mut known = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have entered meanwhile, or even have found it empty and made another one.
        let empty = known
            .get(&lane.gateway)
            .is_some_and(|known| known.sockets.load(Ordering::SeqCst) == 0);
        if empty {
            known.remove(&lane.gateway);
        }
    }
}

fn flooded() -> Error {
    Error::unavailable(
        "too many messages are on their way to the sockets of this gateway; try again soon",
    )
}

/// A message that waits for room; dropping it leaves the line.
struct Waiting<'a> {
    lane: &'a Lane,
    bytes: usize,
}

impl<'a> Waiting<'a> {
    fn begin(lane: &'a Lane, limits: &Limits, bytes: usize) -> Option<Self> {
        let waiting = Self { lane, bytes };
        let before = lane.waiting.fetch_add(1, Ordering::Relaxed);
        let bytes_before = lane.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        // A large message may wait alone.
        let fits = before < limits.waiting_messages_max
            && (bytes_before == 0 || bytes_before + bytes <= limits.waiting_bytes_max);
        fits.then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.lane.waiting.fetch_sub(1, Ordering::Relaxed);
        self.lane
            .waiting_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Lane {
    fn new(gateway: GatewayId, account: AccountId, shared: &Shared) -> Self {
        Self {
            gateway,
            account,
            order: Mutex::default(),
            room: Arc::new(Semaphore::new(shared.limits.batch_bytes_max)),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            on: shared
                .stations
                .iter()
                .map(|_| AtomicUsize::new(0))
                .collect(),
            sockets: AtomicUsize::new(0),
        }
    }
}

impl Berth {
    /// A seat that receives a gateway's messages. The berth comes back when the gateway has as many sockets as it may.
    pub(crate) fn seat(self, gateway: GatewayId, share: Share) -> std::result::Result<Seat, Self> {
        match self.shared.enter(gateway, share) {
            Some((lane, reactor)) => Ok(Seat {
                berth: self,
                reactor,
                lane: Some(lane),
            }),
            None => Err(self),
        }
    }

    /// A seat of somebody who is turned away.
    pub(crate) fn seat_without_gateway(self) -> Seat {
        Seat {
            reactor: self.shared.choose(None),
            berth: self,
            lane: None,
        }
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.shared.descriptors.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let shared = &self.berth.shared;
        let station = &shared.stations[self.reactor as usize];
        station.gauges.sockets.fetch_sub(1, Ordering::Relaxed);
        if let Some(lane) = &self.lane {
            shared.leave_lane(lane, self.reactor);
            shared.leave_account(lane.account);
        }
    }
}

impl Crew {
    /// Closes every socket and waits for the reactors to end.
    pub(crate) async fn dismiss(mut self) {
        self.hub.close();
        for (thread, ended) in std::mem::take(&mut self.threads) {
            // It ends without a word when the thread has died, which is as well.
            let _ = ended.await;
            if thread.join().is_err() {
                tracing::error!("a reactor ended badly");
            }
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.hub.close();
    }
}

fn start_thread(
    number: usize,
    reactor: Reactor,
) -> io::Result<(JoinHandle<()>, oneshot::Receiver<()>)> {
    let (sender, ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(format!("mws-reactor-{number}"))
        .spawn(move || {
            keep_running(reactor);
            // Nobody waits when the service was dropped without being stopped.
            let _ = sender.send(());
        })?;
    Ok((thread, ended))
}

/// A reactor that breaks down loses its sockets, whose clients connect anew; the gateway goes on.
fn keep_running(mut reactor: Reactor) {
    /// So that what breaks at once does not fill the log.
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        let station = Arc::clone(reactor.station());
        let next = match catch_unwind(AssertUnwindSafe(|| reactor.run())) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(()),
        };
        let next = next.and_then(|()| Reactor::new(Arc::clone(&station)));
        tracing::error!("a reactor broke down and lost its sockets");
        std::thread::sleep(PAUSE);
        match next {
            Ok(next) => reactor = next,
            Err(error) => {
                tracing::error!(%error, "a reactor could not go on");
                station.inbox.close();
                return;
            }
        }
    }
}

async fn ask<T>(
    station: &Station,
    question: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T> {
    let (sender, answer) = oneshot::channel();
    station.inbox.push(question(sender));
    let answer = answer.await;
    answer.map_err(|_| Error::unavailable("the sockets are going away; try again soon"))
}

/// Adds one unless there are `max`.
fn take_one(count: &AtomicUsize, max: usize) -> bool {
    let taken = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
        (count < max).then_some(count + 1)
    });
    taken.is_ok()
}

/// The part of a gateway's room that a message takes: its bytes, but no more than there is, so that a large one can
/// pass alone, and no less than makes the number of messages bounded, too.
fn permits(limits: &Limits, bytes: usize) -> u32 {
    let most = limits.batch_bytes_max;
    let least = most / limits.batch_messages_max.max(1);
    u32::try_from(bytes.max(least).min(most)).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
