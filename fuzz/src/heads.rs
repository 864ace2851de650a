//! Request heads: whatever bytes come in, the filter neither panics nor grows, does not depend on how they are cut, and
//! passes on only what hyper reads in the same way, up to the same end.
//!
//! The last promise is the one against request smuggling. For each head that passes, hyper is given the canonical head,
//! a body of the length that the filter found, and another request; it must see both requests, or, where the connection
//! ends in between, the first alone.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, StatusCode};
use pilvi_web::Limits;
use pilvi_web::chunked::ChunkedReader;
use pilvi_web::head::{Fault, Framing, Head, HeadFilter, UpgradeHead};

use crate::hyper_side::{self, Seen};
use crate::{Random, memory, pieces};

/// Small, so that inputs reach them.
const HEAD_MAX: usize = 1024;
const TARGET_MAX: usize = 256;

/// A head of the largest size, what is made of it, and a map of as many headers as may be.
const HELD_MAX: usize = 48 << 10;

fn limits() -> Limits {
    Limits {
        head_max_bytes: HEAD_MAX,
        target_max_bytes: TARGET_MAX,
        ..Limits::default()
    }
}

/// The promises about any client's bytes.
pub fn check(input: &[u8]) {
    let whole = Outcome::of(&[input]);
    for pieces in pieces::cuts(input) {
        let cut = Outcome::of(&pieces);
        assert_eq!(cut.passed, whole.passed, "cut into {} pieces", pieces.len());
        // Cut differently, a head may be refused for another reason, because less of it was seen.
        assert_eq!(
            cut.refused.is_some(),
            whole.refused.is_some(),
            "cut into {} pieces",
            pieces.len()
        );
    }
    let peak = memory::peak_of(|| read(&[input], |_| {}));
    assert!(
        peak <= HELD_MAX + 4 * input.len(),
        "the filter held {peak} bytes"
    );
    for passed in &whole.passed {
        match passed {
            Passed::Request(canonical, framing) => {
                hyper_agrees(canonical, *framing);
                stays_the_same(passed, canonical);
            }
            Passed::Upgrade(target, _) | Passed::EventStream(target, _) => {
                target
                    .parse::<http::Uri>()
                    .expect("the target that a socket is opened with is a URI");
            }
        }
    }
    if let Some((fault, told)) = &whole.refused {
        travels(*fault, told);
    }
}

#[derive(Debug, PartialEq)]
enum Passed {
    Request(Vec<u8>, Framing),
    Upgrade(String, HeaderMap),
    EventStream(String, HeaderMap),
}

/// What a stream comes to.
#[derive(Debug, Default)]
struct Outcome {
    passed: Vec<Passed>,
    /// The fault, and the head in the place of the refused one.
    refused: Option<(Fault, Vec<u8>)>,
}

/// What is found in a stream.
enum Found {
    Head(Head),
    Fault(Fault, BytesMut),
}

impl Outcome {
    fn of(pieces: &[&[u8]]) -> Self {
        let mut outcome = Self::default();
        read(pieces, |found| match found {
            Found::Head(Head::Request { canonical, framing }) => {
                outcome
                    .passed
                    .push(Passed::Request(canonical.to_vec(), framing));
            }
            Found::Head(Head::Upgrade(UpgradeHead { target, headers })) => {
                outcome.passed.push(Passed::Upgrade(target, headers));
            }
            Found::Head(Head::EventStream(UpgradeHead { target, headers })) => {
                outcome.passed.push(Passed::EventStream(target, headers));
            }
            Found::Head(Head::App) => unreachable!("there are no apps"),
            Found::Fault(fault, told) => outcome.refused = Some((fault, told.to_vec())),
        });
        outcome
    }
}

/// What the reader of a connection is in the middle of.
enum Phase {
    Head,
    Length(u64),
    Chunked(ChunkedReader),
    Over,
}

/// Reads a stream as a connection does: heads, bodies up to their ends, until a fault or an upgrade.
fn read(pieces: &[&[u8]], mut found: impl FnMut(Found)) {
    let mut filter = HeadFilter::new(&limits());
    let mut buffer = BytesMut::new();
    let mut phase = Phase::Head;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(next) = step(&mut phase, &mut filter, &mut buffer, &mut found) {
            phase = next;
        }
    }
}

