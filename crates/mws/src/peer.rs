//! A minimal WebSocket client for tests: it hides nothing, so that a test sees every frame.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// A frame from the server, whole and unmasked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    opcode: u8,
    payload: Vec<u8>,
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

/// The client's end of a socket after the handshake.
pub(crate) struct Peer<R, W> {
    read: R,
    write: W,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Peer<R, W> {
    pub(crate) fn new(read: R, write: W) -> Self {
        Self { read, write }
    }

    /// The next frame; `None` when the server ended the connection between two.
    pub(crate) async fn receive(&mut self) -> Option<Frame> {
        let first = self.read.read_u8().await.ok()?;
        assert_eq!(first & 0xF0, 0x80, "whole frames without reserved bits");
        let length = match self.read.read_u8().await.unwrap() {
            126 => u64::from(self.read.read_u16().await.unwrap()),
            127 => self.read.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.read.read_exact(&mut payload).await.unwrap();
        Some(Frame {
            opcode: first & 0x0F,
            payload,
        })
    }

    pub(crate) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_raw(&client_frame(opcode, payload)).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.write.write_all(bytes).await.unwrap();
    }
}

/// A masked frame with a short payload.
pub(crate) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    let mut frame = vec![0x80 | opcode, 0x80 | length];
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}
