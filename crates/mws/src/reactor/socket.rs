//! One socket: its connection, its session, and what waits for it.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pilvi_model::GatewayId;
use pilvi_web::Permit;

use super::backlog::Backlog;
use super::batch::{Batch, Given};
use super::tally::Tally;
use super::transport::{Arrival, Transport};
use super::wheel::Tick;
use crate::hub::Seat;
use crate::inbound::{EndOnly, Inbound};
use crate::limits::Limits;
use crate::reservation::Claim;
use crate::roster::Connected;
use crate::session::{End, Farewell, Session};

/// The slices of one vectored write.
const SLICES: usize = 64;

/// How often one socket is read before the others get their turn.
const READS: usize = 4;

/// A connection on its way to its reactor, before its handshake was answered.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) transport: Transport,
    /// The answer to its handshake.
    pub(crate) head: Bytes,
    /// What came behind the handshake.
    pub(crate) read_ahead: Bytes,
    pub(crate) seat: Seat,
    /// A socket that is turned away learns it after its handshake: old clients have no answer to a refused one
    /// (`mws.md` §6).
    pub(crate) ticket: Result<Ticket, Farewell>,
    /// The right to be open. None: nobody counts.
    pub(crate) permit: Option<Permit>,
}

/// Who a socket is, and its right to be one.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) gateway: GatewayId,
    pub(crate) connected: Connected,
    /// Absent where nothing was reserved.
    pub(crate) claim: Option<Claim>,
    /// Where what it says goes. Absent where nobody wants to know.
    pub(crate) inbound: Option<Box<Inbound>>,
}

/// There are as many of these as connections: what is not needed by an idle one is on the heap.
///
/// Dropping it closes the connection. The order of the last fields is that of their end: the seat is left before the
/// URI of an unfinished handshake can be opened again.
#[derive(Debug)]
pub(crate) struct Socket {
    transport: Transport,
    session: Session,
    /// What the kernel did not take.
    backlog: Option<Box<Backlog>>,
    /// The kernel takes nothing more until it says so.
    blocked: bool,
    /// The peer sends no more.
    gone: bool,
    /// All is said, but the peer still sends.
    lingering: bool,
    /// There may be more to read.
    pub(crate) unread: bool,
    /// When the wheel has it looked at.
    pub(crate) alarm: Tick,
    /// Where it is in its gateway's roster. None: it receives nothing any more.
    pub(crate) place: Option<Place>,
    seat: Seat,
    /// Given back when the connection is closed.
    _permit: Option<Permit>,
    /// Its URI, until the answer to the handshake has left.
    claim: Option<Box<Claim>>,
    /// Where what it says goes, in gateways that tell it to an app.
    pub(crate) inbound: Option<Box<Inbound>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) gateway: GatewayId,
    pub(crate) entry: u32,
}

/// What a socket needs to know to do its part of a turn.
pub(crate) struct Turn<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) tally: &'a mut Tally,
    pub(crate) limits: &'a Limits,
    pub(crate) now: Instant,
}

/// Whether a socket is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Stays,
    Ends(End),
}

