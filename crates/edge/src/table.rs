//! The host table: which app a host belongs to, and which processes answer for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use rustls::sign::CertifiedKey;
use tokio::time::Instant;

use crate::slot::{Slot, Ticket};
use crate::{Absence, Route};

/// Longer names do not exist (RFC 1035 §2.3.4).
const HOST_MAX: usize = 253;

/// The table and its writers.
#[derive(Default)]
pub(crate) struct Table {
    /// What requests see. Replaced as a whole.
    current: ArcSwap<Hosts>,
    /// Removed upstreams that still have something under way, by app. Its lock also makes writers take turns: the
    /// mutex is never touched by a request.
    leaving: Mutex<HashMap<Arc<str>, Vec<Arc<Slot>>>>,
}

#[derive(Clone, Default)]
struct Hosts {
    by_host: HashMap<Box<str>, Arc<Entry>>,
    by_app: HashMap<Arc<str>, Arc<Entry>>,
}

/// One app as it was published last.
pub(crate) struct Entry {
    pub(crate) app: Arc<str>,
    hosts: Vec<Box<str>>,
    slots: Vec<Arc<Slot>>,
    pub(crate) absence: Absence,
    pub(crate) certificate: Option<Arc<CertifiedKey>>,
    turn: AtomicUsize,
}

impl Table {
    pub(crate) fn publish(&self, route: Route) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = Hosts::clone(&self.current.load());
        let app: Arc<str> = route.app.into();
        let before = hosts.take(&app);
        let known = before.as_ref().map_or(&[][..], |entry| &entry.slots);
        let slots: Vec<_> = route
            .upstreams
            .into_iter()
            .map(|upstream| {
                let stays = known.iter().find(|slot| {
                    std::ptr::addr_eq(Arc::as_ptr(&slot.upstream), Arc::as_ptr(&upstream))
                });
                stays.map_or_else(|| Arc::new(Slot::new(upstream)), Arc::clone)
            })
            .collect();
        let gone: Vec<_> = known
            .iter()
            .filter(|slot| !slots.iter().any(|stays| Arc::ptr_eq(stays, slot)))
            .cloned()
            .collect();
        hosts.put(Entry {
            app: app.clone(),
            hosts: route.hosts.iter().filter_map(|host| plain(host)).collect(),
            slots,
            absence: route.absence,
            certificate: route.certificate,
            turn: AtomicUsize::new(0),
        });
        self.current.store(Arc::new(hosts));
        leave(&mut leaving, app, gone);
    }

    pub(crate) fn withdraw(&self, app: &str) {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = Hosts::clone(&self.current.load());
        if let Some(entry) = hosts.take(app) {
            self.current.store(Arc::new(hosts));
            leave(&mut leaving, entry.app.clone(), entry.slots.clone());
        }
    }

    /// Removed upstreams of an app that still have something under way.
    pub(crate) fn leaving(&self, app: &str, upstreams: &[impl AsRef<str>]) -> Vec<Arc<Slot>> {
        let leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = leaving.get(app).map_or(&[][..], Vec::as_slice);
        slots
            .iter()
            .filter(|slot| upstreams.iter().any(|id| id.as_ref() == slot.upstream.id()))
            .cloned()
            .collect()
    }

    /// The app that a host belongs to. `host` may have a port and any case.
    pub(crate) fn find(&self, host: &[u8]) -> Option<Arc<Entry>> {
        let mut space = [0; HOST_MAX];
        let host = lower(host, &mut space)?;
        self.current.load().by_host.get(host).cloned()
    }

    /// Closes connections to upstreams that have rested for too long. Says whether any is left.
    pub(crate) fn sweep(&self, now: Instant) -> bool {
        let hosts: Guard<Arc<Hosts>> = self.current.load();
        let slots = hosts.by_app.values().flat_map(|entry| &entry.slots);
        let mut left = false;
        for slot in slots {
            left |= slot.sweep(now);
        }
        left
    }
}

impl Hosts {
    fn take(&mut self, app: &str) -> Option<Arc<Entry>> {
        let entry = self.by_app.remove(app)?;
        for host in &entry.hosts {
            // Another app may have it by now.
            if self
                .by_host
                .get(host)
                .is_some_and(|owner| Arc::ptr_eq(owner, &entry))
            {
                self.by_host.remove(host);
            }
        }
        Some(entry)
    }

    fn put(&mut self, entry: Entry) {
        let entry = Arc::new(entry);
        for host in &entry.hosts {
            self.by_host.insert(host.clone(), Arc::clone(&entry));
        }
        self.by_app.insert(Arc::clone(&entry.app), entry);
    }
}

/// Tells upstreams that they are in no route any more, and remembers those that are not done.
fn leave(leaving: &mut HashMap<Arc<str>, Vec<Arc<Slot>>>, app: Arc<str>, gone: Vec<Arc<Slot>>) {
    for slot in &gone {
        slot.remove();
    }
    leaving.entry(app).or_default().extend(gone);
    leaving.retain(|_, slots| {
        slots.retain(|slot| slot.under_way() > 0);
        !slots.is_empty()
    });
}

impl Entry {
    /// The upstream with the least to do among those that can be reached, in turns among equals. `tried` are those
    /// that have just failed. `None` when there is nobody else to ask.
    pub(crate) fn pick(&self, now: Instant, tried: &[Arc<Slot>]) -> Option<Pick> {
        if self.slots.is_empty() {
            return None;
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let (later, sooner) = self.slots.split_at(start);
        let mut best: Option<(bool, usize, &Arc<Slot>)> = None;
        for slot in sooner.iter().chain(later) {
            if tried.iter().any(|one| Arc::ptr_eq(one, slot)) {
                continue;
            }
            let (shunned, load) = (slot.is_shunned(now), slot.under_way());
            if best.is_none_or(|(was_shunned, least, _)| (shunned, load) < (was_shunned, least)) {
                best = Some((shunned, load, slot));
            }
        }
        let (_, _, slot) = best?;
        Some(slot.enter().map_or(Pick::Gone, Pick::Entered))
    }

    pub(crate) fn has_upstreams(&self) -> bool {
        !self.slots.is_empty()
    }
}

/// What came of picking an upstream.
pub(crate) enum Pick {
    Entered(Ticket),
    /// It was removed while it was being picked: there is a newer entry in the table.
    Gone,
}

/// A host as it stands in the table: no port, no final dot, small letters. `None` when it cannot be one.
pub(crate) fn lower<'a>(host: &[u8], space: &'a mut [u8; HOST_MAX]) -> Option<&'a str> {
    let host = without_port(host);
    let host = host.strip_suffix(b".").unwrap_or(host);
    let space = space
        .get_mut(..host.len())
        .filter(|name| !name.is_empty())?;
    space.copy_from_slice(host);
    space.make_ascii_lowercase();
    std::str::from_utf8(space).ok()
}

/// The same, kept.
pub(crate) fn plain(host: &str) -> Option<Box<str>> {
    lower(host.as_bytes(), &mut [0; HOST_MAX]).map(Box::from)
}

/// `host` of `host:port`.
fn without_port(host: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', host) {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
        _ => host,
    }
}
