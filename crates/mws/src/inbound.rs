//! What a socket of a bidirectional gateway says, from its bytes to the line of its events.
//!
//! Most sockets have none of this: what they send is checked and dropped.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::deflate::Arrived;
use crate::dress::Kind;
use crate::events::line::{Ending, Line};
use crate::frame::Sink;

/// On the heap of a socket that has one, and there only while it does.
#[derive(Debug)]
pub(crate) struct Inbound {
    line: Arc<Line>,
    /// Messages are told, and not only the end.
    listens: bool,
    /// The message that arrives, which may not have begun.
    kind: Kind,
    compressed: bool,
    bytes: Vec<u8>,
    /// Since when it does, if it is not complete.
    begun: Option<Instant>,
    /// No further message is wanted for now.
    full: bool,
    /// What was read and is not to be looked at before there is room.
    held: Vec<u8>,
    /// Since when the socket is not read because what it says finds no room.
    stalled: Option<Instant>,
    /// Since when it is not read because it takes nothing of what it is told.
    deaf: Option<Instant>,
    /// What the client said last.
    goodbye: Option<(u16, Box<str>)>,
    /// How it ends, from whoever was first to say.
    status: Option<(u16, Box<str>)>,
}

/// Wants to know how the socket ends, and nothing else.
pub(crate) struct EndOnly<'a>(pub(crate) &'a mut Inbound);

impl Inbound {
    pub(crate) fn new(line: Arc<Line>, listens: bool) -> Self {
        Self {
            line,
            listens,
            kind: Kind::Text,
            compressed: false,
            bytes: Vec::new(),
            begun: None,
            full: false,
            held: Vec::new(),
            stalled: None,
            deaf: None,
            goodbye: None,
            status: None,
        }
    }

    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Whether anybody wants to know what the socket says.
    pub(crate) fn listens(&self) -> bool {
        self.listens
    }

    /// Keeps what is not to be looked at yet, and has the socket not read if there is no room.
    pub(crate) fn hold(&mut self, rest: &[u8], now: Instant) {
        self.held.extend_from_slice(rest);
        if !self.bytes.is_empty() {
            self.begun.get_or_insert(now);
        }
        // Between two messages it may always begin another one.
        if self.full || !self.bytes.is_empty() && !self.line.may_grow() {
            self.stalled.get_or_insert(now);
        }
    }

    /// Whether the socket is not read because what it says finds no room.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Whether that has lasted too long.
    pub(crate) fn is_stuck(&self, now: Instant, longest: Duration) -> bool {
        let stalled = self.stalled;
        stalled.is_some_and(|since| now.saturating_duration_since(since) >= longest)
    }

    /// The socket is not read while it takes nothing of what it is told: it would be told more and more.
    pub(crate) fn turn_deaf(&mut self, now: Instant) {
        self.deaf.get_or_insert(now);
    }

    /// The socket has taken something.
    pub(crate) fn hear(&mut self) {
        self.deaf = None;
    }

    /// Whether it has not for too long.
    pub(crate) fn is_deaf(&self, now: Instant, longest: Duration) -> bool {
        let deaf = self.deaf;
        deaf.is_some_and(|since| now.saturating_duration_since(since) >= longest)
    }

    /// Since when the socket is not read, whatever for.
    pub(crate) fn unread_since(&self) -> Option<Instant> {
        self.stalled.into_iter().chain(self.deaf).min()
    }

    /// Whether a message has been arriving for too long while others have no room because of such ones. While there is
    /// room it may take its time.
    pub(crate) fn is_in_the_way(&self, now: Instant, longest: Duration) -> bool {
        let begun = self.begun;
        begun.is_some_and(|since| now.saturating_duration_since(since) >= longest)
            && !self.line.gateway_has_room()
    }

    /// There is room again.
    pub(crate) fn resume(&mut self) {
        self.stalled = None;
        self.full = false;
    }

    /// What is to be looked at before anything else is read.
    pub(crate) fn take_held(&mut self) -> Vec<u8> {
        mem::take(&mut self.held)
    }

    /// Takes note of how the socket ends. What is said first counts.
    pub(crate) fn note_end(&mut self, code: u16, reason: &str) {
        if self.status.is_none() {
            // Our answer to a goodbye repeats its status, and not its reason.
            let goodbye = self.goodbye.take();
            let goodbye = goodbye.filter(|(said, _)| *said == code && reason.is_empty());
            self.status = Some(goodbye.unwrap_or_else(|| (code, reason.into())));
        }
    }

    /// The socket is gone.
    pub(crate) fn end(&mut self, clean: bool) {
        let ending = match self.status.take() {
            Some((code, reason)) => Ending {
                code,
                reason,
                clean,
            },
            None => Ending::abnormal(),
        };
        self.line.end(ending);
    }
}

impl Sink for Inbound {
    fn begin(&mut self, kind: Kind, compressed: bool) {
        self.kind = kind;
        self.compressed = compressed;
    }

    fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.line.grow(bytes.len());
    }

    fn end(&mut self) {
        self.begun = None;
        let bytes = mem::take(&mut self.bytes);
        let counted = bytes.len();
        let arrived = Arrived {
            kind: self.kind,
            compressed: self.compressed,
            // Its spare room would not be counted.
            bytes: bytes.into_boxed_slice().into(),
        };
        self.line.push(arrived, counted);
        self.full = !self.line.has_room();
    }

    fn part(&mut self, payload: &[u8]) {
        if let [high, low, reason @ ..] = payload
            && let Ok(reason) = std::str::from_utf8(reason)
        {
            self.goodbye = Some((u16::from_be_bytes([*high, *low]), reason.into()));
        }
    }

    fn is_full(&self) -> bool {
        self.full
    }
}

impl Sink for EndOnly<'_> {
    const IGNORES: bool = true;

    fn begin(&mut self, _: Kind, _: bool) {}

    fn take(&mut self, _: &[u8]) {}

    fn end(&mut self) {}

    fn part(&mut self, payload: &[u8]) {
        self.0.part(payload);
    }
}

impl Drop for Inbound {
    /// Also when the reactor has broken down.
    fn drop(&mut self) {
        self.line.shrink(self.bytes.len());
        self.line.end(Ending::abnormal());
    }
}
