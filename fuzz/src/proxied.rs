//! Heads and bodies on their way through the router: whatever bytes come in, what goes on to an app is read by hyper as
//! the same request, with the same end, and says about the client what the router says and not what the client does.
//!
//! What comes back from an app is held to the same: a response head that passes is the same one when it is read again.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::Uri;
use pilvi_edge::framing::{BodyReader, Framing, Span};
use pilvi_edge::head::{Asked, Forwarding, HEADERS_MAX, RequestHead, ResponseHead, To, Version};
use pilvi_web::chunked::ChunkedReader;

use crate::hyper_side::{self, Seen};
use crate::{Random, heads};

/// What the router says about the client.
const TRUTH: Forwarding<'_> = Forwarding {
    peer: "192.0.2.7",
    proto: "https",
    port: "443",
    request_id: "made",
};

/// Headers that hyper takes besides those that the router adds.
const HYPER_HEADERS_MAX: usize = 90;

/// A body of a declared length longer than this is not made.
const BODY_BYTES_MAX: u64 = 4096;

/// It looks like a request, so that a reader who takes a body for one is caught.
const NEXT: &[u8] = b"PROBE /next HTTP/1.1\r\nhost: h\r\n\r\n";

/// The promises about any client's and any app's bytes.
pub fn check(input: &[u8]) {
    request(input);
    response(input);
    body(input);
}

fn request(input: &[u8]) {
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let Ok(Some(head)) = RequestHead::parse(input, &mut slots) else {
        return;
    };
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let alone = RequestHead::parse(&input[..head.len], &mut slots);
    assert!(
        matches!(alone, Ok(Some(alone)) if alone.len == head.len && alone.asked == head.asked),
        "what follows a head changes it"
    );
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let cut = RequestHead::parse(&input[..head.len - 1], &mut slots);
    assert!(
        !matches!(cut, Ok(Some(_))),
        "a head is whole before its end"
    );

    let mut out = BytesMut::new();
    head.write(&mut out, &TRUTH);
    let lines = out.iter().filter(|&&byte| byte == b'\n').count();
    let host = String::from_utf8_lossy(head.host);
    // What hyper refuses for reasons of its own goes to no app of ours that is hyper.
    let readable = head.target.parse::<Uri>().is_ok() && lines <= HYPER_HEADERS_MAX;
    if readable {
        let seen = hyper_agrees(&out, head.asked.framing);
        assert_eq!(
            (seen.method.as_str(), seen.target.as_str()),
            (head.method, head.target)
        );
        says_the_truth(&seen, &host);
    }
}

/// hyper finds one request in `head` with a body, and the next one behind it.
fn hyper_agrees(head: &[u8], framing: Framing) -> Seen {
    let mut stream = head.to_vec();
    let body = match framing {
        Framing::Length(length) if length > BODY_BYTES_MAX => None,
        Framing::Length(length) => {
            let body: Vec<u8> = NEXT.iter().copied().cycle().take(length as usize).collect();
            stream.extend_from_slice(&body);
            Some(body)
        }
        Framing::Chunked => {
            stream.extend_from_slice(b"3\r\nabc\r\n0\r\n\r\n");
            Some(b"abc".to_vec())
        }
        Framing::UntilClose => panic!("no request lasts until the connection is closed"),
    };
    if body.is_some() {
        stream.extend_from_slice(NEXT);
    }
    let mut seen = hyper_side::read(stream);
    assert!(
        !seen.is_empty(),
        "hyper refuses {:?}",
        head.escape_ascii().to_string()
    );
    let rest = seen.split_off(1);
    let first = seen.remove(0);
    assert_eq!(
        first.body.as_deref(),
        body.as_deref(),
        "hyper finds another body"
    );
    if body.is_some() {
        let [next] = &rest[..] else {
            panic!("hyper finds {} requests in two", rest.len() + 1);
        };
        assert_eq!(
            (next.method.as_str(), next.target.as_str()),
            ("PROBE", "/next")
        );
    }
    first
}

fn says_the_truth(seen: &Seen, host: &str) {
    let only = |name: &str| {
        let values: Vec<_> = seen.headers.get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name} is there {} times", values.len());
        String::from_utf8_lossy(values[0].as_bytes()).into_owned()
    };
    assert_eq!(only("x-forwarded-proto"), TRUTH.proto);
    assert_eq!(only("x-forwarded-port"), TRUTH.port);
    assert!(only("x-forwarded-for").ends_with(TRUTH.peer));
    assert_eq!(only("host"), host.trim_matches([' ', '\t']));
    let id = only("x-request-id");
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    assert!(
        (1..=64).contains(&id.len()) && id.bytes().all(harmless),
        "{id:?}"
    );
    for name in seen.headers.keys() {
        let plain = name.as_str().replace('_', "-");
        let ours = [
            "x-forwarded-for",
            "x-forwarded-proto",
            "content-length",
            "transfer-encoding",
        ];
        assert!(
            plain == name.as_str() || !ours.contains(&plain.as_str()),
            "{name}"
        );
    }
}

