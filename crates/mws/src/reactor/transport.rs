//! The bytes of a connection, plain or under TLS, without ever waiting.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustls::ServerConnection;
use socket2::Socket;

/// What a peer may send under TLS in one go without any of it being data.
const EMPTY_RECORDS_MAX: usize = 16;

/// A connection that does not block: to a client, or to whoever passes on what is written to it.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: Socket,
    tls: Option<Box<ServerConnection>>,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// So many bytes, and there may be more.
    Bytes(usize),
    /// Nothing for now; news will be told.
    Nothing,
    /// No data yet, but there may be some: look again.
    More,
    /// The peer sends no more.
    End,
}

impl Transport {
    pub(crate) fn new(stream: impl Into<Socket>, tls: Option<ServerConnection>) -> Self {
        Self {
            stream: stream.into(),
            tls: tls.map(Box::new),
        }
    }

    /// Has the kernel break the connection off when the peer acknowledges nothing of what it was sent for so long. For
    /// peers that never say a word of their own.
    pub(crate) fn give_up_after(&self, unacknowledged: Duration) -> io::Result<()> {
        match self.stream.local_addr()?.is_unix() {
            // Whoever is at the other end of it is in this house.
            true => Ok(()),
            false => self.stream.set_tcp_user_timeout(Some(unacknowledged)),
        }
    }

    /// Whether bytes may have arrived that the kernel does not know of any more.
    pub(crate) fn reads_ahead(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Arrival> {
        let read = match &mut self.tls {
            None => (&self.stream).read(buffer),
            Some(tls) => match read_tls(&self.stream, tls, buffer) {
                Ok(None) => return Ok(Arrival::More),
                Ok(Some(read)) => Ok(read),
                Err(error) => Err(error),
            },
        };
        match read {
            Ok(0) => Ok(Arrival::End),
            Ok(read) => Ok(Arrival::Bytes(read)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Arrival::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Arrival::More),
            Err(error) => Err(error),
        }
    }

    /// Takes a beginning of `bytes`, and says how long it is. If it is not all, or [`Transport::flush`] says so, the
    /// kernel takes no more for now.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => taken((&self.stream).write(bytes)),
            Some(tls) => write_tls(&self.stream, tls, bytes),
        }
    }

    /// The same with several pieces.
    pub(crate) fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return taken((&self.stream).write_vectored(pieces));
        };
        let mut total = 0;
        for piece in pieces {
            let written = write_tls(&self.stream, tls, piece)?;
            total += written;
            if written < piece.len() {
                break;
            }
        }
        Ok(total)
    }

    /// Sends what was taken and could not be sent at once. Whether all of it has left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        match &mut self.tls {
            None => Ok(true),
            Some(tls) => flush_tls(&self.stream, tls),
        }
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn shut_down(&mut self) {
        // Whatever comes of it: the peer was told all there is to tell.
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = flush_tls(&self.stream, tls);
        }
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A full buffer is no error here.
fn taken(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        Ok(0) => Err(ErrorKind::WriteZero.into()),
        other => other,
    }
}

/// `None`: there was something, but no data.
fn read_tls(
    mut stream: &Socket,
    tls: &mut ServerConnection,
    buffer: &mut [u8],
) -> io::Result<Option<usize>> {
    for _ in 0..EMPTY_RECORDS_MAX {
        match tls.reader().read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read.map(Some),
        }
        if tls.read_tls(&mut stream)? == 0 {
            return Ok(Some(0));
        }
        if let Err(error) = tls.process_new_packets() {
            // The alert that says why.
            let _ = flush_tls(stream, tls);
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
    }
    Ok(None)
}

/// Encrypts only what follows at once: while the kernel takes nothing, what waits stays shared with other sockets.
fn write_tls(stream: &Socket, tls: &mut ServerConnection, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() && flush_tls(stream, tls)? {
        taken += tls.writer().write(&bytes[taken..])?;
    }
    flush_tls(stream, tls)?;
    Ok(taken)
}

fn flush_tls(mut stream: &Socket, tls: &mut ServerConnection) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(&mut stream) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn who_acknowledges_nothing_is_given_up_by_the_kernel() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let transport = Transport::new(stream, None);
        let patience = Duration::from_secs(90);
        transport.give_up_after(patience).unwrap();
        assert_eq!(transport.stream.tcp_user_timeout().unwrap(), Some(patience));
        let (near, _far) = UnixStream::pair().unwrap();
        Transport::new(near, None).give_up_after(patience).unwrap();
    }
}
