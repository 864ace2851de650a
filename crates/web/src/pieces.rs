//! Between the network, which comes and goes in pieces, and archives, which are read and written in one go.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;

/// Pieces on their way at the same time.
const PIECES_MAX: usize = 8;
const PIECE_BYTES: usize = 128 << 10;

/// The end that an archive is written into, from a thread that may wait.
pub struct Outlet {
    pieces: mpsc::Sender<Bytes>,
    begun: Vec<u8>,
}

/// An outlet and the body that comes out of it. When the client goes, the outlet takes nothing any more.
pub fn outlet() -> (Outlet, Body) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let outlet = Outlet {
        pieces: sender,
        begun: Vec::with_capacity(PIECE_BYTES),
    };
    (outlet, Body::new(Outflow(receiver)))
}

struct Outflow(mpsc::Receiver<Bytes>);

impl http_body::Body for Outflow {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = ready!(self.0.poll_recv(context));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl Outlet {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.begun, Vec::with_capacity(PIECE_BYTES));
        self.pieces
            .blocking_send(piece.into())
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone"))
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.begun.len());
        self.begun.extend_from_slice(&bytes[..count]);
        if self.begun.len() == PIECE_BYTES {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.begun.is_empty() {
            true => Ok(()),
            false => self.send(),
        }
    }
}

/// The end that bytes are read from, on a thread that may wait.
pub struct Inlet {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

/// An inlet, and the work of feeding it from a body, which ends when either end does.
pub fn inlet(mut body: Body) -> (Inlet, impl Future<Output = ()>) {
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let feeding = async move {
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => Ok(bytes),
                    Err(_) => continue,
                },
                Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
            };
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    };
    let inlet = Inlet {
        pieces: receiver,
        piece: Bytes::new(),
    };
    (inlet, feeding)
}

impl Read for Inlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.piece = piece?,
            }
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_at_one_end_is_read_at_the_other() {
        let (mut outlet, body) = outlet();
        let sent: Vec<u8> = (0..PIECE_BYTES * 3 + 7)
            .map(|n| n.to_le_bytes()[0])
            .collect();
        let copy = sent.clone();
        let writing = tokio::task::spawn_blocking(move || {
            outlet.write_all(&copy).unwrap();
            outlet.flush().unwrap();
        });
        let (mut inlet, feeding) = inlet(body);
        let reading = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            inlet.read_to_end(&mut read).unwrap();
            read
        });
        let (read, (), written) = tokio::join!(reading, feeding, writing);
        written.unwrap();
        assert_eq!(read.unwrap(), sent);
    }

    #[tokio::test]
    async fn nobody_writes_to_a_client_that_has_gone() {
        let (mut outlet, body) = outlet();
        drop(body);
        let written = tokio::task::spawn_blocking(move || outlet.write_all(&[0; PIECE_BYTES]));
        let error = written.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
