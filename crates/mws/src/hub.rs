//! All gateways and the reactors that hold their sockets: accepts messages, and asks what a reactor knows.
//!
//! A message is accepted under the lock of its gateway, which hands it to every reactor that has sockets of the
//! gateway; so all of them see the messages of a gateway in the same order. Messages wait in line for little room,
//! which bounds what is queued and keeps one gateway's load off the others.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use pilvi_base::Clock;
use pilvi_model::{AccountId, Error, GatewayId, Result, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::counters::Counters;
use crate::dress::{Dressed, Format, ON_DEMAND};
use crate::history::{Book, Histories, Part};
use crate::limits::Limits;
use crate::message_id::{MessageId, MessageIds};
use crate::presence::Presence;
use crate::reactor::inbox::{Command, Inbox, Joining, Publication};
use crate::reactor::question::{Question, Retagged, Section};
use crate::reactor::socket::Newcomer;
use crate::reactor::tally::{Gauges, ReactorCounts};
use crate::reactor::{Reactor, Station};
use crate::roster::{Connected, Receivers, TagChange};
use crate::session::Farewell;
use crate::settings::history::{HistoryPlan, HistoryRule};
use crate::settings::plan::Plan;
use crate::settings::presence::PresencePlan;
use crate::socket_id::SocketId;

/// Finds the reactors of a gateway. Cloning gives another handle.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Arc<Limits>,
    clock: Clock,
    ids: MessageIds,
    histories: Histories,
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
    /// How many sockets take each format that is made on demand.
    formats: [AtomicUsize; ON_DEMAND],
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
    /// What the socket takes messages as.
    format: Format,
}

/// The threads of the reactors.
#[derive(Debug)]
pub(crate) struct Crew {
    hub: Hub,
    threads: Vec<(JoinHandle<()>, oneshot::Receiver<()>)>,
}

