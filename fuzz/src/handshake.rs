//! Handshakes of WebSockets: each is refused for a reason that is there, or completed with a head that any client
//! reads, and nothing is agreed upon that was not offered.
//!
//! Heads are read as a connection reads them; the answers are held to a second reader.

use bytes::BytesMut;
use http::HeaderMap;
use pilvi_mws::fuzzed::agree;
use pilvi_web::Limits;
use pilvi_web::head::{Head, HeadFilter};
use pilvi_web::upgrade::{accepted, fault};

use crate::{Random, memory};

/// Everything that is made of a head of the largest size.
const HELD_MAX: usize = 48 << 10;

/// What is agreed upon, but for the window.
const AGREED: [&str; 3] = [
    "permessage-deflate",
    "server_no_context_takeover",
    "client_no_context_takeover",
];

/// The promises about any client's bytes.
pub fn check(input: &[u8]) {
    let Some(headers) = upgrade(input) else {
        return;
    };
    let mut agreed = None;
    let peak = memory::peak_of(|| agreed = agree(&headers));
    assert!(
        peak <= HELD_MAX + 8 * input.len(),
        "an offer held {peak} bytes"
    );
    if let Some(agreed) = &agreed {
        was_offered(&headers, agreed);
    }
    match fault(&headers) {
        Some(refusal) => {
            let expected = match header(&headers, "sec-websocket-version") {
                Some(b"13") => 400,
                _ => 426,
            };
            assert_eq!(refusal.status.as_u16(), expected);
            assert!(expected == 426 || !has_good_key(&headers));
        }
        None => {
            assert!(has_good_key(&headers));
            is_read_by_any_client(&accepted(&headers, agreed.as_deref()), agreed.as_deref());
        }
    }
}

fn upgrade(input: &[u8]) -> Option<HeaderMap> {
    let mut filter = HeadFilter::new(&Limits::default());
    match filter.next(&mut BytesMut::from(input))? {
        Ok(Head::Upgrade(upgrade)) => Some(upgrade.headers),
        _ => None,
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers.get(name).map(http::HeaderValue::as_bytes)
}

/// Sixteen bytes in base64: 22 signs, of which the last has only two bits, and two fillers (RFC 6455 §4.1).
fn has_good_key(headers: &HeaderMap) -> bool {
    let Some(key) = header(headers, "sec-websocket-key") else {
        return false;
    };
    let is_sign = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24
        && key[..22].iter().all(is_sign)
        && b"AQgw".contains(&key[21])
        && key.ends_with(b"==")
}

/// Whether some offer, read without care for quotes, asked for what was agreed upon.
fn was_offered(headers: &HeaderMap, agreed: &str) {
    let mut parts = agreed.split("; ");
    for expected in AGREED {
        assert_eq!(parts.next(), Some(expected), "{agreed}");
    }
    let window = parts.next();
    assert_eq!(parts.next(), None, "{agreed}");
    if let Some(window) = window {
        let bits = window.strip_prefix("server_max_window_bits=");
        let bits = bits.and_then(|bits| bits.parse().ok());
        assert!(matches!(bits, Some(9..=15_u8)), "{agreed}");
    }
    let fields = headers.get_all("sec-websocket-extensions").iter();
    let fields: Vec<&str> = fields.filter_map(|field| field.to_str().ok()).collect();
    let mut offers = fields.iter().flat_map(|field| field.split(','));
    let good = offers.any(|offer| {
        let bare: String = offer
            .chars()
            .filter(|sign| !" \t\"\\".contains(*sign))
            .collect();
        let mut parts = bare.split(';');
        let is_ours = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(AGREED[0]));
        let asked = parts.find(|part| part.starts_with("server_max_window_bits"));
        is_ours && asked == window
    });
    assert!(good, "nobody offered {agreed}: {fields:?}");
}

/// A status line, four headers or three, an empty line; nothing that a client sent comes back as it was.
fn is_read_by_any_client(head: &str, agreed: Option<&str>) {
    let lines: Vec<&str> = head.split("\r\n").collect();
    let [status, upgrade, connection, accept, rest @ ..] = lines.as_slice() else {
        panic!("too short: {head}");
    };
    assert_eq!(
        [*status, upgrade, connection],
        [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: upgrade"
        ]
    );
    let accept = accept.strip_prefix("Sec-WebSocket-Accept: ");
    let is_hash = |value: &str| value.len() == 28 && value.ends_with('=');
    assert!(accept.is_some_and(is_hash), "{head}");
    let extensions = agreed.map(|agreed| format!("Sec-WebSocket-Extensions: {agreed}"));
    let expected: Vec<&str> = extensions.as_deref().into_iter().chain(["", ""]).collect();
    assert_eq!(rest, expected);
}

const OFFERS: [&str; 10] = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "Permessage-Deflate ; server_max_window_bits = 10",
    "permessage-deflate;server_no_context_takeover;client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=\"12\"; client_max_window_bits=8",
    "permessage-deflate; server_max_window_bits=8",
    "x-webkit-deflate-frame",
    "x; a=\"b, permessage-deflate\"",
    "permessage-deflate; nobody_knows",
    "mux; max-channels=4; flow-control",
];

const KEYS: [&str; 5] = [
    "dGhlIHNhbXBsZSBub25jZQ==",
    "AAAAAAAAAAAAAAAAAAAAAA==",
    "dGhlIHNhbXBsZSBub25jZQ",
    "dGhlIHNhbXBsZSBub25jZR==",
    "",
];

/// A client's wish for a WebSocket, most of which are in order.
pub fn make(random: &mut Random) -> Vec<u8> {
    let mut head =
        "GET /?token=0 HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            .to_owned();
    if !random.one_in(10) {
        let version = *random.pick(&["13", "13", "13", "13", "8", "13, 8", ""]);
        head += &format!("Sec-WebSocket-Version: {version}\r\n");
    }
    if !random.one_in(10) {
        let key = match random.one_in(3) {
            true => *random.pick(&KEYS),
            false => KEYS[0],
        };
        head += &format!("Sec-WebSocket-Key: {key}\r\n");
    }
    for _ in 0..random.below(3) {
        let offers: Vec<&str> = (0..1 + random.below(3))
            .map(|_| *random.pick(&OFFERS))
            .collect();
        let between = *random.pick(&[", ", ",", " ,, ", ";"]);
        head += &format!("Sec-WebSocket-Extensions: {}\r\n", offers.join(between));
    }
    if random.one_in(4) {
        head += "Sec-WebSocket-Protocol: chat, superchat\r\n";
    }
    head += "\r\n";
    head.into_bytes()
}
