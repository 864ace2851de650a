//! The life of one socket, without its I/O: what to answer, when to ping, how to end.
//!
//! Whoever owns the bytes feeds what came in and when time has passed, and sends what this asks to be sent:
//! first [`Session::next_control`], then messages while [`Session::sends_messages`], and
//! [`Session::next_when_drained`] once none waits.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::frame::{self, Decoder, Event, Sink};
use crate::limits::Limits;
use crate::sse;

/// A peer that lets this many pings pass without a byte of its own is taken for gone.
const PINGS_UNANSWERED_MAX: u8 = 2;

/// The longest reason that a close frame has room for beside its status.
const REASON_BYTES_MAX: usize = 123;

/// What the answers to pings may hold that wait for one another.
const PONGS_BYTES_MAX: usize = 2 << 10;

/// Why the server ends a socket, as the close frame says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Farewell {
    code: u16,
    reason: Cow<'static, str>,
}

impl Farewell {
    /// The token was no good, or somebody deleted the socket.
    pub(crate) const NORMAL: Self = Self::new(1000, "");
    pub(crate) const GOING_AWAY: Self = Self::new(1001, "going away");
    /// What waited for the socket outgrew its bound and is lost: connect anew and catch up.
    pub(crate) const SLOW_READER: Self = Self::new(1013, "reading too slowly");
    pub(crate) const FULL: Self = Self::new(1013, "too many sockets");
    /// The gateway's app could not be asked whether the socket may come in.
    pub(crate) const TRY_AGAIN: Self =
        Self::new(1013, "the gateway's app cannot be asked now; try again");
    /// The gateway's app could not be told what the socket said.
    pub(crate) const APP_SILENT: Self = Self::new(1011, "the gateway's app does not answer");
    /// The gateway's app answered something that it must not answer.
    pub(crate) const APP_UNCLEAR: Self = Self::new(1011, "the gateway's app was not understood");
    /// The answer of the gateway's app found no room on its way to the socket.
    pub(crate) const FLOODED: Self =
        Self::new(1013, "too many messages are on their way; try again");
    /// What the socket says has found no room for long.
    pub(crate) const STUCK: Self =
        Self::new(1013, "the gateway's app is too slow; try again later");

    pub(crate) const fn new(code: u16, reason: &'static str) -> Self {
        Self {
            code,
            reason: Cow::Borrowed(reason),
        }
    }

    /// The gateway's app does not let the socket in, for a reason of its own.
    pub(crate) fn refused(mut reason: String) -> Self {
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        Self {
            code: 1008,
            reason: Cow::Owned(reason),
        }
    }

    /// Whether it is for good: the gateway's app said no.
    pub(crate) fn is_refusal(&self) -> bool {
        self.code == 1008
    }

    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

/// There are as many of these as sockets, so it holds no limits of its own.
#[derive(Debug)]
pub(crate) struct Session {
    dialect: Dialect,
    decoder: Decoder,
    phase: Phase,
    /// When the next ping is due; once the socket is ending, when patience is over.
    deadline: Instant,
    pings: Pings,
    /// What is to be said as soon as it can be. An idle socket has nothing to say.
    words: Option<Box<Words>>,
}

#[derive(Debug, Default)]
struct Words {
    /// The answers to pings, in one piece. Of a flood only the latest are answered (RFC 6455, 5.5.3).
    pongs: Option<Bytes>,
    close: Option<Bytes>,
}

/// What the two ends speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    WebSocket,
    /// The server speaks alone: the peer has said all with its request, answers no ping and no end.
    EventStream,
}

impl Dialect {
    /// How often the peer is sent something though there is nothing to say.
    pub(crate) fn ping_every(self, limits: &Limits) -> Duration {
        match self {
            Self::WebSocket => limits.ping_every,
            Self::EventStream => limits.comment_every,
        }
    }

    fn close(self, code: u16, reason: &str) -> Bytes {
        match self {
            Self::WebSocket => frame::close(code, reason),
            Self::EventStream => sse::close(code, reason),
        }
    }
}

#[derive(Debug, Default)]
struct Pings {
    count: u32,
    unanswered: u8,
    due: bool,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The server ends the socket once what waits has been sent.
    Leaving,
    /// The server's close frame has been handed out; the peer's is awaited.
    Closing,
    /// All is said once what was handed out has been sent.
    Ending(End),
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both close frames were exchanged.
    Closed,
    /// The peer broke the protocol.
    Broken,
    /// The peer answered no ping.
    Silent,
    /// The peer did its part of closing too late or not at all.
    Expired,
    /// The connection broke off.
    Lost,
}

