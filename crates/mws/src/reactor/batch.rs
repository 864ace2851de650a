//! What one turn of a reactor sends: which messages for which socket, and equal runs of them joined once.
//!
//! A socket's run is the list of messages it gets in this turn. Most sockets have the same run, whatever the mixture
//! of broadcasts and tags, so runs are kept as a tree: giving a message to a socket moves it from one node to the next
//! one, which costs a few nanoseconds and touches neither the socket nor the message. When the turn is sent, a run that
//! several sockets share is copied together once.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::backlog::Backlog;
use crate::dress::{Dressed, Format, ON_DEMAND};
use crate::limits::Limits;

/// The run of a socket that has nothing to do.
const UNTOUCHED: u32 = 0;
/// The run of a socket that is looked at though no message is for it.
const EMPTY: u32 = 1;
/// The message of a run that has none.
const NO_MESSAGE: u32 = u32::MAX;

/// The messages of one turn and who gets them. Sockets go by their key.
#[derive(Debug)]
pub(crate) struct Batch {
    messages: Vec<Arc<Dressed>>,
    runs: Vec<Run>,
    /// Runs joined in formats that are made on demand, by their number. Empty as long as nobody wants one.
    others: Vec<[Option<Bytes>; ON_DEMAND]>,
    /// The run of each socket. Apart from the sockets themselves, so that a broadcast walks through little memory.
    of: Vec<u32>,
    /// Sockets that are to be looked at, each once.
    stirred: Vec<u32>,
    /// Where the run of a single socket is joined.
    scratch: Vec<u8>,
}

/// A node of the tree: the run of its parent and one message more.
#[derive(Debug)]
struct Run {
    parent: u32,
    message: u32,
    length: u32,
    /// How many sockets have exactly this run.
    sockets: u32,
    /// The run that the latest message made of this one.
    next: u32,
    /// In plain frames.
    bytes: usize,
    /// The plain frames.
    joined: Option<Bytes>,
}

/// A socket's messages in this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given(u32);

impl Batch {
    pub(crate) fn new() -> Self {
        let mut batch = Self {
            messages: Vec::new(),
            runs: Vec::new(),
            others: Vec::new(),
            of: Vec::new(),
            stirred: Vec::new(),
            scratch: Vec::new(),
        };
        batch.clear();
        batch
    }

    /// Begins a message; [`Batch::give`] says who gets it.
    pub(crate) fn begin(&mut self, message: Arc<Dressed>) {
        self.messages.push(message);
    }

    /// Gives the current message to a socket. Nothing happens when it has it already.
    pub(crate) fn give(&mut self, socket: u32) {
        let message = index(self.messages.len() - 1);
        let run = self.touch(socket);
        if self.runs[run as usize].message == message {
            return;
        }
        let next = self.next_run(run, message);
        self.runs[run as usize].sockets -= 1;
        self.runs[next as usize].sockets += 1;
        self.of[socket as usize] = next;
    }

    /// Has a socket looked at in this turn.
    pub(crate) fn stir(&mut self, socket: u32) {
        self.touch(socket);
    }

    /// The sockets to be looked at, by number.
    pub(crate) fn stirred(&self, number: usize) -> Option<u32> {
        self.stirred.get(number).copied()
    }

    /// Takes what a socket is given.
    pub(crate) fn take(&mut self, socket: u32) -> Given {
        Given(std::mem::replace(&mut self.of[socket as usize], UNTOUCHED))
    }

    pub(crate) fn length(&self, given: Given) -> usize {
        self.runs[given.0 as usize].length as usize
    }

