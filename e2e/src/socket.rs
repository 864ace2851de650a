//! A WebSocket client over a plain socket, as strict as the strictest of the old ones.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::http::{Connection, Reply};

/// The key of RFC 6455 §1.3, with the answer that belongs to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The first byte of a frame that is whole.
pub const FIN: u8 = 0x80;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// The largest frame that a test expects.
const FRAME_BYTES_MAX: u64 = 1 << 22;

/// An open WebSocket.
pub struct Socket {
    connection: Connection,
}

/// What a socket hears, pings aside: those are answered unseen.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Text(String),
    /// The server said goodbye with this code.
    Closed(u16),
}

impl Socket {
    /// Opens `ws://host:port/…` and expects the handshake to be accepted, spelled as `eds.md` §12.2 demands.
    #[track_caller]
    pub fn open(uri: &str) -> Self {
        Self::open_saying(uri, &[])
    }

    /// Opens a socket by way of a router, which finds by the host where it goes, and has a spelling of its own.
    #[track_caller]
    pub fn open_at(to: SocketAddr, host: &str, target: &str) -> Self {
        let mut connection = Connection::open(to);
        connection.write(upgrade(host, target).as_bytes());
        let head = connection
            .head()
            .expect("the server closed the connection instead of answering the upgrade");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains(ACCEPT), "{head}");
        Self { connection }
    }

    /// Opens as [`Socket::open`] does, and sends `bytes` right behind the request, before it is answered.
    #[track_caller]
    pub fn open_saying(uri: &str, bytes: &[u8]) -> Self {
        let (mut connection, upgrade) = request(uri);
        connection.write(&[&upgrade, bytes].concat());
        let head = connection
            .head()
            .expect("the server closed the connection instead of answering the upgrade");
        expect_accepted(&head);
        Self { connection }
    }

    /// Opens as [`Socket::open`] does, with more lines in the request's head; gives the head of the answer too.
    #[track_caller]
    pub fn open_asking(uri: &str, lines: &[&str]) -> (Self, String) {
        let (mut connection, mut upgrade) = request(uri);
        // Before the empty line at the end.
        upgrade.truncate(upgrade.len() - 2);
        for line in lines {
            upgrade.extend(format!("{line}\r\n").bytes());
        }
        connection.write(&[&upgrade[..], b"\r\n"].concat());
        let head = connection
            .head()
            .expect("the server closed the connection instead of answering the upgrade");
        expect_accepted(&head);
        (Self { connection }, head)
    }

    /// Opens as [`Socket::open`] does, unless the handshake is answered with something else.
    #[track_caller]
    pub fn try_open(uri: &str) -> Result<Self, Reply> {
        let (mut connection, upgrade) = request(uri);
        // It may have been closed already by a server that has no room.
        connection.try_write(&upgrade);
        let reply = connection.reply();
        match reply.status {
            101 => Ok(Self { connection }),
            _ => Err(reply),
        }
    }

    /// The next text or the end.
    #[track_caller]
    pub fn hear(&mut self) -> Heard {
        loop {
            let (opcode, payload) = self.frame();
            match opcode {
                TEXT => {
                    return Heard::Text(String::from_utf8(payload).expect("text frames are UTF-8"));
                }
                CLOSE => {
                    let code = payload.get(..2).expect("every close frame names a code");
                    return Heard::Closed(u16::from_be_bytes([code[0], code[1]]));
                }
                PING => self.send(PONG, &payload),
                PONG => {}
                _ => panic!("old clients give up on a frame of kind {opcode:#x}"),
            }
        }
    }

    /// The next message, as JSON.
    #[track_caller]
    pub fn hear_json(&mut self) -> Value {
        match self.hear() {
            Heard::Text(text) => serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("the message is not JSON ({error}): {text}")),
            Heard::Closed(code) => panic!("the server closed the socket with {code}"),
        }
    }

    /// Our own address.
    #[track_caller]
    pub fn local_address(&self) -> SocketAddr {
        self.connection.local_address()
    }

    /// Whether nothing at all comes for a while.
    pub fn stays_silent_for(&mut self, time: Duration) -> bool {
        !self.connection.hears_something_within(time)
    }

    /// Says something, which a gateway reads and drops.
    #[track_caller]
    pub fn say(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes());
    }

    /// Says goodbye and expects the same code back.
    #[track_caller]
    pub fn close(mut self) {
        self.send(CLOSE, &1000u16.to_be_bytes());
        loop {
            match self.hear() {
                Heard::Closed(code) => {
                    assert_eq!(code, 1000, "a close is answered with its own code");
                    return;
                }
                Heard::Text(_) => {}
            }
        }
    }

    /// Sends bytes as they are, frames or not.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.connection.write(bytes);
    }

    /// Sends bytes; false when the server has closed its side, as it may once it has said goodbye.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.connection.try_write(bytes)
    }

    /// Expects the server to end the connection with nothing more said.
    #[track_caller]
    pub fn expect_end(mut self) {
        let rest = self.connection.rest();
        assert!(rest.is_empty(), "something follows the end: {rest:02x?}");
    }

    /// The next frame of whatever kind: its opcode and its payload. Nothing is answered.
    #[track_caller]
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        let (first, payload) = self.extended_frame();
        assert_eq!(
            first & 0xF0,
            0x80,
            "a server frame is whole and uses no extension: {first:#x}"
        );
        (first & 0x0F, payload)
    }

    /// The same on a socket for which an extension was agreed upon: the whole first byte, and the payload as it came.
    #[track_caller]
    pub fn extended_frame(&mut self) -> (u8, Vec<u8>) {
        let head = self.connection.exactly(2);
        assert_eq!(head[1] & 0x80, 0, "a server masks nothing: {head:02x?}");
        let length = match head[1] {
            126 => self.length(2),
            127 => self.length(8),
            short => u64::from(short),
        };
        assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
        let length = usize::try_from(length).expect("a frame below the limit fits into memory");
        (head[0], self.connection.exactly(length))
    }

    #[track_caller]
    fn length(&mut self, bytes: usize) -> u64 {
        self.connection
            .exactly(bytes)
            .into_iter()
            .fold(0, |length, byte| length << 8 | u64::from(byte))
    }

    #[track_caller]
    fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.connection.write(&client_frame(FIN | opcode, payload));
    }
}

