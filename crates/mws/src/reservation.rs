//! URIs that are waiting to be opened: one-time, short-lived, bounded.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilvi_base::Clock;
use pilvi_model::{Error, GatewayId, Result, Timestamp};

use crate::hub::Share;
use crate::limits::Limits;
use crate::socket_id::SocketId;

/// How many reservations there is always room for.
const RESERVATIONS_KEPT: usize = 64;

/// The right to open one socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) gateway: GatewayId,
    pub(crate) share: Share,
    pub(crate) id: SocketId,
    /// None twice.
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) expires_at: Timestamp,
}

/// All reservations. Cloning gives another handle.
#[derive(Clone, Debug)]
pub(crate) struct Reservations {
    clock: Clock,
    limits: Arc<Limits>,
    /// A plain mutex: every operation under it is a few look-ups, except a sweep, which pays for what it frees.
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    /// Boxed, because such a table has twice the places that are taken.
    by_id: HashMap<SocketId, Box<Reservation>>,
    /// The same reservations in the order of their end, so that a sweep looks only at what it frees.
    by_expiry: BTreeSet<(Timestamp, SocketId)>,
    usage: HashMap<GatewayId, Usage>,
    /// Those that were claimed and have not joined their gateway yet: no more than there are descriptors.
    opening: HashMap<SocketId, Opening>,
}

/// A reservation that is becoming a socket.
#[derive(Debug)]
struct Opening {
    gateway: GatewayId,
    /// Somebody wants the socket to be no more.
    deleted: bool,
}

/// What a gateway has reserved.
#[derive(Debug, Default)]
struct Usage {
    count: usize,
    tag_bytes: usize,
}

/// A reservation on its way to become a socket. Nobody else can redeem it meanwhile; dropping it unconfirmed
/// puts it back, so that a handshake that fails midway costs nothing (`mws.md` §11).
#[derive(Debug)]
pub(crate) struct Claim {
    reservations: Reservations,
    reservation: Option<Reservation>,
}

impl Reservations {
    pub(crate) fn new(clock: Clock, limits: Arc<Limits>) -> Self {
        Self {
            clock,
            limits,
            book: Arc::default(),
        }
    }

    /// Makes a reservation; `tags` holds none twice.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::OverLimit`] when the gateway has too many that nobody opened, and
    /// [`pilvi_model::Kind::Unavailable`] when all gateways together do.
    pub(crate) fn reserve(
        &self,
        gateway: GatewayId,
        share: Share,
        tags: Vec<Arc<str>>,
    ) -> Result<Reservation> {
        let now = self.now();
        let reservation = Reservation {
            gateway,
            share,
            id: SocketId::random(),
            tags,
            expires_at: now.plus(self.limits.reservation_life),
        };
        let mut book = self.book();
        book.sweep(now);
        book.check_room(&reservation, &self.limits)?;
        book.insert(reservation.clone());
        Ok(reservation)
    }

    /// Takes a reservation that has not expired. Of several who try, one gets it.
    pub(crate) fn claim(&self, id: SocketId) -> Option<Claim> {
        let now = self.now();
        let mut book = self.book();
        let reservation = book.remove(id)?;
        if now >= reservation.expires_at {
            return None;
        }
        let opening = Opening {
            gateway: reservation.gateway,
            deleted: false,
        };
        book.opening.insert(id, opening);
        drop(book);
        Some(Claim {
            reservations: self.clone(),
            reservation: Some(reservation),
        })
    }

    /// Takes note that a claimed socket can be found in its gateway. Whether it was deleted before.
    pub(crate) fn joined(&self, id: SocketId) -> bool {
        let opening = self.book().opening.remove(&id);
        opening.is_some_and(|opening| opening.deleted)
    }

    /// Deletes an unused reservation of this gateway, or one that is becoming a socket.
    pub(crate) fn cancel(&self, gateway: GatewayId, id: SocketId) -> bool {
        let now = self.now();
        let mut book = self.book();
        let opening = book.opening.get_mut(&id);
        if let Some(opening) = opening.filter(|opening| opening.gateway == gateway) {
            opening.deleted = true;
            return true;
        }
        let ours = book
            .by_id
            .get(&id)
            .is_some_and(|reservation| reservation.gateway == gateway);
        ours && book
            .remove(id)
            .is_some_and(|reservation| now < reservation.expires_at)
    }