    /// The messages as one piece, in a socket's format.
    pub(crate) fn joined(&mut self, given: Given, format: Format) -> Piece<'_> {
        let run = &self.runs[given.0 as usize];
        if run.length == 1 {
            return Piece::Shared(self.messages[run.message as usize].in_format(format));
        }
        if run.sockets == 1 {
            self.scratch.clear();
            for message in in_order(&self.runs, given.0) {
                let frame = self.messages[message].in_format(format);
                self.scratch.extend_from_slice(frame);
            }
            return Piece::Own(&self.scratch);
        }
        if self.joined_at(given, format).is_none() {
            let bytes = join(&self.runs, &self.messages, given, format);
            *self.joined_at(given, format) = Some(bytes);
        }
        let joined = self.joined_at(given, format).as_ref();
        Piece::Shared(joined.expect("it was just joined"))
    }

    /// Where a run is kept once it is joined.
    fn joined_at(&mut self, given: Given, format: Format) -> &mut Option<Bytes> {
        let run = given.0 as usize;
        let Some(other) = format.on_demand() else {
            return &mut self.runs[run].joined;
        };
        if self.others.len() <= run {
            self.others.resize_with(self.runs.len(), Default::default);
        }
        &mut self.others[run][other]
    }

    /// Puts the messages behind what waits already, shared with whoever else has them. False: they do not fit.
    pub(crate) fn wait(
        &mut self,
        given: Given,
        format: Format,
        backlog: &mut Backlog,
        limits: &Limits,
    ) -> bool {
        let length = self.length(given);
        if let Piece::Shared(piece) = self.joined(given, format) {
            return backlog.add_messages(piece.clone(), length, limits);
        }
        in_order(&self.runs, given.0).all(|message| {
            let frame = self.messages[message].in_format(format);
            backlog.add_messages(frame.clone(), 1, limits)
        })
    }

    /// Ends the turn.
    pub(crate) fn clear(&mut self) {
        debug_assert!(self.of.iter().all(|run| *run == UNTOUCHED));
        self.messages.clear();
        self.stirred.clear();
        self.runs.clear();
        self.others.clear();
        self.runs.extend([Run::root(), Run::root()]);
    }

    fn touch(&mut self, socket: u32) -> u32 {
        let place = socket as usize;
        if place >= self.of.len() {
            self.of.resize(place + 1, UNTOUCHED);
        }
        if self.of[place] == UNTOUCHED {
            self.of[place] = EMPTY;
            self.runs[EMPTY as usize].sockets += 1;
            self.stirred.push(socket);
        }
        self.of[place]
    }

    fn next_run(&mut self, parent: u32, message: u32) -> u32 {
        let run = &self.runs[parent as usize];
        if self.runs[run.next as usize].message == message {
            return run.next;
        }
        let next = index(self.runs.len());
        let made = Run {
            parent,
            message,
            length: run.length + 1,
            sockets: 0,
            next: EMPTY,
            bytes: run.bytes + self.messages[message as usize].plain().len(),
            joined: None,
        };
        self.runs.push(made);
        self.runs[parent as usize].next = next;
        next
    }
}

impl Run {
    fn root() -> Self {
        Self {
            parent: UNTOUCHED,
            message: NO_MESSAGE,
            length: 0,
            sockets: 0,
            next: EMPTY,
            bytes: 0,
            joined: None,
        }
    }
}

/// Messages joined.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    /// Others may get the same.
    Shared(&'a Bytes),
    Own(&'a [u8]),
}

impl Piece<'_> {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        match self {
            Self::Shared(bytes) => (*bytes).clone(),
            Self::Own(bytes) => Bytes::copy_from_slice(bytes),
        }
    }
}

/// The messages of a run, the first one first.
fn in_order(runs: &[Run], run: u32) -> impl Iterator<Item = usize> {
    let mut messages = Vec::with_capacity(runs[run as usize].length as usize);
    let mut run = &runs[run as usize];
    while run.message != NO_MESSAGE {
        messages.push(run.message as usize);
        run = &runs[run.parent as usize];
    }
    messages.into_iter().rev()
}

fn join(runs: &[Run], messages: &[Arc<Dressed>], given: Given, format: Format) -> Bytes {
    // What is compressed is smaller than this, and what is an event a little larger.
    let mut bytes = BytesMut::with_capacity(runs[given.0 as usize].bytes);
    for message in in_order(runs, given.0) {
        bytes.extend_from_slice(messages[message].in_format(format));
    }
    bytes.freeze()
}

