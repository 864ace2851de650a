//! One conversation with a gateway and the app behind it, by every client library that people use: npm `ws`, Python's
//! `websockets`, QWebSocket of Qt 5 and of Qt 6, and the WebSocket of Chromium; in the clear and over TLS.
//!
//! Each is a program that does what it is told line by line (`qt/web-sockets/main.cpp` says which), so that all of them
//! go through the same: listen, say, compression where the library has it, binary messages, and every way to end.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pilvi_e2e::api::{Gateway, text};
use pilvi_e2e::child::Client;
use pilvi_e2e::echo::Echo;
use pilvi_e2e::http::Request;
use pilvi_e2e::qt::Major;
use pilvi_e2e::server::Server;
use pilvi_e2e::{browser, node, python, qt};
use serde_json::json;

/// How long a client may take for a line: it may be a browser, and others run beside it.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// What a client may say at once, and one byte more.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What a client tells in hex.
const SHOWN_MAX: usize = 64;

/// What a library can do.
struct Skills {
    /// What it says of the extensions when compression is allowed.
    compression: Option<&'static str>,
    pings: bool,
}

const WS: Skills = Skills {
    compression: Some("permessage-deflate"),
    pings: true,
};
const WEBSOCKETS: Skills = Skills {
    compression: Some("permessage-deflate"),
    pings: true,
};
const QWEBSOCKET: Skills = Skills {
    compression: None,
    pings: true,
};
const CHROMIUM: Skills = Skills {
    compression: Some("permessage-deflate"),
    pings: false,
};

/// Runs the conversation in the clear and over TLS. `start` is given the path of the CA.
#[track_caller]
fn converse(skills: &Skills, start: impl Fn(&str) -> Option<Client>) {
    for secure in [false, true] {
        let server = Server::demo();
        let Some(client) = start(server.ca()) else {
            return;
        };
        let mut talk = Talk::new(&server, client, secure);
        talk.listens(skills, false);
        talk.listens(skills, true);
        talk.says(skills);
        talk.ends();
        let Talk {
            mut client, echo, ..
        } = talk;
        server.stop();
        client.expect_line("closed 1001 going away", TOLD_WITHIN);
        echo.must_be_orderly();
    }
}

struct Talk {
    client: Client,
    gateway: Gateway,
    echo: Echo,
    /// `ws://` or `wss://` with the address.
    base: String,
}

impl Talk {
    fn new(server: &Server, client: Client, secure: bool) -> Self {
        let base = match secure {
            true => format!("wss://{}", server.https()),
            false => format!("ws://{}", server.http),
        };
        Self {
            client,
            gateway: server.cloud().create_gateway("clients"),
            echo: Echo::start(),
            base,
        }
    }

    #[track_caller]
    fn hears(&mut self, line: &str) {
        self.client.expect_line(line, TOLD_WITHIN);
    }

    fn configure(&self, compression: bool) {
        let settings = json!({"compression": compression, "events": {"url": self.echo.url()}});
        let put = Request::put(self.gateway.path("configuration")).json(&settings);
        self.gateway.send_as_admin(put).must_be(200);
    }

    /// The id of a socket that the client was told to open; `more` is put behind the address.
    #[track_caller]
    fn open(&mut self, more: &str) -> String {
        let ask = Request::get(self.gateway.path("websocket_uri"));
        let uri = text(&self.gateway.send(&ask).must_be(200), "/uri");
        let (_, id) = uri.split_once("token=").expect("an address has a token");
        self.client
            .say(&format!("open {}/?token={id}{more}", self.base));
        id.to_owned()
    }

    #[track_caller]
    fn opened(&mut self, skills: &Skills, compression: bool) {
        let line = self.client.next_line(TOLD_WITHIN);
        let extensions = line
            .strip_prefix("open ")
            .unwrap_or_else(|| panic!("{line}"));
        match skills.compression.filter(|_| compression) {
            Some(expected) => assert!(extensions.starts_with(expected), "{line}"),
            None => assert_eq!(extensions, "-", "nothing was agreed upon"),
        }
    }

    #[track_caller]
    fn publish(&self, message: &serde_json::Value) {
        let request = Request::post(self.gateway.path("messages")).json(message);
        self.gateway.send_as_admin(request).must_be(201);
    }

    /// What the gateway sends arrives, texts and bytes, short and long, compressed or not.
    #[track_caller]
    fn listens(&mut self, skills: &Skills, compression: bool) {
        self.configure(compression);
        self.open("");
        self.opened(skills, compression);
        let everybody = json!({"sockets": ["*"], "tags": null});
        let long = "ä".repeat(MESSAGE_BYTES_MAX / 2);
        for text in [
            "Hello World!",
            "Grüße, 世界 🎈",
            " ",
            "a\0b\u{2028}c",
            &"x".repeat(5_000),
            &long,
        ] {
            self.publish(&json!({"data": text, "receivers": everybody}));
            self.hears(&format!("text {}", mark(text.as_bytes())));
        }
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for bytes in [&bytes[..3], &bytes] {
            let data = base64(bytes);
            self.publish(&json!({"data": data, "encoding": "base64", "receivers": everybody}));
            self.hears(&format!("binary {}", mark(bytes)));
        }
        self.client.say("close 1000 done");
        self.closed(1000);
    }

