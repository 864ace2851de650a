//! Compression of messages (`permessage-deflate`, RFC 7692), without any I/O.
//!
//! No message refers to an earlier one, in either direction ("no context takeover"). So a message is compressed once
//! for all sockets instead of once for each, and an idle socket holds no window: what is needed to compress is kept per
//! thread that does it, and what is needed to read is lent to one message at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::dress::{Kind, Payload};
use crate::frame::{self, Violation};

/// Shorter messages are left as they are: what they would save is less than what looking at them costs.
pub(crate) const WORTHWHILE_BYTES: usize = 64;

/// How a compressed message ends. It goes without saying and is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// The same, and an empty block that ends the whole: what was complete before ends exactly here.
const TAIL_AND_END: [u8; 9] = [0x00, 0x00, 0xFF, 0xFF, 0x01, 0x00, 0x00, 0xFF, 0xFF];

/// How often what a client sends may claim to be at its end before it is: senders without a better way to flush do so
/// once in a frame (RFC 7692 §7.2.3.4).
const ENDS_MAX: usize = 256;

/// The output of a message as large as this is not kept for the next one.
const OUTPUT_KEPT_BYTES: usize = 64 << 10;

const LEVEL: Compression = Compression::new(6);

const BROKEN: Violation = Violation {
    code: 1007,
    reason: "not compressed as it claims",
};

/// How far back a compressed message may refer within itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// 32 KiB, which peers take unless they say otherwise.
    Whole,
    /// 512 bytes, for all who asked for less. So few do that each size of its own would not pay.
    Narrow,
}

impl Window {
    fn bits(self) -> u8 {
        match self {
            Self::Whole => 15,
            Self::Narrow => 9,
        }
    }
}

/// The compressed frame of a message; `None` when it would not be smaller than the plain one.
pub(crate) fn frame(payload: &Payload, window: Window) -> Option<Bytes> {
    if payload.bytes.len() < WORTHWHILE_BYTES {
        return None;
    }
    let pool = match window {
        Window::Whole => &WHOLE,
        Window::Narrow => &NARROW,
    };
    let mut deflater = pool.take().unwrap_or_else(|| Deflater::new(window));
    let smaller = deflater.deflate(&payload.bytes);
    let frame = smaller.map(|smaller| frame::compressed(payload.kind, smaller));
    pool.give_back(deflater);
    frame
}

/// A message of a client as it came: what it says, still compressed if it came so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) kind: Kind,
    pub(crate) compressed: bool,
    pub(crate) bytes: Bytes,
}

impl Arrived {
    /// What it says in the end. It takes time in proportion to `bytes_max`, so it is nothing for a reactor to do.
    ///
    /// # Errors
    /// When it says more than `bytes_max`, or is not compressed as it claims, or is no text though it should be one.
    pub(crate) fn open(self, bytes_max: usize) -> Result<Payload, Violation> {
        if !self.compressed {
            let Self { kind, bytes, .. } = self;
            return Ok(Payload { kind, bytes });
        }
        let mut inflater = INFLATERS.take().unwrap_or_else(Inflater::new);
        let inflated = inflater.inflate(&self.bytes, bytes_max);
        INFLATERS.give_back(inflater);
        let bytes = inflated?;
        if self.kind == Kind::Text && std::str::from_utf8(&bytes).is_err() {
            return Err(frame::NOT_TEXT);
        }
        Ok(Payload {
            kind: self.kind,
            bytes: bytes.into(),
        })
    }
}

/// How many bytes a compressed message may have that says at most `bytes_max`: what cannot be made smaller becomes a
/// little larger.
pub(crate) fn compressed_bytes_max(bytes_max: u32) -> u32 {
    bytes_max.saturating_add(bytes_max / 64).saturating_add(64)
}

static WHOLE: Pool<Deflater> = Pool::new();
static NARROW: Pool<Deflater> = Pool::new();
static INFLATERS: Pool<Inflater> = Pool::new();

/// What is dear to make and can be used again. Few are kept, however many were in use at once.
struct Pool<T>(Mutex<Vec<T>>);

/// As many as work at once, on most machines.
const KEPT_MAX: usize = 4;

impl<T> Pool<T> {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn take(&self) -> Option<T> {
        self.kept().pop()
    }

    fn give_back(&self, used: T) {
        let mut kept = self.kept();
        if kept.len() < KEPT_MAX {
            kept.push(used);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes messages smaller, one after the other.
struct Deflater {
    stream: Compress,
    output: Vec<u8>,
}

impl Deflater {
    fn new(window: Window) -> Self {
        Self {
            stream: Compress::new_with_window_bits(LEVEL, false, window.bits()),
            output: Vec::new(),
        }
    }

    /// `None`: it does not become smaller.
    fn deflate(&mut self, plain: &[u8]) -> Option<&[u8]> {
        self.stream.reset();
        self.output.clear();
        self.output.shrink_to(OUTPUT_KEPT_BYTES);
        // More room than this is not wanted: what does not fit is not smaller.
        self.output.reserve(plain.len() + TAIL.len());
        let done = self
            .stream
            .compress_vec(plain, &mut self.output, FlushCompress::Sync);
        let whole = done.is_ok() && self.stream.total_in() == plain.len() as u64;
        let smaller = self.output.strip_suffix(&TAIL)?;
        (whole && smaller.len() < plain.len()).then_some(smaller)
    }
}

/// Reads compressed messages, one after the other.
struct Inflater {
    stream: Decompress,
}

impl Inflater {
    fn new() -> Self {
        Self {
            stream: Decompress::new(false),
        }
    }

    fn inflate(&mut self, compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Violation> {
        let mut output = Vec::new();
        let mut ends = 0;
        let mut ended = true;
        for mut piece in [compressed, &TAIL_AND_END] {
            loop {
                if ended {
                    // A block may call itself the last one without being it. Only what we added is the end.
                    self.stream.reset(false);
                    ends += 1;
                }
                grow(&mut output, compressed.len(), bytes_max);
                let (read, written) = (self.stream.total_in(), output.len());
                let flush = FlushDecompress::None;
                let step = self.stream.decompress_vec(piece, &mut output, flush);
                ended = step.map_err(|_| BROKEN)? == Status::StreamEnd;
                let read = usize::try_from(self.stream.total_in() - read).map_err(|_| BROKEN)?;
                piece = &piece[read..];
                if output.len() > bytes_max {
                    return Err(frame::TOO_BIG);
                }
                let has_room = output.len() < output.capacity();
                if piece.is_empty() && has_room {
                    break;
                }
                // An end may show after the last byte that leads to it was read.
                let moved = read > 0 || output.len() > written || ended;
                if (!moved && has_room) || ends > ENDS_MAX {
                    return Err(BROKEN);
                }
            }
        }
        if ended { Ok(output) } else { Err(BROKEN) }
    }
}

/// Makes room for more, but hardly more than may be.
fn grow(output: &mut Vec<u8>, compressed: usize, bytes_max: usize) {
    if output.len() == output.capacity() {
        let wanted = (output.len() * 2)
            .max(compressed * 4)
            .max(256)
            .min(bytes_max + 1);
        output.reserve_exact(wanted.saturating_sub(output.len()).max(1));
    }
}

#[cfg(test)]
#[path = "deflate_tests.rs"]
mod tests;
