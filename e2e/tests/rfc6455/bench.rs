//! A gateway whose app sends everything back, and cases that are tried on it.

use std::time::{Duration, Instant};

use pilvi_e2e::api::{Gateway, text};
use pilvi_e2e::echo::Echo;
use pilvi_e2e::http::Request;
use pilvi_e2e::server::Server;
use pilvi_e2e::socket::{self, BINARY, CLOSE, FIN, PING, PONG, Socket, TEXT};
use pilvi_e2e::tunnel::Tunnel;
use serde_json::{Value, json};

pub(crate) const CONTINUATION: u8 = 0x0;

/// Cases longer than this are not sent byte by byte.
const BYTE_BY_BYTE_MAX: usize = 512;
/// How long one case may take while others run beside it.
const CASE_WITHIN: Duration = Duration::from_secs(60);

/// A server with such a gateway.
pub(crate) struct Bench {
    server: Server,
    gateway: Gateway,
    tunnel: Option<Tunnel>,
    echo: Echo,
}

/// How a client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Tls,
}

/// What a client hears, the end aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It stays, and the client closes it well.
    StaysOpen,
    /// The server says goodbye with this status. What it had yet to say may be lost.
    Closes(u16),
}

/// What a client sends, and what it hears.
pub(crate) struct Case {
    pub(crate) name: String,
    /// What is sent, and how it is cut: each piece is one write.
    pub(crate) pieces: Vec<Vec<u8>>,
    /// Messages in their order and pongs in theirs.
    pub(crate) hears: Vec<Heard>,
    pub(crate) then: Then,
}

impl Bench {
    /// Compression is allowed where `compression` says so.
    #[track_caller]
    pub(crate) fn start(compression: bool) -> Self {
        let server = Server::demo();
        let gateway = server.cloud().create_gateway("echo");
        let echo = Echo::start();
        let settings = json!({"compression": compression, "events": {"url": echo.url()}});
        let put = Request::put(gateway.path("configuration")).json(&settings);
        gateway.send_as_admin(put).must_be(200);
        let tunnel = Tunnel::to(&server);
        Self {
            server,
            gateway,
            tunnel,
            echo,
        }
    }

    /// The ways there are to the server.
    pub(crate) fn ways(&self) -> Vec<Over> {
        let tls = self.tunnel.as_ref().map(|_| Over::Tls);
        [Over::Tcp].into_iter().chain(tls).collect()
    }

    /// An address of a new socket.
    #[track_caller]
    pub(crate) fn uri(&self, over: Over) -> String {
        let ask = Request::get(self.gateway.path("websocket_uri"));
        let uri = text(&self.gateway.send(&ask).must_be(200), "/uri");
        match (over, &self.tunnel) {
            (Over::Tls, Some(tunnel)) => tunnel.through(&uri),
            _ => uri,
        }
    }

    #[track_caller]
    pub(crate) fn connect(&self, over: Over) -> Socket {
        Socket::open(&self.uri(over))
    }

    /// A socket and the name by which the app knows it.
    #[track_caller]
    pub(crate) fn connect_named(&self, over: Over) -> (String, Socket) {
        let uri = self.uri(over);
        let (_, id) = uri.split_once("token=").expect("an address has a token");
        (id.to_owned(), Socket::open(&uri))
    }

    /// How a socket ended, as the app was told.
    #[track_caller]
    pub(crate) fn disconnect(&self, id: &str) -> Value {
        self.echo.disconnect(id)
    }

    /// A socket whose messages may be compressed, after such an offer.
    #[track_caller]
    pub(crate) fn connect_offering(&self, offer: &str) -> (Socket, Option<String>) {
        let line = format!("Sec-WebSocket-Extensions: {offer}");
        let (socket, head) = Socket::open_asking(&self.uri(Over::Tcp), &[&line]);
        let agreed = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            (name == "Sec-WebSocket-Extensions").then(|| value.to_owned())
        });
        (socket, agreed)
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Tries each case in every way.
    #[track_caller]
    pub(crate) fn check(&self, cases: &[Case]) {
        for over in self.ways() {
            for case in cases {
                self.try_one(case, over, &case.pieces, "as it is");
                let bytes = case.pieces.concat();
                if (2..=BYTE_BY_BYTE_MAX).contains(&bytes.len()) {
                    let single: Vec<_> = bytes.iter().map(|byte| vec![*byte]).collect();
                    self.try_one(case, over, &single, "byte by byte");
                }
            }
        }
    }

    #[track_caller]
    fn try_one(&self, case: &Case, over: Over, pieces: &[Vec<u8>], how: &str) {
        let name = format!("{}, {how}, over {over:?}", case.name);
        let mut socket = self.connect(over);
        // The server may hang up at a byte that settles the matter, and the rest is then no longer taken.
        let _ = pieces.iter().all(|piece| socket.try_write(piece));
        expect(socket, &name, &case.hears, case.then);
    }

    /// Expects that the app was told everything in order, and ends the server.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.echo.must_be_orderly();
        self.server.stop();
    }
}