fn index(number: usize) -> u32 {
    u32::try_from(number).expect("a turn holds less than four billion of anything")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    fn batch(messages: &[(&'static str, &[u32])]) -> Batch {
        let mut batch = Batch::new();
        for (text, sockets) in messages {
            batch.begin(Arc::new(Dressed::framed(Bytes::from_static(
                text.as_bytes(),
            ))));
            for socket in *sockets {
                batch.give(*socket);
            }
        }
        batch
    }

    fn sent(batch: &mut Batch, socket: u32) -> String {
        let given = batch.take(socket);
        let piece = batch.joined(given, Format::Plain);
        String::from_utf8(piece.as_slice().to_vec()).unwrap()
    }

    #[test]
    fn everybody_gets_the_messages_given_in_their_order() {
        let mut batch = batch(&[
            ("a", &[0, 1, 2]),
            ("b", &[2, 0]),
            ("c", &[3]),
            ("d", &[0, 1, 2, 3]),
            ("e", &[]),
        ]);
        let texts = [0, 1, 2, 3].map(|socket| sent(&mut batch, socket));
        assert_eq!(texts, ["abd", "ad", "abd", "cd"]);
    }

    #[test]
    fn a_message_is_given_once() {
        let mut batch = batch(&[("a", &[0, 0, 1, 0]), ("b", &[0, 1, 1])]);
        assert_eq!(sent(&mut batch, 0), "ab");
        assert_eq!(sent(&mut batch, 1), "ab");
    }

    #[test]
    fn equal_runs_are_joined_once() {
        let mut batch = batch(&[("a", &[0, 1, 2]), ("b", &[0, 1])]);
        let pieces = [0, 1].map(|socket| {
            let given = batch.take(socket);
            batch.joined(given, Format::Plain).to_bytes().as_ptr()
        });
        assert_eq!(pieces[0], pieces[1]);
        let given = batch.take(2);
        assert!(
            matches!(batch.joined(given, Format::Plain), Piece::Shared(_)),
            "one message needs no copy"
        );
    }

    #[test]
    fn equal_runs_are_joined_once_for_each_format() {
        let mut batch = Batch::new();
        let texts = ["x".repeat(500), "y".repeat(500)];
        let messages = texts.map(|text| Arc::new(Dressed::framed(frame::text(&text))));
        for message in &messages {
            batch.begin(Arc::clone(message));
            (0..4).for_each(|socket| batch.give(socket));
        }
        let formats = [
            Format::Plain,
            Format::Deflated,
            Format::Plain,
            Format::Deflated,
        ];
        let pieces = [0, 1, 2, 3].map(|socket| {
            let given = batch.take(socket);
            batch.joined(given, formats[socket as usize]).to_bytes()
        });
        for (piece, format) in pieces.iter().zip(formats) {
            let expected = messages.each_ref().map(|message| message.in_format(format));
            assert_eq!(piece, &[&expected[0][..], expected[1]].concat());
        }
        assert_eq!(pieces[0].as_ptr(), pieces[2].as_ptr());
        assert_eq!(pieces[1].as_ptr(), pieces[3].as_ptr());
        assert!(pieces[1].len() < 100 && pieces[0].len() > 1_000);
        batch.clear();
        assert!(batch.others.is_empty());
    }

    #[test]
    fn who_is_stirred_is_looked_at_once_and_may_have_no_messages() {
        let mut batch = batch(&[("a", &[5, 1])]);
        batch.stir(3);
        batch.stir(5);
        let stirred: Vec<u32> = (0..).map_while(|number| batch.stirred(number)).collect();
        assert_eq!(stirred, [5, 1, 3]);
        for (socket, length) in [(5, 1), (1, 1), (3, 0)] {
            let given = batch.take(socket);
            assert_eq!(batch.length(given), length);
        }
        batch.clear();
        assert_eq!(batch.stirred(0), None);
    }

    #[test]
    fn messages_that_must_wait_are_not_copied() {
        let limits = Limits::default();
        let mut batch = batch(&[("a", &[0]), ("b", &[0, 1]), ("c", &[1, 2]), ("d", &[2, 1])]);
        for socket in [0, 1, 2] {
            let given = batch.take(socket);
            let mut backlog = Backlog::default();
            assert!(batch.wait(given, Format::Plain, &mut backlog, &limits));
            assert_eq!(backlog.bytes(), batch.length(given));
        }
    }
}
