//! Many listening sockets in one thread: opened in a narrow file, then only counted.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use rustls::ClientConfig;

use super::accept;
use super::frames::{Found, Reader, client_text, pong};
use super::line::Line;
use super::stamp::Epoch;
use crate::poll::Poll;
use crate::samples::Latencies;

/// Handshakes under way at once: well below the backlog of every server here.
const OPENING_AT_ONCE: usize = 64;
/// The longest time without any progress before the opening is given up.
const STALL: Duration = Duration::from_secs(10);
/// How many sockets share a source address.
const SOCKETS_PER_SOURCE: usize = 2_000;
const READ_BYTES: usize = 256 << 10;
const HEAD_BYTES_MAX: usize = 4 << 10;

/// Open sockets and what they have heard.
pub(crate) struct Swarm {
    sockets: Vec<Socket>,
    buffer: Vec<u8>,
    epoch: Epoch,
    /// Messages that arrived, over all sockets.
    pub(crate) delivered: u64,
    /// Sockets that the server ended.
    pub(crate) lost: usize,
    /// Ages of messages on arrival; kept only while it is there.
    pub(crate) latencies: Option<Latencies>,
    /// Messages are objects that carry a stamp; others do not count.
    pub(crate) hears_objects: bool,
    /// Sockets that are opened from now on speak TLS.
    pub(crate) secure: Option<Arc<ClientConfig>>,
    /// Everything that comes is frames of this size: they are counted by their bytes, which stay in the kernel.
    pub(crate) frame_bytes: Option<usize>,
    /// Of frames that have not come whole, over all sockets.
    begun_bytes: usize,
}

struct Socket {
    line: Line,
    stage: Stage,
}

enum Stage {
    /// Waits for the end of the response's head.
    Opening(Vec<u8>),
    Open(Reader),
    Lost,
}

/// How an opening went.
pub(crate) struct Opening {
    pub(crate) seconds: f64,
}

