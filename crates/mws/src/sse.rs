//! Event streams: what a gateway says to a listener that is no WebSocket (HTML Living Standard, "Server-sent events").
//!
//! Everything that is sent is a block of lines that ends with an empty one, and no block holds an empty line but its
//! last: so blocks can be told apart in a stream of bytes, as frames can.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use serde_json::json;

use crate::dress::{Kind, Payload};
use crate::message_id::MessageId;

/// The end of each block.
const END: &[u8] = b"\n\n";

/// A message. Its id comes back as `Last-Event-ID`. Text keeps its lines: an LF, a CR or both together begin a new line
/// of data, which a listener reads as an LF. Bytes are base64 in an event of their own name.
pub(crate) fn event(id: Option<MessageId>, payload: &Payload) -> Bytes {
    let mut block = BytesMut::with_capacity(payload.bytes.len() + 64);
    if let Some(id) = id {
        line(&mut block, b"id", id.to_string().as_bytes());
    }
    match payload.kind {
        Kind::Text => lines(&payload.bytes).for_each(|text| line(&mut block, b"data", text)),
        Kind::Binary => {
            line(&mut block, b"event", b"binary");
            line(
                &mut block,
                b"data",
                STANDARD.encode(&payload.bytes).as_bytes(),
            );
        }
    }
    end(block)
}

/// What is sent when nothing is said for long, so that nobody on the way takes the connection for dead.
pub(crate) fn comment() -> Bytes {
    Bytes::from_static(b":\n\n")
}

/// The last block: why the server ends the stream, as a close frame would say it.
pub(crate) fn close(code: u16, reason: &str) -> Bytes {
    let mut block = BytesMut::new();
    line(&mut block, b"event", b"close");
    let why = json!({"code": code, "reason": reason}).to_string();
    line(&mut block, b"data", why.as_bytes());
    end(block)
}

/// How long the first of some whole blocks is.
pub(crate) fn length(blocks: &[u8]) -> usize {
    let end = memchr::memmem::find(blocks, END);
    end.map_or(blocks.len(), |end| end + END.len())
}

fn line(block: &mut BytesMut, field: &[u8], value: &[u8]) {
    for part in [field, b": ", value, b"\n"] {
        block.extend_from_slice(part);
    }
}

fn end(mut block: BytesMut) -> Bytes {
    block.extend_from_slice(b"\n");
    block.freeze()
}

/// The lines of a text, at least one. They end as those of an event stream may: with LF, CR, or CR LF.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr::memchr2(b'\n', b'\r', text) else {
            rest = None;
            return Some(text);
        };
        let after = match &text[end..] {
            [b'\r', b'\n', ..] => end + 2,
            _ => end + 1,
        };
        rest = Some(&text[after..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::message_id::MessageIds;

    fn text(text: &str) -> Bytes {
        event(None, &payload(Kind::Text, text.as_bytes()))
    }

    fn payload(kind: Kind, bytes: &[u8]) -> Payload {
        Payload {
            kind,
            bytes: Bytes::copy_from_slice(bytes),
        }
    }

    /// The data of one block as the standard has a listener read it.
    fn read(block: &[u8]) -> String {
        let block = std::str::from_utf8(block).unwrap();
        let mut data = String::new();
        for line in block.strip_suffix("\n\n").unwrap().split(['\n', '\r']) {
            let value = line.strip_prefix("data:").unwrap();
            data.push_str(value.strip_prefix(' ').unwrap_or(value));
            data.push('\n');
        }
        data.pop();
        data
    }

    #[test]
    fn a_message_is_an_event_of_one_line_each() {
        for (message, block) in [
            ("hello", "data: hello\n\n"),
            ("", "data: \n\n"),
            (" a: b ", "data:  a: b \n\n"),
            ("a\nb", "data: a\ndata: b\n\n"),
            ("a\r\nb\rc\n", "data: a\ndata: b\ndata: c\ndata: \n\n"),
            ("\n\n", "data: \ndata: \ndata: \n\n"),
            ("\n\r\n\r", "data: \ndata: \ndata: \ndata: \n\n"),
            ("data: x\n:y", "data: data: x\ndata: :y\n\n"),
            ("ä€😀\0", "data: ä€😀\0\n\n"),
        ] {
            assert_eq!(text(message), block, "{message:?}");
        }
    }

    #[test]
    fn nothing_but_the_kind_of_line_ends_is_lost() {
        for message in [
            "",
            "a",
            "\n",
            "\r",
            "\r\n",
            "a\n\nb\n",
            " \n a",
            "\u{2028}\u{85}",
        ] {
            let lines = message.replace("\r\n", "\n").replace('\r', "\n");
            assert_eq!(read(&text(message)), lines, "{message:?}");
        }
    }

    #[test]
    fn a_message_carries_its_id() {
        let id = MessageIds::new().next(SystemTime::UNIX_EPOCH);
        let block = event(Some(id), &payload(Kind::Text, b"a"));
        assert_eq!(block, format!("id: {id}\ndata: a\n\n"));
    }

    #[test]
    fn bytes_are_base64_under_a_name_of_their_own() {
        let block = event(None, &payload(Kind::Binary, &[0, 10, 13, 255]));
        assert_eq!(block, "event: binary\ndata: AAoN/w==\n\n");
    }

    #[test]
    fn the_end_says_why() {
        assert_eq!(
            close(1001, "going away"),
            "event: close\ndata: {\"code\":1001,\"reason\":\"going away\"}\n\n"
        );
    }

    #[test]
    fn blocks_are_told_apart_whatever_they_say() {
        let blocks = [
            text(""),
            text("\n\n"),
            comment(),
            text("a\r\rb"),
            close(1013, "reading too slowly"),
            text("end"),
        ];
        let all = blocks.concat();
        let mut rest = &all[..];
        for block in &blocks {
            let (first, others) = rest.split_at(length(rest));
            assert_eq!(first, block);
            rest = others;
        }
        assert!(rest.is_empty());
    }
}