impl End {
    /// Whether the peer is still there to be told.
    pub(crate) fn is_orderly(self) -> bool {
        matches!(self, Self::Closed | Self::Broken)
    }
}

impl Session {
    /// `first_ping` is how long from `now` the first ping comes, the others follow at the usual interval: sockets
    /// that were opened together need not be pinged together.
    pub(crate) fn new(
        dialect: Dialect,
        limits: &Limits,
        now: Instant,
        first_ping: Duration,
    ) -> Self {
        Self {
            dialect,
            decoder: Decoder::new(limits.client_message_bytes_max),
            phase: Phase::Open,
            deadline: now + first_ping,
            pings: Pings::default(),
            words: None,
        }
    }

    /// The same, and messages may be as large as this.
    pub(crate) fn with_messages_of(mut self, bytes_max: u32) -> Self {
        self.decoder = Decoder::new(bytes_max);
        self
    }

    /// The same, and messages may be compressed.
    pub(crate) fn with_compression(mut self) -> Self {
        self.decoder = self.decoder.with_compression();
        self
    }

    /// Takes what the peer sent. What its messages say is told to `sink`; with nobody there they are dropped, and
    /// compressed ones are not even opened (`mws.md` §6).
    ///
    /// Comes to what is not looked at because the sink wants no further message for now.
    pub(crate) fn receive<'a>(
        &mut self,
        mut bytes: &'a [u8],
        now: Instant,
        limits: &Limits,
        sink: &mut impl Sink,
    ) -> &'a [u8] {
        let patience = now + limits.close_patience;
        self.pings.unanswered = 0;
        if self.dialect == Dialect::EventStream {
            return &[];
        }
        while !matches!(self.phase, Phase::Ending(_)) {
            match self.decoder.read(&mut bytes, sink) {
                Ok(None) => return &[],
                Ok(Some(Event::Message)) if sink.is_full() => return bytes,
                Ok(Some(Event::Message | Event::Pong)) => {}
                Ok(Some(Event::Ping(payload))) => self.answer(&payload),
                Ok(Some(Event::Close(status))) => {
                    self.end_with(End::Closed, status.unwrap_or(1000), "", patience);
                }
                Err(violation) => {
                    self.end_with(End::Broken, violation.code, violation.reason, patience);
                }
            }
        }
        &[]
    }

    /// The peer is not read, so it cannot answer pings.
    pub(crate) fn excuse(&mut self) {
        self.pings.unanswered = 0;
    }

    /// The status and the reason of the last frame, while it has not been handed out.
    pub(crate) fn parting(&self) -> Option<(u16, &str)> {
        let Phase::Ending(_) = self.phase else {
            return None;
        };
        frame::parting(self.words.as_ref()?.close.as_ref()?)
    }

    fn answer(&mut self, ping: &[u8]) {
        let pong = frame::pong(ping);
        let words = self.words.get_or_insert_default();
        let before = words.pongs.take();
        let before = before.filter(|before| before.len() + pong.len() <= PONGS_BYTES_MAX);
        words.pongs = Some(match before {
            Some(before) => [before, pong].concat().into(),
            None => pong,
        });
    }

    /// Ends the socket from our side.
    pub(crate) fn leave(&mut self, farewell: &Farewell, now: Instant, limits: &Limits) {
        if self.phase == Phase::Open {
            self.phase = Phase::Leaving;
            let close = self.dialect.close(farewell.code, &farewell.reason);
            self.words.get_or_insert_default().close = Some(close);
            self.deadline = now + limits.close_patience;
        }
    }

    /// Does what is due at `now`.
    pub(crate) fn elapse(&mut self, now: Instant, limits: &Limits) {
        if now < self.deadline {
            return;
        }
        self.phase = match self.phase {
            Phase::Open if self.pings.unanswered < PINGS_UNANSWERED_MAX => {
                self.pings.unanswered += u8::from(self.dialect == Dialect::WebSocket);
                self.pings.count = self.pings.count.wrapping_add(1);
                self.pings.due = true;
                self.deadline = now + self.dialect.ping_every(limits);
                Phase::Open
            }
            Phase::Open => Phase::Ending(End::Silent),
            Phase::Leaving | Phase::Closing | Phase::Ending(_) => Phase::Ending(End::Expired),
        };
    }

    /// The next control frame, to be sent before any message.
    pub(crate) fn next_control(&mut self) -> Option<Bytes> {
        match self.phase {
            Phase::Open | Phase::Leaving => {
                let pongs = self.take(|words| words.pongs.take());
                pongs.or_else(|| self.next_ping())
            }
            Phase::Closing => None,
            Phase::Ending(_) => self.take(|words| words.close.take()),
        }
    }

    fn next_ping(&mut self) -> Option<Bytes> {
        std::mem::take(&mut self.pings.due).then(|| match self.dialect {
            Dialect::WebSocket => frame::ping(&self.pings.count.to_string()),
            Dialect::EventStream => sse::comment(),
        })
    }

    /// Whether nobody has ended the socket yet.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether messages may still be sent.
    pub(crate) fn sends_messages(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Leaving)
    }

    /// What to send when no message waits any more: our close frame, if we are leaving.
    pub(crate) fn next_when_drained(&mut self) -> Option<Bytes> {
        if self.phase != Phase::Leaving {
            return None;
        }
        self.phase = match self.dialect {
            Dialect::WebSocket => Phase::Closing,
            Dialect::EventStream => Phase::Ending(End::Closed),
        };
        self.take(|words| words.close.take())
    }

    fn take(&mut self, which: impl FnOnce(&mut Words) -> Option<Bytes>) -> Option<Bytes> {
        let words = self.words.as_mut()?;
        let taken = which(words);
        if words.pongs.is_none() && words.close.is_none() {
            self.words = None;
        }
        taken
    }

    /// Until when nothing need be done unless something comes in.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How the socket ends, once that is settled. After an orderly end what was handed out is sent first.
    pub(crate) fn end(&self) -> Option<End> {
        match self.phase {
            Phase::Ending(end) => Some(end),
            _ => None,
        }
    }

    /// The last frame: the peer's own status, or what it did wrong. None is sent after our own close frame.
    fn end_with(&mut self, end: End, code: u16, reason: &str, patience: Instant) {
        if self.phase == Phase::Open {
            self.deadline = patience;
        }
        let close = (self.phase != Phase::Closing).then(|| frame::close(code, reason));
        self.words.get_or_insert_default().close = close;
        self.phase = Phase::Ending(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: Duration = Duration::from_secs(45);

    struct Bench {
        session: Session,
        limits: Limits,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = Instant::now();
            let limits = Limits::default();
            let session = Session::new(Dialect::WebSocket, &limits, now, limits.ping_every);
            Self {
                session,
                limits,
                now,
            }
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.session.elapse(self.now, &self.limits);
        }

        fn receive(&mut self, bytes: &[u8]) {
            self.session.receive(bytes, self.now, &self.limits, &mut ());
        }

        fn leave(&mut self, farewell: &Farewell) {
            self.session.leave(farewell, self.now, &self.limits);
        }

        fn controls(&mut self) -> Vec<Bytes> {
            std::iter::from_fn(|| self.session.next_control()).collect()
        }
    }

    /// A client frame whose mask changes nothing.
    fn client(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        let mut bytes = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn pings_count_up_and_any_byte_answers_them() {
        let mut bench = Bench::new();
        bench.pass(PING - Duration::from_secs(1));
        assert!(bench.controls().is_empty());
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.controls(), [frame::ping("1")]);
        for count in 2..6 {
            bench.receive(&client(0x1, b"x")[..1]);
            bench.receive(&client(0x1, b"x")[1..]);
            bench.pass(PING);
            assert_eq!(bench.controls(), [frame::ping(&count.to_string())]);
        }
        assert_eq!(bench.session.end(), None);
    }

    #[test]
    fn a_peer_silent_for_two_pings_is_dropped() {
        let mut bench = Bench::new();
        bench.pass(PING);
        bench.pass(PING);
        assert_eq!(bench.session.end(), None);
        bench.pass(PING);
        assert_eq!(bench.session.end(), Some(End::Silent));
    }

    #[test]
    fn pings_that_cannot_be_sent_do_not_pile_up() {
        let mut bench = Bench::new();
        bench.pass(PING);
        bench.pass(PING);
        assert_eq!(bench.controls(), [frame::ping("2")]);
    }

    #[test]
    fn pings_are_answered_in_order_and_of_a_flood_the_latest() {
        let mut bench = Bench::new();
        bench.receive(&[client(0x9, b"Ping."), client(0x9, b"")].concat());
        let both = [frame::pong(b"Ping."), frame::pong(b"")].concat();
        assert_eq!(bench.controls(), [Bytes::from(both)]);
        for number in 0..1_000_u16 {
            bench.receive(&client(
                0x9,
                &[&number.to_be_bytes()[..], &[0; 98]].concat(),
            ));
        }
        let [pongs] = &bench.controls()[..] else {
            panic!("they come in one piece");
        };
        assert!((102..=PONGS_BYTES_MAX).contains(&pongs.len()));
        let last = frame::pong(&[&999_u16.to_be_bytes()[..], &[0; 98]].concat());
        assert!(pongs.ends_with(&last));
        assert!(bench.controls().is_empty());
    }

    #[test]
    fn a_close_is_answered_with_its_status_and_ends() {
        for (payload, status) in [
            (&b"\x03\xE9"[..], 1001),
            (b"\x0F\xA0bye", 4000),
            (b"", 1000),
        ] {
            let mut bench = Bench::new();
            bench.receive(&client(0x8, payload));
            assert_eq!(bench.controls(), [frame::close(status, "")]);
            assert!(!bench.session.sends_messages());
            assert_eq!(bench.session.end(), Some(End::Closed));
        }
    }

    #[test]
    fn a_violation_is_told_and_ends() {
        let mut bench = Bench::new();
        bench.receive(&[0x81, 0x00]);
        assert_eq!(bench.controls(), [frame::close(1002, "a client must mask")]);
        assert_eq!(bench.session.end(), Some(End::Broken));
    }

    #[test]
    fn leaving_sends_what_waits_then_closes_and_awaits_the_peer() {
        let mut bench = Bench::new();
        assert_eq!(bench.session.next_when_drained(), None);
        bench.leave(&Farewell::GOING_AWAY);
        bench.leave(&Farewell::NORMAL);
        assert!(bench.session.sends_messages());
        assert!(bench.controls().is_empty());
        assert_eq!(
            bench.session.next_when_drained(),
            Some(frame::close(1001, "going away"))
        );
        assert!(!bench.session.sends_messages());
        bench.receive(&client(0x9, b"late"));
        assert!(bench.controls().is_empty(), "nothing follows a close frame");
        bench.receive(&client(0x8, b"\x03\xE9"));
        assert!(bench.controls().is_empty());
        assert_eq!(bench.session.end(), Some(End::Closed));
    }

    #[test]
    fn a_peer_that_closes_while_we_leave_gets_its_own_status() {
        let mut bench = Bench::new();
        bench.leave(&Farewell::GOING_AWAY);
        bench.receive(&client(0x8, b"\x03\xE8"));
        assert_eq!(bench.controls(), [frame::close(1000, "")]);
        assert_eq!(bench.session.next_when_drained(), None);
        assert_eq!(bench.session.end(), Some(End::Closed));
    }

    #[test]
    fn a_listener_is_sent_comments_answers_nothing_and_hears_why_it_ends() {
        let limits = Limits::default();
        let now = Instant::now();
        let every = limits.comment_every;
        let mut bench = Bench {
            session: Session::new(Dialect::EventStream, &limits, now, every),
            limits,
            now,
        };
        for _ in 0..10 {
            bench.pass(every);
            assert_eq!(bench.controls(), [sse::comment()]);
        }
        bench.receive(b"\x00\x00GET / HTTP/1.1");
        assert!(bench.session.is_open());
        bench.leave(&Farewell::GOING_AWAY);
        assert!(bench.session.sends_messages() && bench.controls().is_empty());
        assert_eq!(
            bench.session.next_when_drained(),
            Some(sse::close(1001, "going away"))
        );
        assert_eq!(bench.session.end(), Some(End::Closed));
        assert!(bench.controls().is_empty(), "nothing follows it");
    }

    #[test]
    fn patience_with_a_closing_peer_ends() {
        let patience = Limits::default().close_patience;
        let mut waiting = Bench::new();
        waiting.leave(&Farewell::NORMAL);
        waiting.session.next_when_drained();
        waiting.pass(patience);
        assert_eq!(waiting.session.end(), Some(End::Expired));

        let mut blocked = Bench::new();
        blocked.receive(&[0x81, 0x00]);
        blocked.pass(patience);
        assert_eq!(blocked.session.end(), Some(End::Expired));
    }
}
