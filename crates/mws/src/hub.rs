//! All gateways and their sockets: who is here, and messages to them.
//!
//! A message is accepted under the lock of its gateway, which gives every socket the same order and keeps one
//! gateway's load off the others. Nothing here touches a socket; the tasks that do look into their outbox.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use pilvi_model::GatewayId;

use crate::counters::Counters;
use crate::limits::Limits;
use crate::outbox::{Farewell, Outbox};
use crate::roster::{Connected, Receivers, Roster};
use crate::socket_id::SocketId;

/// Knows every connected socket. Cloning gives another handle.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Arc<Limits>,
    counters: Arc<Counters>,
    /// Only gateways with sockets. Held for reading while one joins, so that a gateway that just became
    /// empty cannot be taken out under it; never held while messages are routed.
    gateways: RwLock<HashMap<GatewayId, Arc<Mutex<Roster>>>>,
    sockets: AtomicUsize,
    closing: AtomicBool,
}

/// There are as many sockets as the server or the gateway takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A socket's place in the hub; dropping it leaves.
#[derive(Debug)]
pub(crate) struct Seat {
    hub: Hub,
    gateway: GatewayId,
    key: usize,
    id: SocketId,
    outbox: Arc<Outbox>,
}

impl Hub {
    pub(crate) fn new(limits: Arc<Limits>, counters: Arc<Counters>) -> Self {
        let shared = Shared {
            limits,
            counters,
            gateways: RwLock::default(),
            sockets: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Adds a socket; from here on it receives.
    pub(crate) fn join(&self, gateway: GatewayId, socket: Connected) -> Result<Seat, Full> {
        let shared = &self.shared;
        if shared.sockets.fetch_add(1, Ordering::Relaxed) >= shared.limits.sockets_max {
            shared.sockets.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        }
        let id = socket.id;
        let outbox = Arc::new(Outbox::new(&shared.limits));
        let Some(key) = self.insert(gateway, socket, &outbox) else {
            shared.sockets.fetch_sub(1, Ordering::Relaxed);
            return Err(Full);
        };
        let seat = Seat {
            hub: self.clone(),
            gateway,
            key,
            id,
            outbox,
        };
        // Looked at after the insertion: who closes everything either finds this socket or is seen here.
        if shared.closing.load(Ordering::SeqCst) {
            seat.outbox.end(Farewell::GOING_AWAY);
        }
        Ok(seat)
    }

    fn insert(&self, gateway: GatewayId, socket: Connected, outbox: &Arc<Outbox>) -> Option<usize> {
        let max = self.shared.limits.sockets_per_gateway_max;
        let add = |roster: &Mutex<Roster>| {
            let mut roster = lock(roster);
            (roster.len() < max).then(|| roster.insert(socket, outbox.clone()))
        };
        let gateways = &self.shared.gateways;
        let known = gateways.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(roster) = known.get(&gateway) {
            return add(roster);
        }
        drop(known);
        let mut known = gateways.write().unwrap_or_else(PoisonError::into_inner);
        add(known.entry(gateway).or_default())
    }

    /// Queues a framed message for its receivers and says how many there are.
    pub(crate) fn publish(&self, gateway: GatewayId, to: &Receivers, frame: &Bytes) -> usize {
        let Some(roster) = self.roster(gateway) else {
            return 0;
        };
        let reach = lock(&roster).publish(to, frame);
        let counters = &self.shared.counters;
        counters.deliveries.add(reach.queued);
        counters.slow_readers.add(reach.overflowed);
        if reach.overflowed > 0 {
            tracing::info!(%gateway, sockets = reach.overflowed, "dropped slow readers");
        }
        reach.queued
    }

    pub(crate) fn find(&self, gateway: GatewayId, id: SocketId) -> Option<Connected> {
        self.roster(gateway)
            .and_then(|roster| lock(&roster).find(id))
    }

    /// The sockets of a gateway, a page of them.
    pub(crate) fn page(&self, gateway: GatewayId, offset: usize, limit: usize) -> Vec<Connected> {
        self.roster(gateway)
            .map(|roster| lock(&roster).page(offset, limit))
            .unwrap_or_default()
    }

    /// Ends a socket. It is gone from here at once; its task closes it.
    pub(crate) fn end(&self, gateway: GatewayId, id: SocketId, farewell: Farewell) -> bool {
        self.roster(gateway)
            .is_some_and(|roster| lock(&roster).end(id, farewell))
    }

    /// Ends every socket of a gateway that is being removed.
    pub(crate) fn end_all(&self, gateway: GatewayId) {
        if let Some(roster) = self.roster(gateway) {
            lock(&roster).end_all(Farewell::GOING_AWAY);
        }
    }

    /// Ends every socket, and those that still join.
    pub(crate) fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        let gateways = &self.shared.gateways;
        let known = gateways.read().unwrap_or_else(PoisonError::into_inner);
        for roster in known.values() {
            lock(roster).end_all(Farewell::GOING_AWAY);
        }
    }

    pub(crate) fn sockets(&self) -> usize {
        self.shared.sockets.load(Ordering::Relaxed)
    }

    fn roster(&self, gateway: GatewayId) -> Option<Arc<Mutex<Roster>>> {
        let gateways = &self.shared.gateways;
        let known = gateways.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&gateway).cloned()
    }