/// The phase that comes next; `None` when more bytes are needed.
fn step(
    phase: &mut Phase,
    filter: &mut HeadFilter,
    buffer: &mut BytesMut,
    found: &mut impl FnMut(Found),
) -> Option<Phase> {
    match phase {
        Phase::Over => None,
        Phase::Head => {
            let head = match filter.next(buffer)? {
                Ok(head) => head,
                Err(fault) => {
                    found(Found::Fault(fault, fault.as_head(buffer)));
                    return Some(Phase::Over);
                }
            };
            let next = match &head {
                Head::Upgrade(_) | Head::EventStream(_) | Head::App => Phase::Over,
                Head::Request { framing, .. } => match *framing {
                    Framing::Length(0) => Phase::Head,
                    Framing::Length(length) => Phase::Length(length),
                    Framing::Chunked => Phase::Chunked(ChunkedReader::new()),
                },
            };
            found(Found::Head(head));
            Some(next)
        }
        Phase::Length(left) => {
            let here = usize::try_from(*left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            buffer.advance(here);
            *left -= here as u64;
            (*left == 0).then_some(Phase::Head)
        }
        Phase::Chunked(reader) => match reader.advance(buffer, &mut BytesMut::new()) {
            Ok(()) => reader.is_done().then_some(Phase::Head),
            Err(_) => Some(Phase::Over),
        },
    }
}

/// A longer body is not sent to hyper; only its announcement is compared.
const BODY_BYTES_MAX: u64 = 4096;

const NEXT: &[u8] = b"PROBE /next HTTP/1.1\r\nhost: h\r\n\r\n";

fn hyper_agrees(canonical: &[u8], framing: Framing) {
    let mut stream = canonical.to_vec();
    let body = match framing {
        Framing::Length(length) if length > BODY_BYTES_MAX => None,
        // It looks like a request, so that a reader who takes it for one is caught.
        Framing::Length(length) => {
            let body: Vec<u8> = NEXT.iter().copied().cycle().take(length as usize).collect();
            stream.extend_from_slice(&body);
            Some(body)
        }
        Framing::Chunked => {
            stream.extend_from_slice(b"3\r\nabc\r\n0\r\n\r\n");
            Some(b"abc".to_vec())
        }
    };
    if body.is_some() {
        stream.extend_from_slice(NEXT);
    }
    let seen = hyper_side::read(stream);
    let Some((first, rest)) = seen.split_first() else {
        panic!("hyper refuses {:?}", canonical.escape_ascii().to_string());
    };
    is_the_same_head(canonical, first);
    assert_eq!(
        first.body.as_deref(),
        body.as_deref(),
        "hyper finds another body"
    );
    match rest {
        [] => assert!(
            body.is_none() || may_end(canonical, first),
            "the next request is lost"
        ),
        [next] => assert_eq!(
            (next.method.as_str(), next.target.as_str()),
            ("PROBE", "/next")
        ),
        _ => panic!("hyper finds {} requests in two", seen.len()),
    }
}

/// Whether the connection may end after this request: HTTP/1.0, or a header that says something about it.
fn may_end(canonical: &[u8], first: &Seen) -> bool {
    let line = canonical
        .split(|&byte| byte == b'\r')
        .next()
        .unwrap_or_default();
    line.ends_with(b"HTTP/1.0") || first.headers.contains_key("connection")
}

/// Line by line, hyper's request is what the canonical head says.
fn is_the_same_head(canonical: &[u8], seen: &Seen) {
    let mut lines = canonical.split(|&byte| byte == b'\n').map(|line| {
        line.strip_suffix(b"\r")
            .expect("a line of a canonical head ends with CRLF")
    });
    let first = lines.next().unwrap_or_default();
    let line = format!("{} {} HTTP/1.", seen.method, seen.target);
    assert!(first.starts_with(line.as_bytes()), "hyper reads {line}");
    let mut count = 0;
    for line in lines.take_while(|line| !line.is_empty()) {
        let colon = line
            .iter()
            .position(|&byte| byte == b':')
            .expect("a header has a colon");
        let name = std::str::from_utf8(&line[..colon]).expect("a header's name is ASCII");
        let mut values = seen.headers.get_all(name).iter();
        assert!(
            values.any(|value| value == line[colon + 1..].trim_ascii()),
            "hyper lacks {name}"
        );
        let ours = name.to_ascii_lowercase().starts_with("x-pilvi-");
        assert!(!ours, "a client's own {name} came through");
        count += 1;
    }
    assert_eq!(seen.headers.len(), count, "hyper reads other headers");
}

/// Filtering a canonical head again changes nothing, or is one header too much: the host of a whole URI became one.
fn stays_the_same(passed: &Passed, canonical: &[u8]) {
    let mut filter = HeadFilter::new(&Limits::default());
    match filter.next(&mut BytesMut::from(canonical)) {
        Some(Ok(Head::Request { canonical, framing })) => {
            assert_eq!(*passed, Passed::Request(canonical.to_vec(), framing));
        }
        Some(Err(fault)) if fault.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let lines = canonical.iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!(lines, 1 + 100 + 1, "a canonical head is too large");
        }
        other => panic!("a canonical head became {other:?}"),
    }
}

