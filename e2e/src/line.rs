//! A client's line to a server that may be gone at any moment.
//!
//! [`crate::http`] fails the test when a connection breaks. Here a break is one of the answers: what became of the
//! request is then unknown, as it is to every client in that place.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::http::{Reply, Request, parse_head};

/// How long a reply may take: longer than the server's own limits.
const REPLY_WITHIN: Duration = Duration::from_secs(60);

/// A connection that is kept between requests.
pub struct Line {
    to: SocketAddr,
    stream: Option<TcpStream>,
}

impl Line {
    /// Opened with the first request.
    pub fn to(to: SocketAddr) -> Self {
        Self { to, stream: None }
    }

    /// Sends and reads the reply; none when the line broke before the whole of it was there.
    ///
    /// # Panics
    /// When the server is there and does not answer.
    #[track_caller]
    pub fn ask(&mut self, request: &Request) -> Option<Reply> {
        let reply = self.exchange(request);
        if reply.is_none() {
            self.stream = None;
        }
        reply
    }

    #[track_caller]
    fn exchange(&mut self, request: &Request) -> Option<Reply> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(connect(self.to)?),
        };
        stream
            .write_all(&request.bytes(&self.to.to_string()))
            .ok()?;
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            read_more(stream, &mut bytes)?;
        };
        let mut reply = parse_head(&String::from_utf8_lossy(&bytes[..end]));
        let length = reply.header("Content-Length");
        let length: usize = length
            .and_then(|length| length.parse().ok())
            .expect("every reply tells its length");
        while bytes.len() < end + 4 + length {
            read_more(stream, &mut bytes)?;
        }
        reply.body = bytes.split_off(end + 4);
        Some(reply)
    }
}

fn connect(to: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect(to).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(REPLY_WITHIN)).ok()?;
    Some(stream)
}

#[track_caller]
fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 16 * 1024];
    match stream.read(&mut chunk) {
        Ok(0) => None,
        Ok(count) => {
            bytes.extend(&chunk[..count]);
            Some(())
        }
        Err(error) => {
            use std::io::ErrorKind::{TimedOut, WouldBlock};
            let silent = matches!(error.kind(), TimedOut | WouldBlock);
            assert!(!silent, "no reply within {REPLY_WITHIN:?}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::{self, Receiver};

    #[test]
    fn a_line_that_breaks_is_an_answer_and_the_next_request_opens_another() {
        assert!(
            Line::to(receiver::nobody())
                .ask(&Request::get("/"))
                .is_none()
        );
        let receiver = Receiver::start();
        let mut line = Line::to(receiver.address);
        let request = Request::post("/").body("{}");
        assert_eq!(line.ask(&request).map(|reply| reply.status), Some(201));
        // The receiver closes after each reply.
        assert!(line.ask(&request).is_none());
        assert_eq!(line.ask(&request).map(|reply| reply.status), Some(201));
    }
}