impl Swarm {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self {
            sockets: Vec::new(),
            buffer: vec![0; READ_BYTES],
            epoch,
            delivered: 0,
            lost: 0,
            latencies: None,
            hears_objects: false,
            secure: None,
            frame_bytes: None,
            begun_bytes: 0,
        }
    }

    /// Sends a message on every socket.
    pub(crate) fn say(&mut self, message: impl Fn(usize) -> String) -> Result<()> {
        for (place, socket) in self.sockets.iter_mut().enumerate() {
            let frame = client_text(message(place).as_bytes());
            socket.line.write_all(&frame)?;
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.len() - self.lost
    }

    /// Opens one socket for each target. Keys in `poll` are the places of the sockets.
    pub(crate) fn open(
        &mut self,
        poll: &mut Poll,
        address: SocketAddr,
        targets: &[String],
    ) -> Result<Opening> {
        let start = Instant::now();
        let goal = self.sockets.len() + targets.len();
        let mut targets = targets.iter();
        let mut under_way = 0;
        let mut ready = Vec::new();
        let mut progress = start;
        while self.sockets.len() < goal || under_way > 0 {
            while under_way < OPENING_AT_ONCE
                && let Some(target) = targets.next()
            {
                self.begin(poll, address, target)
                    .with_context(|| format!("at socket {}", self.sockets.len() + 1))?;
                under_way += 1;
            }
            poll.wait(Some(Duration::from_millis(100)), &mut ready)?;
            for key in &ready {
                let place = usize::try_from(*key)?;
                let was_opening = matches!(self.sockets[place].stage, Stage::Opening(_));
                self.receive(place)?;
                if was_opening && !matches!(self.sockets[place].stage, Stage::Opening(_)) {
                    under_way -= 1;
                    progress = Instant::now();
                }
            }
            if self.lost > 0 {
                bail!(
                    "the server ended a socket while {} of {goal} were open",
                    self.len()
                );
            }
            if progress.elapsed() > STALL {
                bail!(
                    "the server opens no more sockets after {} of {goal}",
                    self.len()
                );
            }
        }
        Ok(Opening {
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    fn begin(&mut self, poll: &Poll, address: SocketAddr, target: &str) -> Result<()> {
        let source = u8::try_from(1 + self.sockets.len() / SOCKETS_PER_SOURCE)?;
        let stream = connect(address, source, None).context("could not connect")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poll.add(&stream, self.sockets.len() as u64)?;
        let mut line = Line::new(stream, self.secure.as_ref())?;
        line.write_all(&accept::request(target))?;
        self.sockets.push(Socket {
            line,
            stage: Stage::Opening(Vec::new()),
        });
        Ok(())
    }

    /// Reads what one socket has.
    pub(crate) fn receive(&mut self, place: usize) -> Result<()> {
        let Some(socket) = self.sockets.get_mut(place) else {
            bail!("there is no socket {place}");
        };
        if let Some(frame_bytes) = self.frame_bytes {
            self.begun_bytes += socket.line.skip(&mut self.buffer)?;
            self.delivered += (self.begun_bytes / frame_bytes) as u64;
            self.begun_bytes %= frame_bytes;
            return Ok(());
        }
        let count = match socket.line.read(&mut self.buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // A reset is an end like another.
            Err(_) => 0,
        };
        if count == 0 {
            self.lose(place);
            return Ok(());
        }
        let (bytes, mut rest) = (&self.buffer[..count], Vec::new());
        let mut bytes = bytes;
        if let Stage::Opening(head) = &mut socket.stage {
            head.extend_from_slice(bytes);
            let Some(end) = head_end(head, SWITCHED)? else {
                return Ok(());
            };
            rest.extend_from_slice(&head[end..]);
            socket.stage = Stage::Open(Reader::default());
            bytes = &rest;
        }
        let Stage::Open(reader) = &mut socket.stage else {
            return Ok(());
        };
        let mut heard = Heard {
            epoch: self.epoch,
            now: None,
            latencies: self.latencies.as_mut(),
            hears_objects: self.hears_objects,
            delivered: 0,
            answer: None,
            closed: false,
        };
        reader.feed(bytes, &mut |found| heard.take(found))?;
        let (answer, closed) = (heard.answer.take(), heard.closed);
        self.delivered += heard.delivered;
        if let Some(answer) = answer {
            // If there is no room the server gives the socket up, which is then counted as lost.
            let _ = socket.line.write_all(&answer);
        }
        if closed {
            self.lose(place);
        }
        Ok(())
    }

    fn lose(&mut self, place: usize) {
        let socket = &mut self.sockets[place];
        if !matches!(socket.stage, Stage::Lost) {
            socket.stage = Stage::Lost;
            self.lost += 1;
            // Else a level-triggered poll reports the end again and again.
            socket.line.shut_down();
        }
    }
}

impl Drop for Swarm {
    /// Resets the connections, so that thousands of them do not stay behind in TIME_WAIT and take ports from the next
    /// run.
    fn drop(&mut self) {
        for socket in &self.sockets {
            socket.line.reset_when_closed();
        }
    }
}

/// Connects from the loopback address with this last byte. Every few thousand sockets come from one of their own: with
/// one address the kernel would search longer and longer for a free port, and what is measured would be that search.
/// `receive_bytes`: how much the kernel keeps for whoever reads slowly.
pub(crate) fn connect(
    address: SocketAddr,
    source: u8,
    receive_bytes: Option<usize>,
) -> Result<TcpStream> {
    let stream = net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    if let Some(bytes) = receive_bytes {
        net::sockopt::set_socket_recv_buffer_size(&stream, bytes)?;
    }
    let source = Ipv4Addr::new(127, 0, 1, source);
    net::bind(&stream, &SocketAddrV4::new(source, 0))?;
    net::connect(&stream, &address)?;
    Ok(stream.into())
}

/// What one read brought.
struct Heard<'a> {
    epoch: Epoch,
    now: Option<Instant>,
    latencies: Option<&'a mut Latencies>,
    hears_objects: bool,
    delivered: u64,
    answer: Option<Vec<u8>>,
    closed: bool,
}

impl Heard<'_> {
    fn take(&mut self, found: Found<'_>) {
        match found {
            // One that came in pieces is too long to be anything else than an object.
            Found::Message(Some(payload)) if self.hears_objects => {
                let now = *self.now.get_or_insert_with(Instant::now);
                if let Some(age) = self.epoch.age_within(payload, now) {
                    self.delivered += 1;
                    if let Some(latencies) = &mut self.latencies {
                        latencies.add(age);
                    }
                }
            }
            Found::Message(payload) => {
                self.delivered += 1;
                if let (Some(latencies), Some(payload)) = (&mut self.latencies, payload) {
                    let now = *self.now.get_or_insert_with(Instant::now);
                    if let Some(age) = self.epoch.age(payload, now) {
                        latencies.add(age);
                    }
                }
            }
            Found::Ping(payload) => self.answer = Some(pong(&payload)),
            Found::Close => self.closed = true,
        }
    }
}

/// How the consent to a handshake begins.
pub(crate) const SWITCHED: &str = "HTTP/1.1 101 ";

/// Where the head of a consent ends, which begins as it should; `None` while it has not. Anything else is an error.
pub(crate) fn head_end(head: &[u8], beginning: &str) -> Result<Option<usize>> {
    let Some(end) = memchr::memmem::find(head, b"\r\n\r\n") else {
        if head.len() > HEAD_BYTES_MAX {
            bail!("the answer to a handshake does not end");
        }
        return Ok(None);
    };
    if !head.starts_with(beginning.as_bytes()) {
        let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        bail!(
            "a handshake was answered with {}",
            String::from_utf8_lossy(line)
        );
    }
    Ok(Some(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_consent_opens_a_socket() {
        let end = |head: &[u8]| head_end(head, SWITCHED);
        assert_eq!(end(b"HTTP/1.1 101 Switch").unwrap(), None);
        assert_eq!(end(b"HTTP/1.1 101 S\r\n\r\n\x81").unwrap(), Some(18));
        assert!(end(b"HTTP/1.1 503 Busy\r\n\r\n").is_err());
        assert!(end(&[b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }
}
