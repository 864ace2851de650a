//! Those who publish: keep-alive HTTP connections, each with at most one request under way.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};

use crate::http::response::Response;
use crate::poll::Poll;

/// Connections that take turns.
pub(crate) struct Publishers {
    connections: Vec<Connection>,
    /// Places of those that wait for nothing, the longest first: servers end connections that are never used.
    idle: VecDeque<usize>,
    /// The key of the first in the poll.
    first_key: u64,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Publishers {
    pub(crate) fn connect(
        poll: &Poll,
        address: SocketAddr,
        count: usize,
        first_key: u64,
    ) -> Result<Self> {
        let mut connections = Vec::with_capacity(count);
        for place in 0..count {
            let stream = TcpStream::connect(address).context("could not connect a publisher")?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            poll.add(&stream, first_key + place as u64)?;
            connections.push(Connection {
                stream,
                input: Vec::new(),
            });
        }
        Ok(Self {
            connections,
            idle: (0..count).collect(),
            first_key,
        })
    }

    /// How many wait for an answer.
    pub(crate) fn busy(&self) -> u64 {
        (self.connections.len() - self.idle.len()) as u64
    }

    pub(crate) fn all_idle(&self) -> bool {
        self.idle.len() == self.connections.len()
    }

    /// Sends a request if a connection is free for it.
    pub(crate) fn send(&mut self, request: impl FnOnce() -> Vec<u8>) -> Result<bool> {
        let Some(place) = self.idle.pop_front() else {
            return Ok(false);
        };
        let request = request();
        let count = (&self.connections[place].stream)
            .write(&request)
            .context("a publisher's request was not taken")?;
        if count < request.len() {
            bail!("a publisher's request did not fit into the send buffer");
        }
        Ok(true)
    }

    /// Reads an answer; a refusal ends the run.
    pub(crate) fn receive(&mut self, key: u64) -> Result<()> {
        let place = usize::try_from(key - self.first_key)?;
        let connection = &mut self.connections[place];
        let mut piece = [0; 4096];
        match (&connection.stream).read(&mut piece) {
            Ok(0) => bail!("the server closed a publisher's connection"),
            Ok(count) => connection.input.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("a publisher's connection broke"),
        }
        let Some(response) = Response::parse(&connection.input)? else {
            return Ok(());
        };
        if !(200..300).contains(&response.status) {
            bail!(
                "a message was refused with {}: {}",
                response.status,
                String::from_utf8_lossy(&response.body())
            );
        }
        connection.input.clear();
        self.idle.push_back(place);
        Ok(())
    }
}