    /// Gives a reservation other tags; `tags` holds none twice. `None`: it is not there, or on its way to become a
    /// socket.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::OverLimit`] when the tags of the gateway's reservations would hold too much.
    pub(crate) fn retag(
        &self,
        gateway: GatewayId,
        id: SocketId,
        tags: &[Arc<str>],
    ) -> Result<Option<Reservation>> {
        let now = self.now();
        let mut book = self.book();
        let known = book.by_id.get(&id);
        let ours = known.is_some_and(|known| known.gateway == gateway && now < known.expires_at);
        let before = match ours {
            true => book.remove(id),
            false => None,
        };
        let Some(before) = before else {
            return Ok(None);
        };
        let after = Reservation {
            tags: tags.to_vec(),
            ..before.clone()
        };
        let room = book.check_room(&after, &self.limits);
        let kept = if room.is_ok() { after } else { before };
        book.insert(kept.clone());
        room.map(|()| Some(kept))
    }

    /// Deletes all reservations of a gateway that is being removed.
    pub(crate) fn cancel_all(&self, gateway: GatewayId) {
        let mut book = self.book();
        let theirs = book.by_id.values();
        let ids: Vec<SocketId> = theirs
            .filter(|reservation| reservation.gateway == gateway)
            .map(|reservation| reservation.id)
            .collect();
        for id in ids {
            book.remove(id);
        }
    }

    /// Frees what has expired.
    pub(crate) fn sweep(&self) {
        let now = self.now();
        self.book().sweep(now);
    }

    fn now(&self) -> Timestamp {
        self.clock.now().into()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn check_room(&self, wanted: &Reservation, limits: &Limits) -> Result<()> {
        if self.by_id.len() >= limits.reservations_max {
            return Err(Error::unavailable(
                "the server has too many sockets waiting to be opened; try again in a minute",
            ));
        }
        let (count, tag_bytes) = self
            .usage
            .get(&wanted.gateway)
            .map_or((0, 0), |usage| (usage.count, usage.tag_bytes));
        let fits = count < limits.reservations_per_gateway_max
            && tag_bytes + tag_bytes_of(wanted) <= limits.reserved_tag_bytes_per_gateway_max;
        if !fits {
            return Err(Error::over_limit(
                "this gateway has too many sockets waiting to be opened; open or delete some first",
            ));
        }
        Ok(())
    }

    fn insert(&mut self, reservation: Reservation) {
        let usage = self.usage.entry(reservation.gateway).or_default();
        usage.count += 1;
        usage.tag_bytes += tag_bytes_of(&reservation);
        self.by_expiry
            .insert((reservation.expires_at, reservation.id));
        self.by_id.insert(reservation.id, Box::new(reservation));
    }

    fn remove(&mut self, id: SocketId) -> Option<Reservation> {
        let reservation = *self.by_id.remove(&id)?;
        self.by_expiry
            .remove(&(reservation.expires_at, reservation.id));
        if let Some(usage) = self.usage.get_mut(&reservation.gateway) {
            usage.count -= 1;
            usage.tag_bytes -= tag_bytes_of(&reservation);
            if usage.count == 0 {
                self.usage.remove(&reservation.gateway);
            }
        }
        self.shrink();
        Some(reservation)
    }

    /// After a burst, as when many clients come back at once, the table would keep its size for ever.
    fn shrink(&mut self) {
        const SPARE: usize = 4;
        let used = self.by_id.len().max(RESERVATIONS_KEPT);
        if self.by_id.capacity() / SPARE > used {
            self.by_id.shrink_to(2 * used);
        }
    }

    fn sweep(&mut self, now: Timestamp) {
        while let Some((expires_at, id)) = self.by_expiry.first().copied()
            && expires_at <= now
        {
            self.remove(id);
        }
    }
}

fn tag_bytes_of(reservation: &Reservation) -> usize {
    reservation.tags.iter().map(|tag| tag.len()).sum()
}

impl Claim {
    pub(crate) fn reservation(&self) -> &Reservation {
        self.reservation
            .as_ref()
            .expect("it is taken out only when the claim ends")
    }