    fn leave(&self, seat: &Seat) {
        self.shared.sockets.fetch_sub(1, Ordering::Relaxed);
        let Some(roster) = self.roster(seat.gateway) else {
            return;
        };
        let empty = {
            let mut roster = lock(&roster);
            roster.remove(seat.key, seat.id);
            roster.is_empty()
        };
        if empty {
            self.forget_if_empty(seat.gateway);
        }
    }

    fn forget_if_empty(&self, gateway: GatewayId) {
        let gateways = &self.shared.gateways;
        let mut known = gateways.write().unwrap_or_else(PoisonError::into_inner);
        let empty = known
            .get(&gateway)
            .is_some_and(|roster| lock(roster).is_empty());
        if empty {
            known.remove(&gateway);
        }
    }
}

impl Seat {
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hub.leave(self);
    }
}

fn lock(roster: &Mutex<Roster>) -> MutexGuard<'_, Roster> {
    roster.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use pilvi_model::Timestamp;

    use super::*;

    const OURS: [u8; 12] = [1; 12];
    const THEIRS: [u8; 12] = [2; 12];

    fn hub(limits: Limits) -> Hub {
        Hub::new(Arc::new(limits), Arc::default())
    }

    fn socket(tag: &str) -> Connected {
        Connected {
            id: SocketId::random(),
            tags: vec![Arc::from(tag)],
            connected_at: Timestamp::from_millis(0),
        }
    }

    fn everyone() -> Receivers {
        Receivers {
            everyone: true,
            ..Receivers::default()
        }
    }

    fn farewell(seat: &Seat) -> Option<Farewell> {
        seat.outbox
            .poll_farewell(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn messages_never_cross_gateways() {
        let hub = hub(Limits::default());
        let (ours, theirs) = (GatewayId::from_bytes(OURS), GatewayId::from_bytes(THEIRS));
        let mine = socket("t");
        let id = mine.id;
        let _mine = hub.join(ours, mine).unwrap();
        let _other = hub.join(theirs, socket("t")).unwrap();
        let frame = Bytes::from_static(b"x");
        let by_id = Receivers {
            sockets: vec![id],
            ..Receivers::default()
        };
        let by_tag = Receivers {
            tags: vec!["t".to_owned()],
            ..Receivers::default()
        };
        for receivers in [everyone(), by_id, by_tag] {
            assert_eq!(hub.publish(ours, &receivers, &frame), 1);
        }
        let foreign = Receivers {
            sockets: vec![id],
            ..Receivers::default()
        };
        assert_eq!(hub.publish(theirs, &foreign, &frame), 0);
        assert!(hub.find(theirs, id).is_none());
        assert!(!hub.end(theirs, id, Farewell::NORMAL));
        assert!(hub.find(ours, id).is_some());
    }

    #[test]
    fn a_dropped_seat_leaves_and_an_empty_gateway_is_forgotten() {
        let hub = hub(Limits::default());
        let gateway = GatewayId::from_bytes(OURS);
        let first = hub.join(gateway, socket("t")).unwrap();
        let second = hub.join(gateway, socket("t")).unwrap();
        assert_eq!((hub.sockets(), hub.page(gateway, 0, 9).len()), (2, 2));
        drop(first);
        assert_eq!((hub.sockets(), hub.page(gateway, 0, 9).len()), (1, 1));
        drop(second);
        assert_eq!(hub.sockets(), 0);
        assert!(hub.shared.gateways.read().unwrap().is_empty());
    }

    #[test]
    fn an_ended_socket_is_gone_at_once() {
        let hub = hub(Limits::default());
        let gateway = GatewayId::from_bytes(OURS);
        let socket = socket("t");
        let id = socket.id;
        let seat = hub.join(gateway, socket).unwrap();
        assert!(hub.end(gateway, id, Farewell::NORMAL));
        assert!(!hub.end(gateway, id, Farewell::NORMAL));
        assert!(hub.page(gateway, 0, 9).is_empty());
        assert_eq!(farewell(&seat), Some(Farewell::NORMAL));
        drop(seat);
        assert_eq!(hub.sockets(), 0);
    }

    #[test]
    fn sockets_are_bounded_per_gateway_and_overall() {
        let hub = hub(Limits {
            sockets_max: 3,
            sockets_per_gateway_max: 2,
            ..Limits::default()
        });
        let (ours, theirs) = (GatewayId::from_bytes(OURS), GatewayId::from_bytes(THEIRS));
        let seats: Vec<Seat> = (0..2)
            .map(|_| hub.join(ours, socket("t")).unwrap())
            .collect();
        assert_eq!(hub.join(ours, socket("t")).unwrap_err(), Full);
        let _other = hub.join(theirs, socket("t")).unwrap();
        assert_eq!(hub.join(theirs, socket("t")).unwrap_err(), Full);
        drop(seats);
        assert!(hub.join(theirs, socket("t")).is_ok());
    }

    #[test]
    fn closing_ends_those_who_are_here_and_those_who_come() {
        let hub = hub(Limits::default());
        let gateway = GatewayId::from_bytes(OURS);
        let here = hub.join(gateway, socket("t")).unwrap();
        hub.close();
        let late = hub.join(gateway, socket("t")).unwrap();
        assert_eq!(farewell(&here), Some(Farewell::GOING_AWAY));
        assert_eq!(farewell(&late), Some(Farewell::GOING_AWAY));
    }
}
