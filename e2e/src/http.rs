//! HTTP/1.1 over a plain socket, one byte after the other.
//!
//! No library stands between a test and the wire: what a test sends arrives as it is written here, and the spelling of
//! every header that comes back can be looked at.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long one read may wait.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// A request, kept as the client writes it.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without headers; `Host`, and `Content-Length` where there is a body, are added when it is sent.
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: impl Into<String>) -> Self {
        Self::new("POST", target)
    }

    pub fn put(target: impl Into<String>) -> Self {
        Self::new("PUT", target)
    }

    pub fn delete(target: impl Into<String>) -> Self {
        Self::new("DELETE", target)
    }

    /// Adds a header in exactly this spelling.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Names the data backend that is meant.
    #[must_use]
    pub fn backend(self, id: &str) -> Self {
        self.header("Enginio-Backend-Id", id)
    }

    /// Adds a body, and says nothing about its type: several old clients do the same.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json")
            .body(body.to_string())
    }

    /// The bytes on the wire.
    pub fn bytes(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let has = |wanted: &str| {
            self.headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        let mut add = |name: &str, value: &str| head.extend([name, ": ", value, "\r\n"]);
        if !has("Host") {
            add("Host", host);
        }
        for (name, value) in &self.headers {
            add(name, value);
        }
        if !self.body.is_empty() && !has("Content-Length") {
            add("Content-Length", &self.body.len().to_string());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(&self.body);
        bytes
    }

    /// Sends on a connection of its own and reads the reply.
    #[track_caller]
    pub fn send(&self, to: SocketAddr) -> Reply {
        let mut connection = Connection::open(to);
        connection.write(&self.bytes(&to.to_string()));
        connection.reply()
    }
}

/// A reply, headers in the spelling they came in.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of the header of exactly this spelling.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Expects `status` and a reply that every old client can read; returns its JSON.
    ///
    /// The rules are `platform.md` §2 and `eds.md` §2: `Content-Type` and `Content-Length` in title case, a length
    /// instead of chunks, never an empty body.
    #[track_caller]
    pub fn must_be(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let kind = self
            .header("Content-Type")
            .unwrap_or_else(|| panic!("no Content-Type in {:?}", self.headers));
        assert!(
            kind.starts_with("application/json"),
            "the reply is {kind:?}, not JSON"
        );
        let length = self
            .header("Content-Length")
            .unwrap_or_else(|| panic!("no Content-Length in {:?}", self.headers));
        assert_eq!(length, self.body.len().to_string());
        let framed_otherwise = ["transfer-encoding", "content-encoding"];
        let other = self
            .headers
            .iter()
            .find(|(name, _)| framed_otherwise.contains(&&*name.to_ascii_lowercase()));
        assert!(
            other.is_none(),
            "old clients understand neither chunks nor compression: {other:?}"
        );
        let value: Value = serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("the body is not JSON ({error}): {}", self.text()));
        assert!(value.is_object(), "every JSON reply is an object: {value}");
        value
    }
}

/// One connection, for what needs more care than [`Request::send`] takes.
pub struct Connection {
    stream: TcpStream,
    /// Read from the socket, not yet given out.
    unread: Vec<u8>,
}

impl Connection {
    #[track_caller]
    pub fn open(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to)
            .unwrap_or_else(|error| panic!("nobody answers at {to}: {error}"));
        stream
            .set_read_timeout(Some(READ_WITHIN))
            .expect("the time is not zero");
        stream.set_nodelay(true).expect("a TCP socket takes this");
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Our own address.
    #[track_caller]
    pub fn local_address(&self) -> SocketAddr {
        let address = self.stream.local_addr();
        address.expect("a connected socket has an address")
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream
            .write_all(bytes)
            .unwrap_or_else(|error| panic!("the server closed the connection early: {error}"));
    }

    /// Sends bytes; false when the server has closed its side, as it may once it has refused a request.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that nothing more will be sent.
    pub fn finish_writing(&mut self) {
        // Fails only when the server has closed first, and then the server knows.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads one reply with its body.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        self.try_reply()
            .expect("the server closed the connection without a reply")
    }

    /// Reads one reply with its body; none when the connection ends before one starts.
    #[track_caller]
    pub fn try_reply(&mut self) -> Option<Reply> {
        let head = self.head()?;
        let mut reply = parse_head(&head);
        reply.body = match reply.header("Content-Length") {
            Some(length) => {
                let length = length
                    .parse()
                    .unwrap_or_else(|_| panic!("{length:?} is not a length"));
                self.exactly(length)
            }
            None if matches!(reply.status, 100..200 | 204 | 304) => Vec::new(),
            None => self.rest(),
        };
        Some(reply)
    }

    /// The head of a reply without the empty line; none when the connection ends before one starts.
    #[track_caller]
    pub fn head(&mut self) -> Option<String> {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break end;
            }
            if !self.read_more() {
                assert!(
                    self.unread.is_empty(),
                    "half a reply: {:?}",
                    String::from_utf8_lossy(&self.unread)
                );
                return None;
            }
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).take(end).collect();
        Some(String::from_utf8(head).expect("reply heads are ASCII"))
    }

    /// Exactly so many bytes.
    #[track_caller]
    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            let came = self.unread.len();
            assert!(
                self.read_more(),
                "the connection ended after {came} of {length} bytes"
            );
        }
        self.unread.drain(..length).collect()
    }

    /// Everything until the server closes.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.unread)
    }

    /// Whether anything arrives within `time`; what arrives is kept.
    pub fn hears_something_within(&mut self, time: Duration) -> bool {
        if !self.unread.is_empty() {
            return true;
        }
        self.stream
            .set_read_timeout(Some(time))
            .expect("the time is not zero");
        let heard = self.read_some();
        self.stream
            .set_read_timeout(Some(READ_WITHIN))
            .expect("the time is not zero");
        matches!(heard, Ok(count) if count > 0)
    }

    /// False at the end of the connection, whether closed or reset.
    #[track_caller]
    fn read_more(&mut self) -> bool {
        match self.read_some() {
            Ok(count) => count > 0,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let so_far = String::from_utf8_lossy(&self.unread);
                panic!("the server sent nothing within {READ_WITHIN:?}, after {so_far:?}")
            }
            Err(_) => false,
        }
    }

    fn read_some(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; 8 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.unread.extend(&chunk[..count]);
        Ok(count)
    }
}

#[track_caller]
pub(crate) fn parse_head(head: &str) -> Reply {
    let (status_line, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{status_line:?} is not a status line"));
    let parse = |line: &str| {
        let (name, value) = line
            .split_once(": ")
            .unwrap_or_else(|| panic!("{line:?} is not \"Name: value\""));
        (name.to_owned(), value.to_owned())
    };
    let headers = headers
        .split("\r\n")
        .filter(|line| !line.is_empty())
        .map(parse)
        .collect();
    Reply {
        status,
        headers,
        body: Vec::new(),
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_it_was_given() {
        let request = Request::post("/v1/x?a={\"b\": 1}")
            .header("X-oDd", "1")
            .body("{}");
        let expected = "POST /v1/x?a={\"b\": 1} HTTP/1.1\r\nHost: h:1\r\nX-oDd: 1\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(String::from_utf8(request.bytes("h:1")).unwrap(), expected);
    }

    #[test]
    fn the_spelling_of_headers_is_kept() {
        let reply = parse_head("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-low: 1");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("Content-Type"), Some("application/json"));
        assert_eq!(reply.header("X-Low"), None);
    }
}