impl Hub {
    /// Starts the reactors.
    pub(crate) fn start(
        limits: Arc<Limits>,
        counters: &Arc<Counters>,
        clock: Clock,
        presence: &Presence,
    ) -> io::Result<(Self, Crew)> {
        let (hub, reactors) = Self::with_reactors(limits, counters, clock, presence)?;
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
        clock: Clock,
        presence: &Presence,
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
                presence: presence.clone(),
            });
            reactors.push(Reactor::new(Arc::clone(&station))?);
            stations.push(station);
        }
        let shared = Shared {
            histories: Histories::new(Arc::clone(&limits)),
            limits,
            clock,
            ids: MessageIds::new(),
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
        self.seat(newcomer, None, Vec::new());
    }

    /// Gives a connection to its reactor, with what its gateway does beyond the plain way of a message.
    pub(crate) fn join_with(&self, newcomer: Newcomer, plan: &Plan) {
        let presence = plan.presence.clone();
        let ticket = newcomer.ticket.as_ref().ok();
        let replaying = plan.history.as_ref().zip(ticket);
        let replaying = replaying.filter(|(history, ticket)| {
            let tags = &ticket.connected.tags;
            tags.iter().any(|tag| history.replays(tag))
        });
        let Some((history, ticket)) = replaying else {
            return self.seat(newcomer, presence, Vec::new());
        };
        let book = self.book(ticket.gateway);
        // While it is open nobody publishes what it keeps: it is in what is replayed, or behind the newcomer.
        let mut book = book.open();
        let replay = book.replay(
            history,
            &ticket.connected.tags,
            newcomer.seat.format(),
            self.shared.limits.queue_bytes_max / 2,
            self.now(),
        );
        self.seat(newcomer, presence, replay);
    }

    fn seat(&self, newcomer: Newcomer, presence: Option<Arc<PresencePlan>>, replay: Vec<Bytes>) {
        let reactor = newcomer.seat.reactor as usize;
        let station = &self.shared.stations[reactor];
        let joining = Joining {
            newcomer,
            presence,
            replay,
        };
        station.inbox.push(Command::Join(Box::new(joining)));
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
    ) -> Result<MessageId> {
        let Some(lane) = self.lane(gateway) else {
            return Ok(self.next_id());
        };
        let room = self.room(&lane, to.bytes() + frame.len()).await?;
        let message = dress(&lane, frame).await?;
        Ok(self.hand_out(&lane, to, message, Some(room)))
    }

    /// The same for a message of which a history keeps something.
    pub(crate) async fn publish_and_keep(
        &self,
        gateway: GatewayId,
        to: Receivers,
        frame: Bytes,
        history: &HistoryPlan,
    ) -> Result<MessageId> {
        let kept = frame.clone();
        let tags: BTreeSet<&str> = to.tags.iter().map(String::as_str).collect();
        let rules = tags.iter().filter_map(|tag| {
            let rule = history.rule_for(tag)?;
            Some((Arc::from(*tag), rule))
        });
        let rules: Vec<(Arc<str>, &HistoryRule)> = rules.collect();
        let (message, room) = match self.lane(gateway) {
            Some(lane) => {
                let room = self.room(&lane, to.bytes() + frame.len()).await?;
                (dress(&lane, frame).await?, Some(room))
            }
            None => (Dressed::framed(frame), None),
        };
        let book = self.book(gateway);
        let mut open = book.open();
        // Looked for again, because whoever has joined meanwhile was not given this by the history.
        let id = match self.lane(gateway) {
            Some(lane) => self.hand_out(&lane, to, message, room),
            None => self.next_id(),
        };
        open.keep(id, &kept, &rules);
        drop(open);
        self.shared.histories.make_room();
        Ok(id)
    }

    /// Gives a message its place in the order of its gateway and hands it to the reactors.
    fn hand_out(
        &self,
        lane: &Lane,
        to: Receivers,
        message: Dressed,
        room: Option<OwnedSemaphorePermit>,
    ) -> MessageId {
        let _in_order = lane.order();
        let id = self.next_id();
        let publication = Arc::new(Publication {
            gateway: lane.gateway,
            to,
            message: message.accepted(id),
            _room: room,
        });
        for station in self.stations_of(lane) {
            let command = Command::Publish(Arc::clone(&publication));
            station.inbox.push(command);
        }
        id
    }

    fn next_id(&self) -> MessageId {
        self.shared.ids.next(self.shared.clock.now())
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now().into()
    }

    fn book(&self, gateway: GatewayId) -> Arc<Book> {
        self.shared.histories.book(gateway, || self.next_id())
    }

    /// The messages to a tag that are kept: those after one, or the latest.
    pub(crate) fn read_history(
        &self,
        gateway: GatewayId,
        tag: &str,
        rule: &HistoryRule,
        after: Option<MessageId>,
        limit: usize,
    ) -> Part {
        let book = self.book(gateway);
        let now = self.now();
        book.open().read(tag, rule, after, limit, now)
    }

    /// What all histories keep, in bytes.
    pub(crate) fn history_bytes(&self) -> usize {
        self.shared.histories.bytes()
    }

    /// Frees what histories have kept for long enough.
    pub(crate) fn sweep_histories(&self) {
        self.shared.histories.sweep(self.now());
    }

    /// Has a gateway's history follow its new rules.
    pub(crate) fn follow_history(&self, gateway: GatewayId, plan: Option<&HistoryPlan>) {
        let histories = &self.shared.histories;
        histories.rule(gateway, plan, self.now(), || self.next_id());
    }

    /// Has it noted of which tags it is told who is there.
    pub(crate) fn follow_presence(&self, gateway: GatewayId, plan: Option<&Arc<PresencePlan>>) {
        for station in &self.shared.stations {
            let watch = Command::Watch(gateway, plan.cloned());
            station.inbox.push(watch);
        }
    }

    /// Drops what a gateway keeps.
    pub(crate) fn forget(&self, gateway: GatewayId) {
        self.shared.histories.forget(gateway);
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
            let find = |answer| Command::Ask(gateway, Question::Find { id, answer });
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
            let question = |answer| Question::Page {
                offset,
                limit,
                answer,
            };
            let list = |answer| Command::Ask(gateway, question(answer));
            let Section { sockets, total } = ask(station, list).await?;
            page.extend(sockets);
            offset = offset.saturating_sub(total);
        }
        Ok(page)
    }

    /// The sockets that have a tag, a page of them, and how many there are.
    pub(crate) async fn members(
        &self,
        gateway: GatewayId,
        tag: &Arc<str>,
        mut offset: usize,
        limit: usize,
    ) -> Result<Section> {
        let mut all = Section::default();
        let Some(lane) = self.lane(gateway) else {
            return Ok(all);
        };
        for station in self.stations_of(&lane) {
            let limit = limit - all.sockets.len();
            let question = |answer| Question::Members {
                tag: Arc::clone(tag),
                offset,
                limit,
                answer,
            };
            let list = |answer| Command::Ask(gateway, question(answer));
            let Section { sockets, total } = ask(station, list).await?;
            all.sockets.extend(sockets);
            all.total += total;
            offset = offset.saturating_sub(total);
        }
        Ok(all)
    }

    /// The tags that a gateway says who is there of, behind one, in their order, with how many sockets have each. A
    /// reactor's part is as long as the whole: what is among the first of all is among its first.
    pub(crate) async fn watched(
        &self,
        gateway: GatewayId,
        after: Option<Arc<str>>,
        limit: usize,
    ) -> Result<Vec<(Arc<str>, usize)>> {
        let mut counts = BTreeMap::new();
        let Some(lane) = self.lane(gateway) else {
            return Ok(Vec::new());
        };
        for station in self.stations_of(&lane) {
            let question = |answer| Question::Tags {
                after: after.clone(),
                limit,
                answer,
            };
            let list = |answer| Command::Ask(gateway, question(answer));
            for (tag, count) in ask(station, list).await? {
                *counts.entry(tag).or_default() += count;
            }
        }
        Ok(counts.into_iter().take(limit).collect())
    }

    /// How many sockets of a gateway have each of these tags.
    pub(crate) async fn count(
        &self,
        gateway: GatewayId,
        tags: Vec<Arc<str>>,
    ) -> Result<Vec<usize>> {
        let mut counts = vec![0; tags.len()];
        let Some(lane) = self.lane(gateway) else {
            return Ok(counts);
        };
        let tags: Arc<[Arc<str>]> = tags.into();
        for station in self.stations_of(&lane) {
            let tags = Arc::clone(&tags);
            let count = |answer| Command::Ask(gateway, Question::Count { tags, answer });
            for (sum, count) in counts.iter_mut().zip(ask(station, count).await?) {
                *sum += count;
            }
        }
        Ok(counts)
    }

    /// Changes the tags of a socket, if it is there.
    pub(crate) async fn retag(
        &self,
        gateway: GatewayId,
        id: SocketId,
        change: TagChange,
    ) -> Result<Option<Retagged>> {
        let Some(lane) = self.lane(gateway) else {
            return Ok(None);
        };
        for station in self.stations_of(&lane) {
            let change = change.clone();
            let retag = |answer| Question::Retag { id, change, answer };
            let retag = |answer| Command::Ask(gateway, retag(answer));
            let retagged = ask(station, retag).await?;
            if retagged.is_some() {
                return Ok(retagged);
            }
        }
        Ok(None)
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
                farewell: farewell.clone(),
                answer,
            };
            if ask(station, end).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends every socket of a gateway.
    pub(crate) fn end_all(&self, gateway: GatewayId, farewell: &Farewell) {
        for station in &self.shared.stations {
            station
                .inbox
                .push(Command::EndAll(gateway, farewell.clone()));
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
            formats: Default::default(),
        }
    }

    /// Whether there are sockets that take this format.
    fn speaks(&self, format: Format) -> bool {
        let on_demand = format.on_demand();
        on_demand.is_some_and(|other| self.formats[other].load(Ordering::Relaxed) > 0)
    }

    fn order(&self) -> MutexGuard<'_, ()> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
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
                format: Format::Plain,
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
            format: Format::Plain,
        }
    }
}

