//! The head that the app gets for a request that came in parts.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, TRANSFER_ENCODING, UPGRADE,
};
use http::{Version, request};
use http_body::Body;
use pilvi_base::secret::random_hex;

use crate::edge::Ends;
use crate::head::{Asked, Fault, Forwarding, HEADERS_MAX, RequestHead};
use crate::note::Note;
use crate::trouble::Trouble;

/// A request about to be sent.
pub(super) struct Draft {
    /// The head, as it goes out.
    pub(super) head: BytesMut,
    pub(super) asked: Asked,
    pub(super) note: Note,
}

impl Draft {
    /// Writes the request down as an HTTP/1.1 client would have sent it, and lets it pass what such a one passes, so
    /// that there is one set of rules.
    pub(super) fn of<B: Body<Data = Bytes>>(
        parts: &request::Parts,
        body: &B,
        ends: Ends,
    ) -> Result<Self, Trouble> {
        let spelled = spell(parts, body).ok_or(Fault::Malformed("The request names no host."))?;
        let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let head = RequestHead::parse(&spelled, &mut slots)?.ok_or(Fault::Malformed(
            "The head of the request is not well formed.",
        ))?;
        let (peer, port) = (
            ends.peer.ip().to_canonical().to_string(),
            ends.local.port().to_string(),
        );
        let made;
        let forwarding = Forwarding {
            peer: &peer,
            proto: if ends.secure { "https" } else { "http" },
            port: &port,
            request_id: match head.has_request_id() {
                true => "",
                false => {
                    made = random_hex::<16>();
                    &made
                }
            },
        };
        let mut draft = Self {
            head: BytesMut::new(),
            asked: head.asked,
            note: Note::default(),
        };
        head.write(&mut draft.head, &forwarding);
        draft.note.set(
            head.method,
            head.target,
            head.host,
            head.request_id(&forwarding),
        );
        Ok(draft)
    }
}

/// The head in HTTP/1.1. `None` without a host.
fn spell<B: Body<Data = Bytes>>(parts: &request::Parts, body: &B) -> Option<BytesMut> {
    let named = parts.headers.get(HOST).map(|host| host.as_bytes());
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let host = authority.map(str::as_bytes).or(named)?;
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let mut out = BytesMut::with_capacity(1024);
    for piece in [parts.method.as_str(), " ", target, " HTTP/1.1\r\nhost: "] {
        out.extend_from_slice(piece.as_bytes());
    }
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\n");
    for (name, value) in &parts.headers {
        if passes(name) && (name != COOKIE || parts.version < Version::HTTP_2) {
            line(&mut out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if parts.version >= Version::HTTP_2 {
        join_cookies(parts, &mut out);
    }
    if !body.is_end_stream() && !parts.headers.contains_key(CONTENT_LENGTH) {
        line(&mut out, b"transfer-encoding", b"chunked");
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

/// What the parts say otherwise, or what ends with the client's connection. The body is asked for in any case, so
/// nobody need be told to go on.
fn passes(name: &HeaderName) -> bool {
    ![HOST, EXPECT, CONNECTION, UPGRADE, TRANSFER_ENCODING].contains(name)
}

/// HTTP/2 clients may send a cookie in pieces; HTTP/1.1 knows one line (RFC 9113 §8.2.3).
fn join_cookies(parts: &request::Parts, out: &mut BytesMut) {
    let mut pieces = parts.headers.get_all(COOKIE).iter();
    let Some(first) = pieces.next() else {
        return;
    };
    out.extend_from_slice(b"cookie: ");
    out.extend_from_slice(first.as_bytes());
    for piece in pieces {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(piece.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    for piece in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(piece);
    }
}
