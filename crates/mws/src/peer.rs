//! What a WebSocket client sees and says, for tests: it hides nothing, so that a test sees every frame.

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// A frame from the server, whole and unmasked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(opcode: u8, payload: &[u8]) -> Self {
        Self {
            opcode,
            payload: payload.to_vec(),
        }
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::new(TEXT, text.as_bytes())
    }

    pub(crate) fn close(code: u16, reason: &str) -> Self {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend(reason.as_bytes());
        Self::new(CLOSE, &payload)
    }
}

/// What the server has sent and nobody has looked at.
#[derive(Debug, Default)]
pub(crate) struct Input(Vec<u8>);

impl Input {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next frame, once it is whole.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let [first, second, rest @ ..] = &*self.0 else {
            return None;
        };
        assert_eq!(first & 0xB0, 0x80, "whole frames, compressed at most");
        let extended = match second {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let length = match rest.get(..extended)? {
            [] => usize::from(*second),
            bytes => bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        let frame = Frame::new(*first & 0x4F, rest.get(extended..extended + length)?);
        self.0.drain(..2 + extended + length);
        Some(frame)
    }
}

/// A masked frame.
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut frame = vec![0x80 | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend(medium.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}