/// A connection to `ws://host:port/…`, and what to ask there.
#[track_caller]
fn request(uri: &str) -> (Connection, Vec<u8>) {
    let rest = uri
        .strip_prefix("ws://")
        .unwrap_or_else(|| panic!("{uri:?} is not a plain WebSocket address"));
    let slash = rest
        .find('/')
        .unwrap_or_else(|| panic!("{uri:?} lacks the path that old clients need"));
    let (host, target) = rest.split_at(slash);
    let address = host
        .parse()
        .unwrap_or_else(|_| panic!("{host:?} is not an address with a port"));
    (
        Connection::open(address),
        upgrade(host, target).into_bytes(),
    )
}

fn upgrade(host: &str, target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

#[track_caller]
fn expect_accepted(head: &str) {
    let lines: Vec<_> = head.split("\r\n").collect();
    assert_eq!(lines[0], "HTTP/1.1 101 Switching Protocols", "{head}");
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}");
    for line in ["Upgrade: websocket", "Connection: upgrade", &accept] {
        assert!(
            lines.contains(&line),
            "{line:?} is not in exactly this spelling in {lines:?}"
        );
    }
}

/// A client's frame: masked, as the protocol demands, its length in the shortest form. `first` is its first byte.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first];
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
    frame.extend(MASK);
    frame.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_frame_is_that_of_the_standard() {
        // RFC 6455 §5.7.
        let expected = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(client_frame(FIN | TEXT, b"Hello"), expected);
    }

    #[test]
    fn the_accepted_handshake_is_checked_to_the_letter() {
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}"
        );
        expect_accepted(&head);
        let misspelled = head.replace("Sec-WebSocket", "Sec-Websocket");
        assert!(std::panic::catch_unwind(|| expect_accepted(&misspelled)).is_err());
    }
}
