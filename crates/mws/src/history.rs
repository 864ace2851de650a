//! The latest messages of some tags, for whoever comes a little late.
//!
//! They are kept in memory, and only as many as the gateway's rules and our bounds allow; the oldest go first. A
//! restart forgets them. What is kept is the plain frame that went to the sockets, so a message that is still on its
//! way takes no memory twice.
//!
//! A gateway's [`Book`] is open while a message gets its place and is handed to the reactors, and while a newcomer is
//! given what came before and takes its own place: so a newcomer misses nothing and gets nothing twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use pilvi_model::{GatewayId, Timestamp};
use slab::Slab;

use crate::dress::{Format, Payload};
use crate::limits::Limits;
use crate::message_id::MessageId;
use crate::settings::history::{HistoryPlan, HistoryRule};
use crate::{frame, sse};

/// What a kept message takes besides its frame, about.
const KEPT_BYTES: usize = 128;

/// How much a gateway gives up at once when all gateways together keep too much.
const GIVEN_UP: usize = 1 << 20;

/// A message that was published to a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) id: MessageId,
    /// Its plain frame.
    frame: Bytes,
}

impl Kept {
    pub(crate) fn payload(&self) -> Payload {
        Payload {
            kind: frame::kind_of(&self.frame),
            bytes: frame::payload_of(&self.frame),
        }
    }

    /// As a newcomer gets it. WebSockets that compress understand plain frames, too.
    fn dressed(&self, format: Format) -> Bytes {
        match format {
            Format::EventStream => sse::event(Some(self.id), &self.payload()),
            _ => self.frame.clone(),
        }
    }

    fn charge(&self) -> usize {
        self.frame.len() + KEPT_BYTES
    }
}

/// A part of a tag's history.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// The oldest first.
    pub(crate) messages: Vec<Kept>,
    /// Nothing that came before these, and after what was asked for, is missing.
    pub(crate) complete: bool,
}

/// The histories of all gateways. Cloning gives another handle.
#[derive(Clone, Debug)]
pub(crate) struct Histories {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Arc<Limits>,
    /// What all books charge together.
    bytes: AtomicUsize,
    /// A plain mutex, held for a look-up.
    books: Mutex<HashMap<GatewayId, Arc<Book>>>,
}

/// What one gateway keeps.
#[derive(Debug)]
pub(crate) struct Book {
    shared: Arc<Shared>,
    /// What it charges, for whoever looks for the largest.
    bytes: AtomicUsize,
    tags: Mutex<Tags>,
}

/// A book that nobody else writes or reads meanwhile.
pub(crate) struct Open<'a> {
    book: &'a Book,
    tags: MutexGuard<'a, Tags>,
    bytes_before: usize,
}

#[derive(Debug)]
struct Tags {
    shelves: Slab<Shelf>,
    by_tag: HashMap<Arc<str>, usize>,
    /// The oldest message of each tag that has one, the oldest of all first.
    oldest: BTreeSet<(MessageId, usize)>,
    bytes: usize,
    /// Of a tag that is not here, what came before this may have been forgotten.
    floor: MessageId,
}

/// What is kept of one tag.
#[derive(Debug)]
struct Shelf {
    tag: Arc<str>,
    messages: VecDeque<Kept>,
    /// Their frames.
    bytes: usize,
    life: Duration,
    /// What came before this, or is it, may have been forgotten.
    floor: MessageId,
}

impl Histories {
    pub(crate) fn new(limits: Arc<Limits>) -> Self {
        let shared = Shared {
            limits,
            bytes: AtomicUsize::new(0),
            books: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The book of a gateway. What it may have forgotten when it is new came before `floor`.
    pub(crate) fn book(&self, gateway: GatewayId, floor: impl FnOnce() -> MessageId) -> Arc<Book> {
        let mut books = self.books();
        let book = books
            .entry(gateway)
            .or_insert_with(|| Arc::new(Book::new(Arc::clone(&self.shared), floor())));
        Arc::clone(book)
    }

    /// Has a gateway keep what its new rules are about, and nothing else.
    pub(crate) fn rule(
        &self,
        gateway: GatewayId,
        plan: Option<&HistoryPlan>,
        now: Timestamp,
        floor: impl FnOnce() -> MessageId,
    ) {
        let Some(plan) = plan else {
            return self.forget(gateway);
        };
        // It keeps a book from now on: what is not told of a tag before its first message is told right.
        let floor = floor();
        let book = self.book(gateway, || floor);
        book.open().rule(plan, now, floor);
    }

    /// Drops everything that a gateway keeps.
    pub(crate) fn forget(&self, gateway: GatewayId) {
        self.books().remove(&gateway);
    }

    /// Frees what is too old.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let books: Vec<Arc<Book>> = self.books().values().cloned().collect();
        for book in books {
            book.open().sweep(now);
        }
    }

    /// Sees that all gateways together keep no more than they may: the one with the most gives up its oldest messages.
    pub(crate) fn make_room(&self) {
        while self.bytes() > self.shared.limits.history_bytes_max {
            let largest = {
                let books = self.books();
                let largest = books
                    .values()
                    .max_by_key(|book| book.bytes.load(Ordering::Relaxed));
                largest.cloned()
            };
            let Some(book) = largest else {
                return;
            };
            if !book.open().give_up(GIVEN_UP) {
                return;
            }
        }
    }

    /// What all gateways keep, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    fn books(&self) -> MutexGuard<'_, HashMap<GatewayId, Arc<Book>>> {
        let books = &self.shared.books;
        books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn new(shared: Arc<Shared>, floor: MessageId) -> Self {
        let tags = Tags {
            shelves: Slab::new(),
            by_tag: HashMap::new(),
            oldest: BTreeSet::new(),
            bytes: 0,
            floor,
        };
        Self {
            shared,
            bytes: AtomicUsize::new(0),
            tags: Mutex::new(tags),
        }
    }

    pub(crate) fn open(&self) -> Open<'_> {
        let tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        Open {
            book: self,
            bytes_before: tags.bytes,
            tags,
        }
    }
}