fn response(input: &[u8]) {
    let asked = Asked {
        version: Version::Http11,
        framing: Framing::Length(0),
        keep_alive: true,
        is_head: false,
        repeatable: true,
        upgrades: false,
        wants_html: false,
    };
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let Ok(Some(head)) = ResponseHead::parse(input, &mut slots, &asked) else {
        return;
    };
    let chunked = head.framing == Framing::Chunked;
    let to = To {
        version: Version::Http11,
        keep_alive: true,
        chunked,
    };
    let mut out = BytesMut::new();
    head.write(&mut out, to);
    let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    match ResponseHead::parse(&out, &mut slots, &asked) {
        Ok(Some(again)) => {
            assert_eq!((again.status, again.framing), (head.status, head.framing));
            assert_eq!(again.len, out.len(), "the head ends somewhere else");
            assert!(again.fields().eq(head.fields()), "the headers are others");
        }
        other => panic!("{:?} became {other:?}", out.escape_ascii().to_string()),
    }
}

/// A chunked body ends where the other reader of ours finds its end, however it is cut.
fn body(input: &[u8]) {
    let whole = read(input, input.len().max(1));
    for piece in [1, 2, 7] {
        assert_eq!(read(input, piece), whole, "cut into pieces of {piece}");
    }
    let Some(taken) = whole else { return };
    let (mut left, mut out) = (BytesMut::from(input), BytesMut::new());
    let mut other = ChunkedReader::new();
    // The other one takes less of extensions and trailers.
    if other.advance(&mut left, &mut out).is_ok() {
        assert!(
            other.is_done() && left.len() == input.len() - taken,
            "two readers differ"
        );
    }
}

/// Where the body ends; `None` when it does not, or is broken.
fn read(input: &[u8], piece: usize) -> Option<usize> {
    let mut reader = BodyReader::new(Framing::Chunked);
    let (mut taken, mut here) = (0, 0);
    while here < input.len() && !reader.is_done() {
        here = (here + piece).min(input.len());
        while let Some(span) = reader.next(&input[taken..here]).ok()? {
            assert!(!span.is_empty() && taken + span.len() <= here);
            assert!(!matches!(span, Span::Trailer(len) if len < 4));
            taken += span.len();
        }
    }
    reader.is_done().then_some(taken)
}

const LINES: [&str; 16] = [
    "X-Forwarded-For: 10.0.0.1",
    "X_Forwarded_For: 10.0.0.1",
    "X-Forwarded-Proto: http",
    "x_forwarded_proto: http",
    "X-Forwarded-Port: 1",
    "X-Request-Id: a b",
    "X-Request-Id: abc-1",
    "Content_Length: 5",
    "Transfer_Encoding: chunked",
    "Connection: close, Host, Content-Length, X-Forwarded-For, A",
    "Connection: a, b, c, d, e, f, g, h, i",
    "Keep-Alive: timeout=5, max=1",
    "TE: trailers, deflate",
    "Trailer: x",
    "Proxy-Connection: keep-alive",
    "Set-Cookie: a",
];

/// One or a few requests or responses, with what a client would write to be taken for somebody else.
pub fn make(random: &mut Random) -> Vec<u8> {
    if random.one_in(4) {
        let status = *random.pick(&[
            "200 OK",
            "204 No Content",
            "304",
            "101 Switching",
            "100 Continue",
            "99 x",
        ]);
        let mut text = format!("HTTP/1.{} {status}\r\n", random.below(2));
        for _ in 0..random.below(5) {
            let length = format!("Content-Length: {}", random.below(3));
            let line = *random.pick(&[
                length.as_str(),
                "Transfer-Encoding: chunked",
                "Connection: close",
                "Upgrade: x",
            ]);
            text += if random.one_in(2) {
                line
            } else {
                *random.pick(&LINES)
            };
            text += "\r\n";
        }
        return (text + "\r\n").into_bytes();
    }
    let bytes = heads::make(random);
    if random.one_in(6) {
        // The body alone.
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        return bytes[end.map_or(0, |end| end + 4)..].to_vec();
    }
    let end = bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .map_or(0, |end| end + 1);
    let mut text = bytes[..end].to_vec();
    for _ in 0..random.below(5) {
        text.extend_from_slice(random.pick(&LINES).as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    [&text, &bytes[end..]].concat()
}