    /// Whether the socket was deleted while it was being opened.
    pub(crate) fn is_deleted(&self) -> bool {
        let book = self.reservations.book();
        let opening = book.opening.get(&self.reservation().id);
        opening.is_some_and(|opening| opening.deleted)
    }

    /// The socket is open: the URI is used up.
    pub(crate) fn confirm(mut self) {
        self.reservation = None;
    }

    /// There will be no socket, and the URI is used up all the same.
    pub(crate) fn discard(self) {
        self.reservations.joined(self.reservation().id);
        self.confirm();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(reservation) = self.reservation.take() else {
            return;
        };
        let mut book = self.reservations.book();
        let opening = book.opening.remove(&reservation.id);
        if !opening.is_some_and(|opening| opening.deleted) {
            book.insert(reservation);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use pilvi_model::Kind;

    use super::*;

    fn gateway(number: u8) -> GatewayId {
        GatewayId::from_bytes([number; 12])
    }

    fn reservations(limits: Limits) -> (Reservations, Clock) {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        let reservations = Reservations::new(clock.clone(), Arc::new(limits));
        (reservations, clock)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_reservation_is_redeemed_once() {
        let (reservations, _) = reservations(Limits::default());
        let tags = vec![Arc::from("player1")];
        let made = reservations
            .reserve(gateway(1), Share::boundless(), tags)
            .unwrap();
        assert_eq!(made.expires_at, Timestamp::from_millis(300_000));
        let claim = reservations.claim(made.id).unwrap();
        assert_eq!(claim.reservation(), &made);
        assert!(reservations.claim(made.id).is_none());
        claim.confirm();
        assert!(reservations.claim(made.id).is_none());
    }

    #[test]
    fn a_claim_that_comes_to_nothing_gives_the_reservation_back() {
        let (reservations, clock) = reservations(Limits::default());
        let made = reservations
            .reserve(gateway(1), Share::boundless(), vec![])
            .unwrap();
        drop(reservations.claim(made.id).unwrap());
        let claim = reservations.claim(made.id).unwrap();
        clock.advance(seconds(301));
        drop(claim);
        assert!(
            reservations.claim(made.id).is_none(),
            "no longer than it lived"
        );
    }

    #[test]
    fn who_is_deleted_while_it_is_opened_is_not_forgotten() {
        let (reservations, _) = reservations(Limits::default());
        let make = || {
            let made = reservations.reserve(gateway(1), Share::boundless(), vec![]);
            made.unwrap().id
        };
        let joined = make();
        let claim = reservations.claim(joined).unwrap();
        assert!(!reservations.cancel(gateway(2), joined), "somebody else's");
        assert!(!claim.is_deleted());
        assert!(reservations.cancel(gateway(1), joined));
        assert!(claim.is_deleted() && reservations.joined(joined));
        claim.confirm();
        assert!(!reservations.cancel(gateway(1), joined));

        let failed = make();
        let claim = reservations.claim(failed).unwrap();
        assert!(reservations.cancel(gateway(1), failed));
        drop(claim);
        assert!(
            reservations.claim(failed).is_none(),
            "it does not come back"
        );

        let refused = make();
        reservations.claim(refused).unwrap().discard();
        assert!(!reservations.cancel(gateway(1), refused));
        assert!(reservations.book().opening.is_empty());
    }

    #[test]
    fn a_reservation_lives_for_its_time_and_no_longer() {
        let (reservations, clock) = reservations(Limits::default());
        let early = reservations
            .reserve(gateway(1), Share::boundless(), vec![])
            .unwrap();
        let late = reservations
            .reserve(gateway(1), Share::boundless(), vec![])
            .unwrap();
        clock.advance(Duration::from_millis(299_999));
        assert!(reservations.claim(early.id).is_some());
        clock.advance(Duration::from_millis(1));
        assert!(reservations.claim(late.id).is_none());
    }

    #[test]
    fn of_many_racers_one_wins() {
        let (reservations, _) = reservations(Limits::default());
        let made = reservations
            .reserve(gateway(1), Share::boundless(), vec![])
            .unwrap();
        let winners: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| reservations.claim(made.id).map(Claim::confirm).is_some()))
                .collect();
            racers
                .into_iter()
                .filter_map(|racer| racer.join().unwrap().then_some(()))
                .count()
        });
        assert_eq!(winners, 1);
    }