impl Drop for Book {
    fn drop(&mut self) {
        let kept = self.bytes.load(Ordering::Relaxed);
        self.shared.bytes.fetch_sub(kept, Ordering::Relaxed);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let (before, after) = (self.bytes_before, self.tags.bytes);
        self.book.bytes.store(after, Ordering::Relaxed);
        let all = &self.book.shared.bytes;
        if after >= before {
            all.fetch_add(after - before, Ordering::Relaxed);
        } else {
            all.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

impl Open<'_> {
    /// Keeps a message that was published to these tags.
    pub(crate) fn keep(&mut self, id: MessageId, frame: &Bytes, tags: &[(Arc<str>, &HistoryRule)]) {
        let limits = &self.book.shared.limits;
        let tags_max = limits.history_tags_per_gateway_max;
        // Of more tags than may be kept the first ones would be forgotten for the last ones, which takes time.
        let (forgotten, tags) = tags.split_at(tags.len().saturating_sub(tags_max));
        if !forgotten.is_empty() {
            self.tags.forget(forgotten, id);
        }
        for (tag, rule) in tags {
            let kept = Kept {
                id,
                frame: frame.clone(),
            };
            let shelf = self.tags.shelf(tag, rule, tags_max);
            self.tags.put(shelf, kept);
            self.tags.trim(shelf, rule, id.millis());
        }
        while self.tags.bytes > limits.history_bytes_per_gateway_max && self.tags.drop_oldest() {}
    }

    /// The messages of a tag after one, or the latest, at most `limit`.
    pub(crate) fn read(
        &mut self,
        tag: &str,
        rule: &HistoryRule,
        after: Option<MessageId>,
        limit: usize,
        now: Timestamp,
    ) -> Part {
        let Some(shelf) = self.tags.by_tag.get(tag).copied() else {
            let floor = self.tags.floor;
            return Part {
                messages: Vec::new(),
                complete: after.is_none_or(|after| after >= floor),
            };
        };
        self.tags.trim(shelf, rule, now.as_millis());
        let shelf = &self.tags.shelves[shelf];
        let kept = shelf.messages.len();
        let begin = match after {
            Some(after) => shelf.messages.partition_point(|kept| kept.id <= after),
            None => kept.saturating_sub(limit),
        };
        Part {
            messages: shelf.messages.range(begin..).take(limit).cloned().collect(),
            complete: after.map_or(begin == 0, |after| after >= shelf.floor),
        }
    }

    /// What a newcomer with these tags gets first: of each tag the latest, each message once, in their order. Of very
    /// much the latest `bytes_max` bytes.
    pub(crate) fn replay(
        &mut self,
        plan: &HistoryPlan,
        tags: &[Arc<str>],
        format: Format,
        bytes_max: usize,
        now: Timestamp,
    ) -> Vec<Bytes> {
        let mut missed = BTreeMap::new();
        for tag in tags {
            let rule = plan.rule_for(tag).filter(|rule| rule.replay > 0);
            if let Some(rule) = rule {
                let part = self.read(tag, rule, None, rule.replay, now);
                missed.extend(part.messages.into_iter().map(|kept| (kept.id, kept)));
            }
        }
        let mut bytes = 0;
        let mut replayed = Vec::new();
        for kept in missed.values().rev() {
            let message = kept.dressed(format);
            bytes += message.len();
            if bytes > bytes_max {
                break;
            }
            replayed.push(message);
        }
        replayed.reverse();
        replayed
    }

    fn rule(&mut self, plan: &HistoryPlan, now: Timestamp, floor: MessageId) {
        let shelves = self.tags.shelves.iter();
        let known: Vec<(usize, Arc<str>)> = shelves
            .map(|(key, shelf)| (key, Arc::clone(&shelf.tag)))
            .collect();
        for (key, tag) in known {
            match plan.rule_for(&tag) {
                Some(rule) => {
                    self.tags.shelves[key].life = rule.life;
                    self.tags.trim(key, rule, now.as_millis());
                }
                None => self.tags.remove(key),
            }
        }
        // What was published to other tags until now was not kept.
        self.tags.floor = floor;
    }

    /// Frees what is too old.
    fn sweep(&mut self, now: Timestamp) {
        let keys: Vec<usize> = self.tags.shelves.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.tags.expire(key, now.as_millis());
            if self.tags.shelves[key].messages.is_empty() {
                self.tags.remove(key);
            }
        }
    }

    /// Drops the oldest messages, about `bytes` of them. False: there is none.
    fn give_up(&mut self, bytes: usize) -> bool {
        let left = self.tags.bytes.saturating_sub(bytes);
        let mut dropped = false;
        while self.tags.bytes > left && self.tags.drop_oldest() {
            dropped = true;
        }
        dropped
    }
}

impl Tags {
    /// The shelf of a tag. When there are too many, the tag that was silent for longest is forgotten.
    fn shelf(&mut self, tag: &Arc<str>, rule: &HistoryRule, tags_max: usize) -> usize {
        if let Some(key) = self.by_tag.get(tag) {
            self.shelves[*key].life = rule.life;
            return *key;
        }
        if self.shelves.len() >= tags_max {
            let latest = |shelf: &Shelf| shelf.messages.back().map(|kept| kept.id);
            let silent = self.shelves.iter().min_by_key(|(_, shelf)| latest(shelf));
            if let Some((key, _)) = silent {
                self.remove(key);
            }
        }
        let key = self.shelves.insert(Shelf {
            tag: Arc::clone(tag),
            messages: VecDeque::new(),
            bytes: 0,
            life: rule.life,
            floor: self.floor,
        });
        self.by_tag.insert(Arc::clone(tag), key);
        key
    }

