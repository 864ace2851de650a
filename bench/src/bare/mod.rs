//! The bare loop: one thread, epoll, and nothing but the sockets. It is the limit that a gateway is measured against.
//!
//! It accepts, answers the handshake and `POST /publish/all` or `/publish/tag`, and pushes. There are no access checks,
//! no pings, no limits per client: whatever a real gateway does besides, it does on top of this.

mod connection;

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result};
use slab::Slab;

use crate::poll::Poll;
use crate::ws::frames;
use connection::{Asked, Connection};

/// The key of the listener.
const LISTENER: u64 = u64::MAX;
const READ_BYTES: usize = 64 << 10;

/// How messages that wait at the same time are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Writing {
    /// What waits for a socket leaves in one write.
    Joined,
    /// Every message is a write of its own.
    Each,
}

struct Bare {
    writing: Writing,
    poll: Poll,
    connections: Slab<Connection>,
    /// Keys of open sockets, and of those that have the tag.
    everyone: Vec<usize>,
    tagged: Vec<usize>,
    waiting_for_everyone: Vec<Vec<u8>>,
    waiting_for_tagged: Vec<Vec<u8>>,
    buffer: Vec<u8>,
}

/// Serves until the process is killed.
pub(crate) fn serve(address: SocketAddr, writing: Writing) -> Result<()> {
    let listener = TcpListener::bind(address).context("could not listen")?;
    // The standard library asks for 128; what waits here should not be what limits.
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    let mut bare = Bare {
        writing,
        poll: Poll::new()?,
        connections: Slab::new(),
        everyone: Vec::new(),
        tagged: Vec::new(),
        waiting_for_everyone: Vec::new(),
        waiting_for_tagged: Vec::new(),
        buffer: vec![0; READ_BYTES],
    };
    bare.poll.add(&listener, LISTENER)?;
    let mut ready = Vec::new();
    loop {
        bare.poll.wait(None, &mut ready)?;
        for key in &ready {
            match *key {
                LISTENER => bare.accept(&listener)?,
                key => bare.attend(usize::try_from(key)?),
            }
        }
        bare.push();
    }
}

impl Bare {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            match listener.accept() {
                Ok((stream, _)) => self.welcome(stream)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("could not accept"),
            }
        }
    }

    fn welcome(&mut self, stream: TcpStream) -> Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let entry = self.connections.vacant_entry();
        self.poll.add(&stream, entry.key() as u64)?;
        entry.insert(Connection::new(stream));
        Ok(())
    }

    fn attend(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let alive = match connection.stream.read(&mut self.buffer) {
            Ok(0) => false,
            Ok(count) => {
                let asked = connection.take(&self.buffer[..count]);
                self.answer(key, asked)
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        if !alive {
            self.forget(key);
            return;
        }
        let connection = &mut self.connections[key];
        if connection.is_waiting() && connection.flush() {
            // If that fails, it is woken once more for nothing.
            let _ = self.poll.want_room(&connection.stream, key as u64, false);
        }
    }

    /// Whether the connection goes on.
    fn answer(&mut self, key: usize, asked: Asked) -> bool {
        match asked {
            Asked::Nothing => true,
            Asked::Socket { tagged } => {
                self.everyone.push(key);
                if tagged {
                    self.tagged.push(key);
                }
                true
            }
            Asked::Publish { tagged, message } => {
                let mut frame = Vec::with_capacity(message.len() + 10);
                frames::write_text(&message, &mut frame);
                match tagged {
                    true => self.waiting_for_tagged.push(frame),
                    false => self.waiting_for_everyone.push(frame),
                }
                true
            }
            Asked::Nonsense => false,
        }
    }

    /// Sends all that was published since the last round.
    fn push(&mut self) {
        let to_everyone = std::mem::take(&mut self.waiting_for_everyone);
        let to_tagged = std::mem::take(&mut self.waiting_for_tagged);
        for (waiting, to_tagged) in [(to_everyone, false), (to_tagged, true)] {
            let waiting = match self.writing {
                Writing::Joined if !waiting.is_empty() => vec![waiting.concat()],
                _ => waiting,
            };
            let receivers = match to_tagged {
                true => &self.tagged,
                false => &self.everyone,
            };
            for bytes in &waiting {
                for key in receivers {
                    let connection = &mut self.connections[*key];
                    if !connection.is_waiting() && !connection.send(bytes) {
                        let _ = self.poll.want_room(&connection.stream, *key as u64, true);
                    } else if connection.is_waiting() {
                        connection.queue(bytes);
                    }
                }
            }
        }
    }

    fn forget(&mut self, key: usize) {
        self.connections.remove(key);
        self.everyone.retain(|other| *other != key);
        self.tagged.retain(|other| *other != key);
    }
}