    #[test]
    fn an_unused_one_can_be_cancelled_by_its_gateway_alone() {
        let (reservations, clock) = reservations(Limits::default());
        let made = reservations
            .reserve(gateway(1), Share::boundless(), vec![])
            .unwrap();
        assert!(!reservations.cancel(gateway(2), made.id));
        assert!(reservations.cancel(gateway(1), made.id));
        assert!(!reservations.cancel(gateway(1), made.id));
        assert!(reservations.claim(made.id).is_none());

        let expired = reservations
            .reserve(gateway(1), Share::boundless(), vec![])
            .unwrap();
        clock.advance(seconds(300));
        assert!(!reservations.cancel(gateway(1), expired.id));
    }

    #[test]
    fn bounds_hold_per_gateway_and_overall_and_time_makes_room() {
        let (reservations, clock) = reservations(Limits {
            reservations_max: 3,
            reservations_per_gateway_max: 2,
            ..Limits::default()
        });
        let kind = |number| {
            let made = reservations.reserve(gateway(number), Share::boundless(), vec![]);
            made.map(|_| ()).map_err(|error| error.kind)
        };
        assert_eq!(kind(1), Ok(()));
        assert_eq!(kind(1), Ok(()));
        assert_eq!(kind(1), Err(Kind::OverLimit));
        assert_eq!(kind(2), Ok(()));
        assert_eq!(kind(2), Err(Kind::Unavailable));
        clock.advance(seconds(300));
        assert_eq!(kind(1), Ok(()));
    }

    #[test]
    fn tags_of_reservations_are_bounded() {
        let (reservations, _) = reservations(Limits {
            reserved_tag_bytes_per_gateway_max: 10,
            ..Limits::default()
        });
        let tag = || vec![Arc::from("123456")];
        let first = reservations
            .reserve(gateway(1), Share::boundless(), tag())
            .unwrap();
        let refused = reservations
            .reserve(gateway(1), Share::boundless(), tag())
            .unwrap_err();
        assert_eq!(refused.kind, Kind::OverLimit);
        assert!(
            reservations
                .reserve(gateway(2), Share::boundless(), tag())
                .is_ok()
        );
        reservations.claim(first.id).unwrap().confirm();
        assert!(
            reservations
                .reserve(gateway(1), Share::boundless(), tag())
                .is_ok()
        );
    }

    #[test]
    fn a_sweep_frees_everything_that_expired() {
        let (reservations, clock) = reservations(Limits::default());
        reservations
            .reserve(gateway(1), Share::boundless(), vec![])
            .unwrap();
        clock.advance(seconds(200));
        let kept = reservations
            .reserve(gateway(2), Share::boundless(), vec![])
            .unwrap();
        clock.advance(seconds(100));
        reservations.sweep();
        let book = reservations.book();
        assert_eq!(book.by_id.len(), 1);
        assert_eq!((book.by_expiry.len(), book.usage.len()), (1, 1));
        assert!(book.by_id.contains_key(&kept.id));
    }

    #[test]
    fn a_burst_leaves_no_large_table_behind() {
        let (reservations, _) = reservations(Limits::default());
        let made: Vec<SocketId> = (0..10_000)
            .map(|_| {
                reservations
                    .reserve(gateway(1), Share::boundless(), vec![])
                    .unwrap()
                    .id
            })
            .collect();
        assert!(reservations.book().by_id.capacity() >= 10_000);
        let (last, others) = made.split_last().unwrap();
        for id in others {
            reservations.claim(*id).unwrap().confirm();
        }
        assert!(reservations.book().by_id.capacity() < 1_000);
        assert!(reservations.claim(*last).is_some());
    }

    #[test]
    fn a_removed_gateway_takes_its_reservations_along() {
        let (reservations, _) = reservations(Limits::default());
        let gone = reservations
            .reserve(gateway(1), Share::boundless(), vec![])
            .unwrap();
        let kept = reservations
            .reserve(gateway(2), Share::boundless(), vec![])
            .unwrap();
        reservations.cancel_all(gateway(1));
        assert!(reservations.claim(gone.id).is_none());
        assert!(reservations.claim(kept.id).is_some());
    }
}
