//! One connection of the bare loop: first HTTP, then perhaps a socket.

use std::io::Write;
use std::net::TcpStream;

use crate::ws::accept;

/// Bytes that may wait for one slow reader before what comes is dropped. A swarm that reads at all never gets there.
const WAITING_BYTES_MAX: usize = 16 << 20;
const REQUEST_BYTES_MAX: usize = 64 << 10;
const DONE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// A connection, and what waits for room in its send buffer.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    stage: Stage,
    waiting: Vec<u8>,
}

enum Stage {
    Http(Vec<u8>),
    Socket,
}

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing yet, or what a socket says, which nobody reads.
    Nothing,
    Socket {
        tagged: bool,
    },
    Publish {
        tagged: bool,
        message: Vec<u8>,
    },
    Nonsense,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            stage: Stage::Http(Vec::new()),
            waiting: Vec::new(),
        }
    }

    /// Takes what was read, and answers it.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Asked {
        let Stage::Http(input) = &mut self.stage else {
            return Asked::Nothing;
        };
        input.extend_from_slice(bytes);
        let (asked, answer) = understand(input);
        match asked {
            Asked::Nothing => {}
            Asked::Socket { .. } => self.stage = Stage::Socket,
            Asked::Publish { .. } | Asked::Nonsense => input.clear(),
        }
        if !answer.is_empty() {
            self.send(&answer);
        }
        asked
    }

    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes; what found no room waits. Whether all was written.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        // A broken connection is noticed when it is read.
        let count = self.stream.write(bytes).unwrap_or(0);
        if count < bytes.len() {
            self.queue(&bytes[count..]);
            return false;
        }
        true
    }

    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        if self.waiting.len() + bytes.len() <= WAITING_BYTES_MAX {
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// Writes what waits. Whether nothing waits any more.
    pub(crate) fn flush(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.waiting);
        self.send(&waiting)
    }
}

/// The request in `input`, if it is complete, and the answer to it.
fn understand(input: &[u8]) -> (Asked, Vec<u8>) {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let head_length = match head.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if input.len() <= REQUEST_BYTES_MAX => {
            return (Asked::Nothing, Vec::new());
        }
        _ => return (Asked::Nonsense, Vec::new()),
    };
    let value = |name: &str| {
        let header = head
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    let tagged = head.path.is_some_and(|path| path.ends_with("/tag"));
    if let Some(key) = value("sec-websocket-key") {
        return (Asked::Socket { tagged }, accept::response(key));
    }
    let length = value("content-length").and_then(|length| length.parse::<usize>().ok());
    match (head.method, length) {
        (Some("POST"), Some(length)) => match input[head_length..].get(..length) {
            Some(message) => {
                let message = message.to_vec();
                (Asked::Publish { tagged, message }, DONE.to_vec())
            }
            None => (Asked::Nothing, Vec::new()),
        },
        // Whoever asks whether we are there gets an answer.
        (Some("GET"), _) => (Asked::Nonsense, DONE.to_vec()),
        _ => (Asked::Nonsense, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_is_answered_once_it_is_complete() {
        let request = accept::request("/tag");
        for cut in 0..request.len() {
            assert_eq!(understand(&request[..cut]), (Asked::Nothing, Vec::new()));
        }
        let (asked, answer) = understand(&request);
        assert_eq!(asked, Asked::Socket { tagged: true });
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
    }

    #[test]
    fn a_publication_is_its_body() {
        let request = b"POST /publish/all HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
        let (asked, answer) = understand(request);
        let expected = Asked::Publish {
            tagged: false,
            message: b"hi".to_vec(),
        };
        assert_eq!((asked, &*answer), (expected, DONE));
        let cut = &request[..request.len() - 1];
        assert_eq!(understand(cut), (Asked::Nothing, Vec::new()));
    }

    #[test]
    fn other_requests_end_the_connection() {
        assert_eq!(understand(b"PUT / HTTP/1.1\r\n\r\n").0, Asked::Nonsense);
        assert_eq!(understand(b"\0\0\r\n\r\n").0, Asked::Nonsense);
    }
}