    /// After a close of the client's own. The server answers with the status alone; what a library then says of the
    /// reason is its affair.
    #[track_caller]
    fn closed(&mut self, code: u16) {
        let line = self.client.next_line(TOLD_WITHIN);
        let words: Vec<_> = line.split(' ').take(2).collect();
        assert_eq!(words, ["closed", &code.to_string()], "{line}");
    }

    /// What the client says comes back from the app.
    #[track_caller]
    fn says(&mut self, skills: &Skills) {
        let id = self.open("");
        self.opened(skills, true);
        for text in ["Hello World!", "Grüße, 世界 🎈", "a\0b"] {
            self.client.say(&format!("say {}", hex(text.as_bytes())));
            self.hears(&format!("text {}", mark(text.as_bytes())));
        }
        for count in [1_000, 70_000, MESSAGE_BYTES_MAX] {
            self.client.say(&format!("say-long {count}"));
            self.hears(&format!("text {}", mark(&letters(count))));
        }
        let bytes: Vec<u8> = (0..=255).collect();
        self.client.say(&format!("send {}", hex(&bytes)));
        self.hears(&format!("binary {}", mark(&bytes)));
        if skills.pings {
            self.client.say("ping here");
            self.hears("pong here");
        }
        // Many at once, which come back in their order.
        for number in 0..50 {
            self.client
                .say(&format!("say {}", hex(format!("{number}").as_bytes())));
        }
        for number in 0..50 {
            self.hears(&format!("text {}", mark(format!("{number}").as_bytes())));
        }
        self.client.say("close 4321 bye");
        self.closed(4321);
        let told = self.echo.disconnect(&id);
        assert_eq!(
            (&told["code"], &told["reason"]),
            (&4321.into(), &"bye".into())
        );
        assert_eq!(self.echo.life(&id).messages, 57);
    }

    /// How the server ends a socket; the last one is open when this is over.
    #[track_caller]
    fn ends(&mut self) {
        // Its owner ends it.
        let id = self.open("");
        self.skip_open();
        let delete = Request::delete(self.gateway.path(&format!("sockets/{id}")));
        self.gateway.send_as_admin(delete).must_be(200);
        self.hears("closed 1000");
        // Its app does not want it.
        self.open("&refuse=closed+today");
        self.skip_open();
        self.hears("closed 1008 closed today");
        // It says too much.
        self.open("");
        self.skip_open();
        self.client
            .say(&format!("say-long {}", 2 * MESSAGE_BYTES_MAX));
        self.hears("closed 1009 message too big");
        // Its address has been used.
        self.client.say(&format!("open {}/?token={id}", self.base));
        self.skip_open();
        self.hears("closed 1000");
        self.open("");
        self.skip_open();
    }

    #[track_caller]
    fn skip_open(&mut self) {
        let line = self.client.next_line(TOLD_WITHIN);
        assert!(line.starts_with("open "), "{line}");
    }
}

/// As a client tells what it heard.
fn mark(bytes: &[u8]) -> String {
    if bytes.len() <= SHOWN_MAX {
        return hex(bytes);
    }
    let add = |sum: u32, byte: &u8| sum.wrapping_mul(31).wrapping_add(u32::from(*byte));
    format!("{}:{}", bytes.len(), bytes.iter().fold(0, add))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes everything");
        text
    })
}

fn letters(count: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(count).collect()
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let sign = SIGNS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > three.len() {
                '='
            } else {
                char::from(sign)
            });
        }
    }
    text
}

#[test]
fn npm_ws() {
    converse(&WS, |ca| {
        let variables = [("NODE_EXTRA_CA_CERTS", ca)];
        node::is_ready().then(|| node::start("puppet_ws.cjs", &variables))
    });
}

#[test]
fn python_websockets() {
    converse(&WEBSOCKETS, |ca| {
        python::is_ready().then(|| python::start("puppet.py", &[("CA", ca)]))
    });
}

#[test]
fn qwebsocket_of_qt_5() {
    converse(&QWEBSOCKET, |ca| qt_client(Major::Five, ca));
}

#[test]
fn qwebsocket_of_qt_6() {
    converse(&QWEBSOCKET, |ca| qt_client(Major::Six, ca));
}

#[track_caller]
fn qt_client(major: Major, ca: &str) -> Option<Client> {
    let program = qt::web_sockets(major, Path::new(env!("CARGO_TARGET_TMPDIR")))?;
    let mut command = Command::new(program);
    Some(Client::start("web-sockets", command.args(["--ca", ca])))
}

#[test]
fn chromium() {
    converse(&CHROMIUM, |_| {
        let browser = browser::find()?;
        let browser = browser.to_str().expect("a program has a plain name");
        let mut client = node::start("puppet_browser.cjs", &[("CHROMIUM", browser)]);
        client.expect_line("ready", TOLD_WITHIN);
        Some(client)
    });
}