impl Seat {
    /// The seat of a socket that takes messages as this.
    pub(crate) fn in_format(mut self, format: Format) -> Self {
        self.count_format(|sockets| sockets.fetch_sub(1, Ordering::Relaxed));
        self.format = format;
        self.count_format(|sockets| sockets.fetch_add(1, Ordering::Relaxed));
        self
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    fn count_format(&self, count: impl FnOnce(&AtomicUsize) -> usize) {
        if let (Some(lane), Some(other)) = (&self.lane, self.format.on_demand()) {
            count(&lane.formats[other]);
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
        self.count_format(|sockets| sockets.fetch_sub(1, Ordering::Relaxed));
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

/// What is large is compressed before it takes its place in the order, so that neither a reactor nor other messages
/// wait for it. What is small is left to the first reactor that finds a receiver: most messages need it never.
async fn dress(lane: &Lane, frame: Bytes) -> Result<Dressed> {
    let message = Dressed::framed(frame);
    if !message.is_large() {
        return Ok(message);
    }
    let mut spoken = Format::COMPRESSED.to_vec();
    spoken.retain(|format| lane.speaks(*format));
    if spoken.is_empty() {
        return Ok(message);
    }
    let prepared = tokio::task::spawn_blocking(move || message.prepared(&spoken));
    prepared.await.map_err(Error::internal)
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
