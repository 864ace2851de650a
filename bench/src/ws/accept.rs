//! The opening handshake (RFC 6455 §4): what a client asks and what a server must answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

/// The key that every socket of the swarm sends. A fixed one will do: nothing here caches.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer to a client's key.
pub(crate) fn accept(key: &str) -> String {
    let text = format!("{key}{GUID}");
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    STANDARD.encode(hash)
}

/// A client's request for an event stream instead of a socket.
pub(crate) fn event_stream_request(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
        .into_bytes()
}

/// A client's request for a socket whose messages may be compressed.
pub(crate) fn compressed_request(target: &str) -> Vec<u8> {
    let mut request = request(target);
    request.truncate(request.len() - 2);
    request.extend_from_slice(b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
    request
}

/// A client's request for a socket.
pub(crate) fn request(target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// A server's consent.
pub(crate) fn response(key: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept(key)
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_to_the_sample_key_is_that_of_the_rfc() {
        assert_eq!(super::accept(super::KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