/// What is told about a refused head reaches the door through hyper, whole and alone.
fn travels(fault: Fault, told: &[u8]) {
    let mut seen = hyper_side::read([told, NEXT].concat());
    assert_eq!(seen.len(), 1, "the connection ends with a refusal");
    let refusal = Fault::read(&mut seen[0].headers).expect("hyper passes the fault on");
    assert_eq!(
        (refusal.status, refusal.message.as_str()),
        (fault.status, fault.message)
    );
}

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"];

const TARGETS: [&str; 9] = [
    "/",
    "*",
    "/v1/objects/todos?q={\"a\":[1,\"b c\"]}&limit=5",
    "/v1/users?q=%7B%22username%22:%22logintest%22%7D",
    "http://other:81/x?y",
    "https://other",
    "/a b  c",
    "/\u{e4}#b|\\^`<>",
    "/v1/gateways/51cdbc08989e975ec300772a/websocket_uri",
];

const HEADERS: [&str; 24] = [
    "Host: h",
    "Host: 127.0.0.1:8080",
    "host:h",
    "Content-Length: 0",
    "Content-Length: 4",
    "Content-Length: 44",
    "Content-Length: 18446744073709551615",
    "Content-Length: 5, 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: gzip, chunked",
    "Connection: keep-alive",
    "Connection: close",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Expect: 100-continue",
    "X-Pilvi-Fault: 200 fine",
    "Enginio-Backend-Id: 51cdbc08989e975ec300772a",
    "X-Request-Id: 0123456789abcdef0123456789abcdef",
    "A: \u{e4}\t b",
    "A:",
    "A : 1",
];

const BODIES: [&str; 6] = [
    "",
    "null",
    "4\r\nnull\r\n0\r\n\r\n",
    "2;a=b\r\n{}\r\n0\r\nT: x\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
    "0\r\n\r\n",
];

/// One or a few requests on a connection.
pub fn make(random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    for _ in 0..1 + random.below(3) {
        let end = if random.one_in(8) { "\n" } else { "\r\n" };
        let version = *random.pick(&["1.1", "1.1", "1.1", "1.0", "2.0"]);
        let (method, target) = (random.pick(&METHODS), random.pick(&TARGETS));
        text += &format!("{method} {target} HTTP/{version}{end}");
        if !random.one_in(6) {
            text += &format!("Host: h{end}");
        }
        for _ in 0..random.below(5) {
            text += *random.pick(&HEADERS);
            text += end;
        }
        if random.one_in(12) {
            text += &format!("A: 1{end}").repeat(random.below(120));
        }
        if random.one_in(12) {
            text += &format!("B: {}{end}", "b".repeat(random.below(1100)));
        }
        text += end;
        text += *random.pick(&BODIES);
    }
    text.into_bytes()
}