impl Socket {
    pub(crate) fn new(
        transport: Transport,
        head: Bytes,
        seat: Seat,
        permit: Option<Permit>,
        session: Session,
        claim: Option<Claim>,
    ) -> Self {
        Self {
            unread: transport.reads_ahead(),
            transport,
            session,
            backlog: Some(Box::new(Backlog::opening(seat.format(), head))),
            blocked: false,
            gone: false,
            lingering: false,
            alarm: 0,
            place: None,
            seat,
            _permit: permit,
            claim: claim.map(Box::new),
            inbound: None,
        }
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Reads what there is, up to a bound.
    pub(crate) fn read(&mut self, buffer: &mut [u8], now: Instant, limits: &Limits) {
        self.unread = false;
        if self.is_deaf(now) {
            // It goes on as soon as the kernel takes all that waits.
            return;
        }
        self.receive_held(now, limits);
        for _ in 0..READS {
            if self.is_stalled() {
                // Whatever there is will be read when there is room for it.
                return;
            }
            match self.transport.read(buffer) {
                Ok(Arrival::Bytes(count)) => self.receive(&buffer[..count], now, limits),
                Ok(Arrival::More) => {}
                Ok(Arrival::Nothing) => return,
                Ok(Arrival::End) | Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        self.unread = true;
    }

    pub(crate) fn receive(&mut self, bytes: &[u8], now: Instant, limits: &Limits) {
        if self.lingering {
            return;
        }
        let Some(inbound) = &mut self.inbound else {
            self.session.receive(bytes, now, limits, &mut ());
            return;
        };
        if inbound.listens() && self.session.is_open() {
            let rest = self.session.receive(bytes, now, limits, &mut **inbound);
            inbound.hold(rest, now);
        } else {
            let mut sink = EndOnly(inbound);
            self.session.receive(bytes, now, limits, &mut sink);
        }
        if let Some((code, reason)) = self.session.parting() {
            inbound.note_end(code, reason);
        }
    }

    /// Whether it is not read because what it says finds no room.
    fn is_stalled(&self) -> bool {
        let inbound = self.inbound.as_ref();
        inbound.is_some_and(|inbound| inbound.is_stalled())
    }

    /// Whether it is not read because what it was told still waits: what it says is answered, so it would be more and
    /// more. Who is not answered has nothing to do with that.
    fn is_deaf(&mut self, now: Instant) -> bool {
        let Some(inbound) = &mut self.inbound else {
            return false;
        };
        let waits = self.blocked || self.backlog.is_some();
        if !(waits && inbound.listens() && self.session.is_open()) {
            return false;
        }
        match self.blocked {
            true => inbound.turn_deaf(now),
            // What waits is only now being written.
            false => self.unread = true,
        }
        true
    }

    /// Takes what was read while there was no room for it.
    fn receive_held(&mut self, now: Instant, limits: &Limits) {
        let inbound = self.inbound.as_mut();
        if let Some(inbound) = inbound.filter(|inbound| !inbound.is_stalled()) {
            let held = inbound.take_held();
            if !held.is_empty() {
                self.receive(&held, now, limits);
            }
        }
    }

    /// There is room for what it says, or nobody wants to know any more.
    pub(crate) fn resume(&mut self) {
        let inbound = self.inbound.as_mut();
        if let Some(inbound) = inbound.filter(|inbound| inbound.unread_since().is_some()) {
            inbound.resume();
            self.unread = true;
        }
    }

    /// Has what a newcomer missed sent behind the answer to its handshake.
    pub(crate) fn replay(&mut self, messages: Vec<Bytes>) {
        for message in messages {
            self.backlog().add_last(message);
        }
    }

    /// The kernel takes bytes again. Whether that makes a difference.
    pub(crate) fn unblock(&mut self) -> bool {
        let blocked = std::mem::take(&mut self.blocked);
        if let Some(inbound) = self.inbound.as_mut().filter(|_| blocked) {
            inbound.hear();
            // The kernel has no news of what was read from it and not looked at.
            self.unread = true;
        }
        blocked
    }

    pub(crate) fn leave(&mut self, farewell: &Farewell, now: Instant, limits: &Limits) {
        if let Some(inbound) = &mut self.inbound {
            inbound.note_end(farewell.code(), farewell.reason());
        }
        self.session.leave(farewell, now, limits);
        self.resume();
        if let Some(inbound) = &mut self.inbound {
            inbound.hear();
        }
    }

    /// Does what is due at `now`.
    pub(crate) fn elapse(&mut self, now: Instant, limits: &Limits, tally: &mut Tally) {
        if let Some(inbound) = &self.inbound {
            if inbound.unread_since().is_some() {
                self.session.excuse();
            }
            let longest = limits.event_stall_max;
            if inbound.is_stuck(now, longest) || inbound.is_in_the_way(now, longest) {
                self.leave(&Farewell::STUCK, now, limits);
            } else if inbound.is_deaf(now, longest) {
                self.leave(&Farewell::SLOW_READER, now, limits);
                tally.slow_readers += 1;
            }
        }
        self.session.elapse(now, limits);
    }

    /// When it is to be looked at, whatever happens: for its next ping, or because it was not read for too long.
    pub(crate) fn deadline(&self, limits: &Limits) -> Instant {
        let deadline = self.session.deadline();
        let inbound = self.inbound.as_ref().filter(|_| self.is_open());
        let unread = inbound.and_then(|inbound| inbound.unread_since());
        unread.map_or(deadline, |since| {
            deadline.min(since + limits.event_stall_max)
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    pub(crate) fn waiting_bytes(&self) -> usize {
        self.backlog.as_ref().map_or(0, |backlog| backlog.bytes())
    }

    /// Sends what it is given and what it has to say, as far as the connection takes it.
    pub(crate) fn flush(&mut self, given: Given, turn: &mut Turn<'_>) -> Fate {
        if self.send(given, turn).is_err() {
            return Fate::Ends(End::Lost);
        }
        match self.session.end() {
            Some(end) if !end.is_orderly() => Fate::Ends(end),
            Some(end) if !self.blocked && !self.lingering => self.hang_up(end, turn.tally),
            _ if self.gone => Fate::Ends(End::Lost),
            _ => Fate::Stays,
        }
    }

    fn send(&mut self, given: Given, turn: &mut Turn<'_>) -> io::Result<()> {
        if !self.blocked {
            self.add_controls();
            self.drain(turn.tally)?;
        }
        if turn.batch.length(given) > 0 && self.session.sends_messages() {
            self.send_messages(given, turn)?;
        }
        if !self.blocked
            && let Some(close) = self.session.next_when_drained()
        {
            self.backlog().add_last(close);
            self.drain(turn.tally)?;
        }
        Ok(())
    }

    fn add_controls(&mut self) {
        while let Some(frame) = self.session.next_control() {
            let is_last = self.session.end().is_some();
            let backlog = self.backlog();
            if is_last {
                // This is the close frame, and nothing follows it.
                backlog.keep_begun();
            }
            backlog.add_control(frame);
        }
    }

    fn backlog(&mut self) -> &mut Backlog {
        let format = self.seat.format();
        self.backlog
            .get_or_insert_with(|| Box::new(Backlog::new(format)))
    }

    /// Writes what waits.
    fn drain(&mut self, tally: &mut Tally) -> io::Result<()> {
        self.blocked = !self.transport.flush()?;
        while !self.blocked
            && let Some(backlog) = &mut self.backlog
        {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = backlog.slices(&mut slices);
            let offered: usize = slices.iter().map(|slice| slice.len()).sum();
            let written = self.transport.write_vectored(&slices[..count])?;
            tally.writes += 1;
            backlog.advance(written);
            if backlog.is_empty() {
                self.backlog = None;
            }
            self.blocked = written < offered || !self.transport.flush()?;
        }
        if !self.blocked {
            self.confirm(tally);
        }
        Ok(())
    }

    /// Its URI opens nothing any more: it has opened this socket, or the socket was ended by somebody.
    pub(crate) fn confirm(&mut self, tally: &mut Tally) {
        if let Some(claim) = self.claim.take() {
            claim.confirm();
            tally.opened += 1;
        }
    }

    fn send_messages(&mut self, given: Given, turn: &mut Turn<'_>) -> io::Result<()> {
        let length = turn.batch.length(given);
        let format = self.seat.format();
        if self.blocked {
            let backlog = self.backlog();
            if !turn.batch.wait(given, format, backlog, turn.limits) {
                self.give_up(turn);
                return Ok(());
            }
        } else {
            let piece = turn.batch.joined(given, format);
            let written = self.transport.write(piece.as_slice())?;
            turn.tally.writes += 1;
            if written < piece.as_slice().len() {
                let rest = Backlog::remainder(format, piece.to_bytes(), length, written);
                self.backlog = Some(Box::new(rest));
                self.blocked = true;
            } else {
                self.blocked = !self.transport.flush()?;
            }
        }
        turn.tally.deliveries += length;
        Ok(())
    }

    /// What a peer does not read in time is lost as a whole, not up to some message.
    fn give_up(&mut self, turn: &mut Turn<'_>) {
        self.backlog.take_if(|backlog| {
            backlog.keep_begun();
            backlog.is_empty()
        });
        self.leave(&Farewell::SLOW_READER, turn.now, turn.limits);
        turn.tally.slow_readers += 1;
    }

    /// Ends the connection so that the last frame arrives: a peer that still sends would otherwise have its unread
    /// bytes answered with a reset, which can overtake that frame.
    fn hang_up(&mut self, end: End, tally: &mut Tally) -> Fate {
        self.transport.shut_down();
        if end != End::Broken || self.gone {
            return Fate::Ends(end);
        }
        tally.violations += 1;
        self.lingering = true;
        Fate::Stays
    }
}

/// How long after `now` the first ping of socket number `number` is due. Sockets that come together, as after a
/// restart, are spread over half an interval, evenly whatever their number is.
pub(crate) fn first_ping(every: Duration, number: u32) -> Duration {
    /// The golden ratio, as a fraction of 2^32: its multiples fill a circle without clusters.
    const STEP: u32 = 0x9E37_79B9;
    let share = f64::from(number.wrapping_mul(STEP)) / f64::from(u32::MAX);
    every.mul_f64(1.0 - share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_socket_is_small() {
        assert!(size_of::<Socket>() <= 256, "{}", size_of::<Socket>());
    }

    #[test]
    fn first_pings_are_spread_over_half_an_interval() {
        let every = Duration::from_secs(40);
        let mut seconds = [0; 41];
        for number in 0..20_000 {
            let first = first_ping(every, number);
            assert!(first <= every);
            seconds[usize::try_from(first.as_secs()).unwrap()] += 1;
        }
        assert!(seconds[..20].iter().all(|count| *count == 0));
        assert!(
            seconds[20..40]
                .iter()
                .all(|count| (900..1100).contains(count)),
            "{seconds:?}"
        );
    }
}