/// Reads until the case is decided.
#[track_caller]
pub(crate) fn expect(mut socket: Socket, name: &str, hears: &[Heard], then: Then) {
    let deadline = Instant::now() + CASE_WITHIN;
    let (mut pongs, mut messages): (Vec<_>, Vec<_>) =
        hears.iter().partition(|heard| is_pong(heard));
    pongs.reverse();
    messages.reverse();
    let mut said_goodbye = false;
    loop {
        assert!(Instant::now() < deadline, "{name}: it takes for ever");
        if then == Then::StaysOpen && pongs.is_empty() && messages.is_empty() && !said_goodbye {
            socket.write(&close_frame(1000, b""));
            said_goodbye = true;
        }
        let (opcode, payload) = socket.frame();
        let heard = match opcode {
            TEXT => Heard::Text(payload),
            BINARY => Heard::Binary(payload),
            PONG => Heard::Pong(payload),
            PING => continue,
            CLOSE => {
                let code = payload.get(..2).expect("every close frame has a status");
                let code = u16::from_be_bytes([code[0], code[1]]);
                let expected = match then {
                    Then::StaysOpen => 1000,
                    Then::Closes(code) => code,
                };
                assert_eq!(code, expected, "{name}");
                assert!(
                    said_goodbye || then != Then::StaysOpen,
                    "{name}: closed early"
                );
                return socket.expect_end();
            }
            _ => panic!("{name}: heard a frame of kind {opcode:#x}"),
        };
        let due = if is_pong(&heard) {
            &mut pongs
        } else {
            &mut messages
        };
        let expected = due.pop();
        assert!(expected == Some(&heard), "{name}: heard {}", brief(&heard));
    }
}

fn is_pong(heard: &Heard) -> bool {
    matches!(heard, Heard::Pong(_))
}

/// What was heard, as much of it as fits a line.
fn brief(heard: &Heard) -> String {
    let (Heard::Text(bytes) | Heard::Binary(bytes) | Heard::Pong(bytes)) = heard;
    let kind = match heard {
        Heard::Text(_) => "a text",
        Heard::Binary(_) => "a binary message",
        Heard::Pong(_) => "a pong",
    };
    let start = &bytes[..bytes.len().min(64)];
    format!(
        "{kind} of {} bytes, \"{}\"",
        bytes.len(),
        start.escape_ascii()
    )
}

impl Case {
    /// A case whose frames are one write each.
    pub(crate) fn new(
        name: impl Into<String>,
        pieces: Vec<Vec<u8>>,
        hears: Vec<Heard>,
        then: Then,
    ) -> Self {
        Self {
            name: name.into(),
            pieces,
            hears,
            then,
        }
    }

    /// The connection goes on after it.
    pub(crate) fn good(name: impl Into<String>, pieces: Vec<Vec<u8>>, hears: Vec<Heard>) -> Self {
        Self::new(name, pieces, hears, Then::StaysOpen)
    }

    /// The server closes with this status.
    pub(crate) fn bad(
        name: impl Into<String>,
        pieces: Vec<Vec<u8>>,
        hears: Vec<Heard>,
        code: u16,
    ) -> Self {
        Self::new(name, pieces, hears, Then::Closes(code))
    }
}

/// A client's frame; `first` is its first byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    socket::client_frame(first, payload)
}

/// A whole text.
pub(crate) fn said(payload: &[u8]) -> Vec<u8> {
    frame(FIN | TEXT, payload)
}

pub(crate) fn ping(payload: &[u8]) -> Vec<u8> {
    frame(FIN | PING, payload)
}

pub(crate) fn close_frame(status: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&status.to_be_bytes()[..], reason].concat())
}

/// The frames of one message, cut in these places of its payload; `opcode` is its kind.
pub(crate) fn cut(opcode: u8, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let last = parts.len() - 1;
    let frames = parts.iter().enumerate().map(|(number, part)| {
        let opcode = if number == 0 { opcode } else { CONTINUATION };
        let fin = if number == last { FIN } else { 0 };
        frame(fin | opcode, part)
    });
    frames.collect()
}

pub(crate) fn text_back(payload: &[u8]) -> Heard {
    Heard::Text(payload.to_vec())
}

pub(crate) fn pong_back(payload: &[u8]) -> Heard {
    Heard::Pong(payload.to_vec())
}