    /// Keeps nothing of these tags, to which a message went that is not kept.
    fn forget(&mut self, tags: &[(Arc<str>, &HistoryRule)], missed: MessageId) {
        for (tag, _) in tags {
            if let Some(key) = self.by_tag.get(tag).copied() {
                self.remove(key);
            }
        }
        self.floor = self.floor.max(missed);
    }

    fn put(&mut self, key: usize, kept: Kept) {
        let shelf = &mut self.shelves[key];
        if shelf.messages.is_empty() {
            self.oldest.insert((kept.id, key));
        }
        shelf.bytes += kept.frame.len();
        self.bytes += kept.charge();
        shelf.messages.push_back(kept);
    }

    /// Drops what is more or older than the rule says.
    fn trim(&mut self, key: usize, rule: &HistoryRule, now: u64) {
        loop {
            let shelf = &self.shelves[key];
            if shelf.messages.len() <= rule.messages && shelf.bytes <= rule.bytes {
                break;
            }
            self.drop_first(key);
        }
        self.expire(key, now);
    }

    fn expire(&mut self, key: usize, now: u64) {
        let life = u64::try_from(self.shelves[key].life.as_millis()).unwrap_or(u64::MAX);
        while let Some(first) = self.shelves[key].messages.front()
            && first.id.millis().saturating_add(life) <= now
        {
            self.drop_first(key);
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let oldest = self.oldest.first().copied();
        if let Some((_, key)) = oldest {
            self.drop_first(key);
        }
        oldest.is_some()
    }

    fn drop_first(&mut self, key: usize) {
        let shelf = &mut self.shelves[key];
        let Some(first) = shelf.messages.pop_front() else {
            return;
        };
        shelf.floor = first.id;
        shelf.bytes -= first.frame.len();
        self.bytes -= first.charge();
        self.oldest.remove(&(first.id, key));
        if let Some(next) = shelf.messages.front() {
            self.oldest.insert((next.id, key));
        }
    }

    fn remove(&mut self, key: usize) {
        let shelf = self.shelves.remove(key);
        self.by_tag.remove(&shelf.tag);
        if let Some(first) = shelf.messages.front() {
            self.oldest.remove(&(first.id, key));
        }
        self.bytes -= shelf.messages.iter().map(Kept::charge).sum::<usize>();
        let latest = shelf.messages.back().map_or(shelf.floor, |kept| kept.id);
        self.floor = self.floor.max(latest);
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
