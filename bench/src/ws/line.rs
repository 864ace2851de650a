//! The connection of one listening socket, plain or under TLS. It does not block, and it is small when it is plain.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::{RecvFlags, recv, sockopt};
use rustls::{ClientConfig, ClientConnection};

use super::tls;

pub(crate) struct Line {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Line {
    pub(crate) fn new(stream: TcpStream, secure: Option<&Arc<ClientConfig>>) -> Result<Self> {
        let tls = secure.map(tls::connection).transpose()?;
        Ok(Self {
            stream,
            tls: tls.map(Box::new),
        })
    }

    /// Reads what there is, up to a bound. `WouldBlock`: there is nothing, or nothing whole.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.stream.read(buffer);
        };
        let arrived = tls.read_tls(&mut self.stream)?;
        if let Err(error) = tls.process_new_packets() {
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        let mut count = 0;
        while count < buffer.len() {
            match tls.reader().read(&mut buffer[count..]) {
                Ok(0) => break,
                Ok(read) => count += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        match (count, arrived) {
            (0, 1..) => Err(ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    /// Drops what there is, as much as the buffer would hold, and says how much that was. The kernel does not even
    /// copy it.
    pub(crate) fn skip(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.tls.is_some() {
            bail!("what is encrypted cannot be counted by its bytes");
        }
        match recv(&self.stream, buffer, RecvFlags::TRUNC) {
            Ok((_, 0)) => bail!("the server ended a socket"),
            Ok((_, count)) => Ok(count),
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error).context("a socket broke"),
        }
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return self.stream.write_all(bytes);
        };
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    pub(crate) fn shut_down(&self) {
        // It may have ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Resets the connection when it is closed, instead of leaving it in TIME_WAIT.
    pub(crate) fn reset_when_closed(&self) {
        let _ = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }
}
