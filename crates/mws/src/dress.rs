//! How a message is dressed for the sockets it goes to.
//!
//! A message is accepted once and framed once. Most sockets take the plain frame, which is made at once and is all that
//! a message without other listeners ever has. The other formats are made at most once per message, when the first
//! socket needs one, and shared by all that speak it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::message_id::MessageId;
use crate::session::Dialect;
use crate::{deflate, frame, sse};

/// What a socket takes messages as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Format {
    /// A WebSocket frame as it is.
    #[default]
    Plain,
    /// A compressed WebSocket frame, for peers with a whole window (RFC 7692). What compression does not make smaller
    /// is plain here, too.
    Deflated,
    /// The same for peers that asked for a smaller window.
    Narrow,
    /// An event of an event stream.
    EventStream,
}

impl Format {
    pub(crate) const COMPRESSED: [Self; 2] = [Self::Deflated, Self::Narrow];

    pub(crate) const ALL: [Self; 4] =
        [Self::Plain, Self::Deflated, Self::Narrow, Self::EventStream];

    /// Whether both sides may compress what they say.
    pub(crate) fn is_compressed(self) -> bool {
        Self::COMPRESSED.contains(&self)
    }

    /// Its place among the formats that are made on demand. `None`: the plain one, which is always there.
    pub(crate) fn on_demand(self) -> Option<usize> {
        (self as usize).checked_sub(1)
    }

    /// What its sockets speak.
    pub(crate) fn dialect(self) -> Dialect {
        match self {
            Self::Plain | Self::Deflated | Self::Narrow => Dialect::WebSocket,
            Self::EventStream => Dialect::EventStream,
        }
    }

    /// How long the first of some whole messages or control frames is.
    pub(crate) fn first_length(self, bytes: &[u8]) -> usize {
        match self {
            Self::Plain | Self::Deflated | Self::Narrow => frame::length(bytes),
            Self::EventStream => sse::length(bytes),
        }
    }
}

/// Compressing more than this takes longer than a reactor may be kept from its other sockets.
pub(crate) const LARGE_BYTES: usize = 16 << 10;

/// How many formats are made on demand.
pub(crate) const ON_DEMAND: usize = Format::ALL.len() - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) kind: Kind,
    pub(crate) bytes: Bytes,
}

#[cfg(test)]
impl Payload {
    /// As a plain frame.
    pub(crate) fn frame(&self) -> Bytes {
        frame::message(self.kind, &self.bytes)
    }
}

/// A message in all its formats.
#[derive(Debug)]
pub(crate) struct Dressed {
    /// Messages that are no gateway's have none.
    id: Option<MessageId>,
    plain: Bytes,
    others: [OnceLock<Bytes>; ON_DEMAND],
}

impl Dressed {
    /// A message of one whole frame.
    pub(crate) fn framed(plain: Bytes) -> Self {
        Self {
            id: None,
            plain,
            others: Default::default(),
        }
    }

    /// The same in these formats, too. It takes as long as it takes to compress it.
    pub(crate) fn prepared(self, formats: &[Format]) -> Self {
        for format in formats {
            if let Some(place) = format.on_demand() {
                self.others[place].get_or_init(|| self.make(*format));
            }
        }
        self
    }

    /// Whether it is compressed before it is handed to the reactors, or not at all.
    pub(crate) fn is_large(&self) -> bool {
        self.plain.len() >= LARGE_BYTES
    }

    /// The same with its place in the order of its gateway.
    pub(crate) fn accepted(self, id: MessageId) -> Arc<Self> {
        let id = Some(id);
        Arc::new(Self { id, ..self })
    }

    /// What it says, shared with the plain frame.
    pub(crate) fn payload(&self) -> Payload {
        Payload {
            kind: frame::kind_of(&self.plain),
            bytes: frame::payload_of(&self.plain),
        }
    }

    /// As every socket understands it that speaks WebSocket.
    pub(crate) fn plain(&self) -> &Bytes {
        &self.plain
    }

    /// In this format, which is made now if nobody needed it before. A large message that was not compressed in time,
    /// because the first who takes it so came meanwhile, is plain: peers that compress understand that as well.
    pub(crate) fn in_format(&self, format: Format) -> &Bytes {
        match format.on_demand() {
            None => &self.plain,
            Some(place) if self.is_large() && format.is_compressed() => {
                self.others[place].get().unwrap_or(&self.plain)
            }
            Some(place) => self.others[place].get_or_init(|| self.make(format)),
        }
    }

    fn make(&self, format: Format) -> Bytes {
        let compressed = match format {
            Format::Plain => None,
            Format::Deflated => deflate::frame(&self.payload(), deflate::Window::Whole),
            Format::Narrow => deflate::frame(&self.payload(), deflate::Window::Narrow),
            Format::EventStream => Some(sse::event(self.id, &self.payload())),
        };
        compressed.unwrap_or_else(|| self.plain.clone())
    }
}
